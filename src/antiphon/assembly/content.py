"""Decodes the content of one choice, ends it at a stop string and pairs it with the tokens' logprobs.

Content is one run of bytes of the answer, or several around tool calls. A stop string matches within one run. If tools
may be called, whitespace is held until other content follows, because whitespace before a call is not content.
"""

from antiphon.assembly.byte_source import SPACE
from antiphon.assembly.detokenizer import Detokenizer
from antiphon.assembly.stop_strings import StopStrings
from antiphon.assembly.token_logprobs import ContentLogprobs
from antiphon.protocol.responses import TokenLogprob


class ContentText:
    """Turns bytes of content into text and logprobs. Offsets count the bytes of the answer."""

    __slots__ = (
        "_decoder",
        "_holds_space",
        "_logprobs",
        "_space",
        "_stop",
        "_text",
        "has_text",
        "position",
        "searches",
        "stopped",
    )

    def __init__(
        self,
        stop: tuple[str, ...],
        logprobs: ContentLogprobs | None,
        *,
        holds_space: bool,
        includes_stop: bool = False,
    ) -> None:
        """``includes_stop``: the content ends with the stop string (``include_stop_str_in_output``)."""
        self._stop = StopStrings(stop, included=includes_stop) if stop else None
        self._logprobs = logprobs
        self._holds_space = holds_space
        self._decoder = Detokenizer()
        self._space: list[tuple[int, bytes]] = []
        self._text = ""
        self.position = 0
        """Offset after the newest content."""
        self.searches = True
        """Whether new content is searched for stop strings. It must not become false again."""
        self.stopped = False
        """Whether the content has reached a stop string; no content follows."""
        self.has_text = False
        """Whether some text has been returned."""

    def begin(self, start: int) -> None:
        """Set the offset of the first possible content."""
        self.position = start
        if self._logprobs is not None:
            self._logprobs.add_content(start, start)

    def add(self, start: int, data: bytes) -> None:
        """Add content that begins at the offset ``start``; do not call after ``stopped``."""
        if start != self.position:
            self._end_run()
            self.position = start
        if self._stop is None or not self.searches:
            self.position += len(data)
            self._show(start, data)
            return
        first = self.position - self._stop.held
        self.position += len(data)
        decided, rest = self._stop.push(data)
        self._show(first, decided)
        self.stopped = rest is not None
        if self.stopped:
            self._release_space()

    def push_plain(self, data: bytes) -> str:
        """Add content without stop strings and logprobs and return the text that it completes, in one call."""
        self.position += len(data)
        text = self._decoder.push(data)
        self.has_text = self.has_text or bool(text)
        return text

    def begin_call(self) -> None:
        """End the run before a tool call and drop the whitespace before it."""
        self._end_run()
        self._space.clear()

    def end(self) -> None:
        """End the content and release the bytes that were held back."""
        if not self.stopped:
            self._end_run()
            self._release_space()

    def take(self, *, final: bool) -> tuple[str, list[TokenLogprob]]:
        """Return the text and the logprobs since the last call; ``final``: the content has stopped or ended."""
        if final:
            self._text += self._decoder.flush()
        text, self._text = self._text, ""
        self.has_text = self.has_text or bool(text)
        return text, [] if self._logprobs is None else self._logprobs.take(self._decided, final=final)

    @property
    def _decided(self) -> int:
        """Offset before which all bytes are known to be content or not, and their text is complete."""
        if self._space:
            return self._space[0][0] - self._decoder.pending
        return self.position - (self._stop.held if self._stop else 0) - self._decoder.pending

    def _end_run(self) -> None:
        if self._stop is not None:
            first = self.position - self._stop.held
            self._show(first, self._stop.flush())

    def _show(self, start: int, data: bytes) -> None:
        shown = data.rstrip(SPACE) if self._holds_space else data
        if shown:
            self._release_space()
            self._release(start, shown)
        if len(shown) < len(data):
            self._space.append((start + len(shown), data[len(shown) :]))

    def _release_space(self) -> None:
        for start, data in self._space:
            self._release(start, data)
        self._space.clear()

    def _release(self, start: int, data: bytes) -> None:
        self._text += self._decoder.push(data)
        if self._logprobs is not None:
            self._logprobs.add_content(start, start + len(data))
