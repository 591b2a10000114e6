"""Which bytes of an answer are reasoning: those between the model's markers, when the answer begins with them.

Only the beginning counts (whitespace may come first): a marker that the answer quotes later is content, as in vLLM's
and llama.cpp's parsers. Newlines right behind either marker belong to neither side. Stop strings do not apply to
reasoning. So the content is always one run of bytes at the end of the answer; ``content_start`` tells where it begins.

Where a prefix of the end marker ends the reasoning already, the rest of the marker is skipped if it follows: else what
follows is content, for the parser of tool calls to read.
"""

from typing import Literal

from antiphon.assembly.stop_strings import StopStrings
from antiphon.chat_formats.chat_format import ReasoningMarkers

LEADING_SPACE = 64
"""Bytes of whitespace before the start marker; an answer that begins with more is content."""


class ReasoningParser:
    """Splits the bytes of one answer; fed one token at a time, so that reasoning tokens can be counted."""

    __slots__ = ("_end", "_held", "_open", "_phase", "_rest", "_start", "_tokens", "content_start", "offset")

    def __init__(self, markers: ReasoningMarkers, *, opened: bool = False) -> None:
        """``opened``: the prompt ends inside a block, so that the answer begins as reasoning, start marker or not."""
        self._start = markers.start.encode()
        self._end = StopStrings((markers.end_prefix or markers.end,))
        self._rest = markers.end[len(markers.end_prefix) :].encode() if markers.end_prefix else b""
        self._open = opened
        self._held = b""
        self._phase: Literal["before", "start", "inside", "end"] = "before"
        self._tokens = 0
        self.offset = 0
        """Bytes taken so far."""
        self.content_start: int | None = None
        """Offset of the first byte of content, once it is known."""

    @property
    def reasoning_tokens(self) -> int:
        """Tokens up to and including the one that completes the end marker; 0 when the answer does not reason."""
        return self._tokens if self._open else 0

    @property
    def reasoning(self) -> bool:
        """Whether the answer has been found to reason: what was pushed so far is not content, then."""
        return self._phase != "before"

    def push(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the bytes of the next token; return the reasoning and the content that are decided.

        Not to be called once ``content_start`` is known: everything behind it is content.
        """
        self.offset += len(data)
        if self._phase == "end":
            return b"", self._behind(data)
        self._tokens += 1
        return self._before(data) if self._phase == "before" else self._inside(data)

    def flush(self) -> tuple[bytes, bytes]:
        """End the answer: return what was held back while it could still become a marker."""
        held, self._held = self._held, b""
        if self._phase != "before":
            return self._end.flush(), b""
        if self._open:
            return held.lstrip(b"\n"), b""
        return b"", self._content(held)

    def _before(self, data: bytes) -> tuple[bytes, bytes]:
        self._held += data
        text = self._held.lstrip()
        if text.startswith(self._start):
            return self._enter(text[len(self._start) :])
        if self._start.startswith(text) and len(self._held) - len(text) <= LEADING_SPACE:
            return b"", b""
        held, self._held = self._held, b""
        return self._enter(held) if self._open else (b"", self._content(held))

    def _enter(self, data: bytes) -> tuple[bytes, bytes]:
        self._held = b""
        self._open = True
        self._phase = "start"
        return self._inside(data)

    def _inside(self, data: bytes) -> tuple[bytes, bytes]:
        if self._phase == "start":
            data = data.lstrip(b"\n")
            self._phase = "inside" if data else "start"
        reasoning, rest = self._end.push(data)
        if rest is None:
            return reasoning, b""
        self._phase = "end"
        return reasoning, self._behind(rest)

    def _behind(self, data: bytes) -> bytes:
        """Return the content in what comes behind the reasoning: the rest of the end marker is none."""
        if self._rest:
            data, self._held = self._held + data, b""
            if self._rest.startswith(data) and data != self._rest:
                self._held = data
                return b""
            data = data.removeprefix(self._rest)
            self._rest = b""
        return self._skip_newlines(data)

    def _skip_newlines(self, data: bytes) -> bytes:
        text = data.lstrip(b"\n")
        return self._content(text) if text else b""

    def _content(self, data: bytes) -> bytes:
        self.content_start = self.offset - len(data)
        return data
