"""Makes the logprobs entries of the tokens of content. Reference: ``choices[].logprobs.content``.

Offsets count the bytes of all tokens of the answer. The entry of a token holds its bytes of content. It is made once it
is certain for every byte up to the token's end whether it is content. A token without content has no entry.
"""

from collections import deque

from antiphon.assembly.detokenizer import Vocabulary
from antiphon.engine.interface import TokenLogprobs
from antiphon.protocol.responses import TokenLogprob, TopLogprob


class ContentLogprobs:
    """The tokens of one choice whose entries are pending."""

    __slots__ = ("_offset", "_runs", "_texts", "_waiting")

    def __init__(self, texts: "TokenTexts") -> None:
        self._texts = texts
        self._offset = 0
        self._waiting: deque[tuple[int, int, bytes, TokenLogprobs]] = deque()
        self._runs: deque[tuple[int, int]] = deque()

    def add(self, token_id: int, data: bytes, logprobs: TokenLogprobs) -> None:
        """Append a token."""
        self._waiting.append((self._offset, token_id, data, logprobs))
        self._offset += len(data)

    def clear(self) -> None:
        """Drop the pending tokens: all of their bytes are reasoning."""
        self._waiting.clear()

    def add_content(self, start: int, end: int) -> None:
        """Record that the bytes from ``start`` to ``end`` are content; call it in order of offsets."""
        if self._runs and self._runs[-1][1] == start:
            start, _ = self._runs.pop()
        self._runs.append((start, end))

    def take(self, decided: int, *, final: bool) -> list[TokenLogprob]:
        """Return the entries of tokens that end at ``decided`` or before; ``final``: of all tokens.

        A token that is partly content has an entry with these bytes. A token without bytes has one if content follows.
        """
        taken = []
        waiting = self._waiting
        while waiting:
            offset, token_id, data, logprobs = waiting[0]
            if offset + len(data) > decided and not final:
                break
            waiting.popleft()
            while self._runs and self._runs[0][1] < offset:
                self._runs.popleft()
            shown = b"".join(data[max(0, start - offset) : max(0, end - offset)] for start, end in self._runs)
            if shown or (not data and self._runs and self._runs[0][0] <= offset):
                taken.append(self._texts.entry(token_id, shown, logprobs))
        return taken


class TokenTexts(dict[int, tuple[bytes, str, list[int] | None]]):
    """A cache of the bytes, printable text and ``bytes`` field of tokens, for one answer."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, token_id: int) -> tuple[bytes, str, list[int] | None]:
        data = self._vocabulary.token_bytes(token_id)
        text = data.decode("utf-8", "replace") if data else self._vocabulary.token_text(token_id)
        texts = self[token_id] = (data, text, list(data) or None)
        return texts

    def entry(self, token_id: int, shown: bytes, logprobs: TokenLogprobs) -> TokenLogprob:
        """Return the entry of a token; ``shown`` are its bytes of content."""
        whole, text, numbers = self[token_id]
        if shown != whole:
            text, numbers = shown.decode("utf-8", "replace"), list(shown)
        alternatives = zip(map(self.__getitem__, logprobs.top_ids), logprobs.top_logprobs, strict=True)
        top = [TopLogprob(text, logprob, numbers) for (_, text, numbers), logprob in alternatives]
        return TokenLogprob(text, logprobs.logprob, numbers, top)
