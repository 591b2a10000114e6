"""The content of one choice on its way to the client: where it stops, what of it is out, and its tokens' logprobs.

Content is slices of the answer: one run of bytes, or several around tool calls. Stop strings are looked for within a
run. Where calls may come, whitespace waits until something follows that is no call, because the whitespace before a
call is not content.
"""

from antiphon.assembly.byte_source import SPACE
from antiphon.assembly.detokenizer import Detokenizer
from antiphon.assembly.stop_strings import StopStrings
from antiphon.assembly.token_logprobs import ContentLogprobs
from antiphon.protocol.responses import TokenLogprob


class ContentText:
    """Bytes of content in, text and logprobs out. Offsets count the bytes of the answer."""

    __slots__ = ("_decoder", "_holds_space", "_logprobs", "_space", "_stop", "_text", "position", "spoken", "stopped")

    def __init__(self, stop: tuple[str, ...], logprobs: ContentLogprobs | None, *, holds_space: bool) -> None:
        self._stop = StopStrings(stop) if stop else None
        self._logprobs = logprobs
        self._holds_space = holds_space
        self._decoder = Detokenizer()
        self._space: list[tuple[int, bytes]] = []
        self._text = ""
        self.position = 0
        """Offset behind the newest content."""
        self.stopped = False
        """A stop string is complete: what comes behind it is nothing."""
        self.spoken = False
        """Some of it is out."""

    def begin(self, start: int) -> None:
        """Say where in the answer the first content may be."""
        self.position = start
        if self._logprobs is not None:
            self._logprobs.content(start, start)

    def add(self, start: int, data: bytes) -> None:
        """Take content that begins at the offset ``start``, not to be called once ``stopped``."""
        if start != self.position:
            self._end_run()
            self.position = start
        if self._stop is None:
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

    def pass_on(self, data: bytes) -> str:
        """Take content where nothing is looked for in it, and return what it completes: ``add`` and ``take`` in one."""
        self.position += len(data)
        text = self._decoder.push(data)
        self.spoken = self.spoken or bool(text)
        return text

    def call(self) -> None:
        """Say that a tool call comes next."""
        self._end_run()
        self._space.clear()

    def end(self) -> None:
        """End the content: what was held back is out."""
        if not self.stopped:
            self._end_run()
            self._release_space()

    def take(self, *, final: bool) -> tuple[str, list[TokenLogprob]]:
        """Return what came out since the last time; ``final``: no more comes, because it stopped or ended."""
        if final:
            self._text += self._decoder.flush()
        text, self._text = self._text, ""
        self.spoken = self.spoken or bool(text)
        return text, [] if self._logprobs is None else self._logprobs.take(self._decided, final=final)

    @property
    def _decided(self) -> int:
        """Offset up to which is known what is content, and the text is out."""
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
            self._logprobs.content(start, start + len(data))
