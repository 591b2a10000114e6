"""Splits an answer into reasoning and content at the model's markers.

The answer reasons only if it begins with the start marker, after optional whitespace. A marker in later text is
content, as in vLLM's and llama.cpp's parsers. Newlines directly after either marker belong to neither part. Stop
strings do not apply to reasoning. So the content is one run of bytes at the end of the answer, from ``content_start``.

If the markers have an ``end_prefix``, it ends the reasoning. The rest of the end marker is skipped if it follows;
other bytes are content, which may be a tool call.
"""

from typing import Literal

from antiphon.assembly.stop_strings import StopStrings
from antiphon.chat_formats.chat_format import ReasoningMarkers

LEADING_SPACE = 64
"""Largest number of bytes of whitespace before the start marker; an answer that begins with more is content."""


class ReasoningParser:
    """Splits the bytes of one answer. Each push holds one token, so that reasoning tokens can be counted."""

    __slots__ = ("_end", "_held", "_open", "_phase", "_rest", "_start", "_tokens", "content_start", "offset")

    def __init__(self, markers: ReasoningMarkers, *, reasoning_open: bool = False) -> None:
        """``reasoning_open``: the prompt ends inside a reasoning block; the start marker is optional in the answer."""
        self._start = markers.start.encode()
        self._end = StopStrings((markers.end_prefix or markers.end,))
        self._rest = markers.end[len(markers.end_prefix) :].encode() if markers.end_prefix else b""
        self._open = reasoning_open
        self._held = b""
        self._phase: Literal["before", "start", "inside", "end"] = "before"
        self._tokens = 0
        self.offset = 0
        """Bytes pushed so far."""
        self.content_start: int | None = None
        """Offset of the first byte of content, once it is known."""

    @property
    def reasoning_tokens(self) -> int:
        """Number of tokens up to the end of the end marker; 0 if the answer does not reason."""
        return self._tokens if self._open else 0

    @property
    def is_reasoning(self) -> bool:
        """Whether the start marker has come, so that the bytes so far are no content."""
        return self._phase != "before"

    def push(self, data: bytes) -> tuple[bytes, bytes]:
        """Process the bytes of one token; return the reasoning and the content that are certain.

        Do not call it once ``content_start`` is known: all later bytes are content.
        """
        self.offset += len(data)
        if self._phase == "end":
            return b"", self._after_reasoning(data)
        self._tokens += 1
        return self._before(data) if self._phase == "before" else self._inside(data)

    def flush(self) -> tuple[bytes, bytes]:
        """End the answer; return the bytes that were held as a possible marker, as reasoning and content."""
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
        return reasoning, self._after_reasoning(rest)

    def _after_reasoning(self, data: bytes) -> bytes:
        """Return the content in the bytes after the reasoning, without the rest of the end marker."""
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
