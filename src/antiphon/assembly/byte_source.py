"""Bytes that arrive in pieces, for parsers that are written as if all were there.

A parser is a generator that reads from a :class:`ByteSource` and pauses (yields) where it needs bytes that have not
come; whoever feeds the source resumes it. So what is parsed cannot depend on how the bytes were cut.
"""

from collections.abc import Callable, Generator
from enum import Enum
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, None, T]
"""A part of a parser; returns T."""

SPACE = b" \t\r\n"


class Match(Enum):
    """Whether the source goes on with a text."""

    YES = "yes"
    NO = "no"
    CUT = "cut"
    """It ended before that could be told: what is left is a proper prefix of the text, maybe empty."""


class ByteSource:
    """The bytes of one answer, and how far they have been read. Offsets count from its first byte."""

    __slots__ = ("_base", "_data", "_marks", "ended", "position", "wanted_more")

    def __init__(self) -> None:
        self._data = bytearray()
        self._base = 0
        self._marks: list[int] = []
        self.position = 0
        self.ended = False
        self.wanted_more = False
        """Whether a read came to the end of an answer that has ended."""

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._base + len(self._data)

    def feed(self, data: bytes) -> None:
        """Append bytes; those that were read and are not marked are forgotten."""
        kept = self._marks[0] if self._marks else self.position
        del self._data[: kept - self._base]
        self._base = kept
        self._data += data

    def end(self) -> None:
        """Say that no more bytes come."""
        self.ended = True

    def mark(self) -> int:
        """Return the position and keep the bytes from there on, so that it can be returned to, until ``unmark``."""
        self._marks.append(self.position)
        return self.position

    def unmark(self) -> int:
        """Give up the newest mark and return its position."""
        return self._marks.pop()

    def bytes_between(self, start: int, end: int) -> bytes:
        """Return bytes that are kept."""
        return bytes(self._data[start - self._base : end - self._base])

    def unread(self) -> bytes:
        """Return the bytes that have come and have not been read."""
        return bytes(self._data[self.position - self._base :])

    def more(self) -> Reading[bool]:
        """Wait for more bytes; False when the source has ended."""
        size = self.size
        while self.size == size and not self.ended:
            yield
        self.wanted_more |= self.size == size
        return self.size > size

    def peek(self) -> Reading[bytes]:
        """Return the next byte without reading it; none at the end."""
        while self.position == self.size:
            if not (yield from self.more()):
                return b""
        at = self.position - self._base
        return bytes(self._data[at : at + 1])

    def skip(self, members: bytes, limit: int | None = None) -> Reading[bytes]:
        """Read the bytes up to the first that is none of ``members``, at most ``limit``, and return them."""
        read = bytearray()
        while limit is None or len(read) < limit:
            byte = yield from self.peek()
            if not byte or byte not in members:
                break
            read += byte
            self.position += 1
        return bytes(read)

    def exactly(self, text: bytes) -> Reading[Match]:
        """Read the text if it comes next, else nothing."""
        start = self.position
        while True:
            data = self.bytes_between(start, start + len(text))
            if data == text:
                self.position = start + len(text)
                return Match.YES
            if not text.startswith(data):
                return Match.NO
            if not (yield from self.more()):
                return Match.CUT

    def literal(self, marker: str) -> Reading[Match]:
        """Read the marker if it comes next, else nothing. Whitespace before its words and between them is optional."""
        self.mark()
        start, match = self.position, Match.YES
        for word in marker.encode().split():
            yield from self.skip(SPACE)
            match = yield from self.exactly(word)
            if match is not Match.YES:
                self.position = start
                break
        self.unmark()
        return match

    def ahead(self, marker: str) -> Reading[Match]:
        """Say whether the marker comes next, as ``literal`` does, and read nothing."""
        self.mark()
        match = yield from self.literal(marker)
        self.position = self.unmark()
        return match

    def until(
        self, ends: tuple[bytes, ...], take: Callable[[bytes], None], *, all_of_it: bool = False
    ) -> Reading[bytes | None]:
        """Read and pass on what comes before one of ``ends``; return that one, unread, or None when the source ended.

        The end that is complete first counts, of several that are complete at the same byte the longest. Where the
        source ends within what could become one of ``ends``, that is passed on with ``all_of_it`` only.
        """
        while True:
            data = self.unread()
            found = [(at + len(end), -len(end), end) for end in ends if (at := data.find(end)) >= 0]
            if found:
                stop, size, end = min(found)
                self._pass(data[: stop + size], take)
                return end
            held = _held(data, ends)
            self._pass(data[: len(data) - held], take)
            if not (yield from self.more()):
                self._pass(self.unread(), take if all_of_it else _drop)
                return None

    def _pass(self, data: bytes, take: Callable[[bytes], None]) -> None:
        if data:
            take(data)
            self.position += len(data)


def _drop(data: bytes) -> None:
    """Take bytes that nobody gets."""


def _held(data: bytes, ends: tuple[bytes, ...]) -> int:
    """Return how many of the last bytes could still become one of ``ends``."""
    longest = min(len(data), max(map(len, ends), default=0) - 1)
    for size in range(longest, 0, -1):
        tail = data[-size:]
        if any(end.startswith(tail) for end in ends):
            return size
    return 0
