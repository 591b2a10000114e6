"""A byte buffer for incremental parsers that are written as if they had the whole text.

A parser is a generator that reads from a :class:`ByteSource`. It yields when it needs bytes that have not arrived; its
caller feeds the source and resumes it. So the result does not depend on how the bytes were split.
"""

from collections.abc import Callable, Generator
from enum import Enum
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, None, T]
"""A parser or a part of one; its return value is a T."""

SPACE = b" \t\r\n"


class Match(Enum):
    """The result of comparing the next bytes with an expected text."""

    YES = "yes"
    NO = "no"
    CUT = "cut"
    """The source ended too early: the remaining bytes are a proper prefix of the text, maybe empty."""


def discard(data: bytes) -> None:
    """Drop bytes that a parser does not need."""


class ByteSource:
    """The bytes of one answer and the read position. Offsets count from the first byte of the answer."""

    __slots__ = ("_base", "_data", "_marks", "ended", "position", "wanted_more")

    def __init__(self) -> None:
        self._data = bytearray()
        self._base = 0
        self._marks: list[int] = []
        self.position = 0
        self.ended = False
        self.wanted_more = False
        """Whether a read needed bytes after the end of the answer."""

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._base + len(self._data)

    def feed(self, data: bytes) -> None:
        """Append bytes and free the bytes before the position and the oldest mark."""
        kept = self._marks[0] if self._marks else self.position
        del self._data[: kept - self._base]
        self._base = kept
        self._data += data

    def end(self) -> None:
        """Declare that no more bytes arrive."""
        self.ended = True

    def mark(self) -> int:
        """Return the position; keep the bytes after it until ``unmark``, so that the parser can go back."""
        self._marks.append(self.position)
        return self.position

    def unmark(self) -> int:
        """Remove the newest mark and return its position."""
        return self._marks.pop()

    def bytes_between(self, start: int, end: int) -> bytes:
        """Return the bytes between two offsets, both still in the buffer."""
        return bytes(self._data[start - self._base : end - self._base])

    def unread(self) -> bytes:
        """Return the bytes that have arrived and have not been read."""
        return bytes(self._data[self.position - self._base :])

    def more(self) -> Reading[bool]:
        """Wait for more bytes; return False if the source has ended."""
        size = self.size
        while self.size == size and not self.ended:
            yield
        self.wanted_more |= self.size == size
        return self.size > size

    def peek(self) -> Reading[bytes]:
        """Return the next byte without reading it, empty at the end."""
        while self.position == self.size:
            if not (yield from self.more()):
                return b""
        at = self.position - self._base
        return bytes(self._data[at : at + 1])

    def skip(self, members: bytes, limit: int | None = None) -> Reading[bytes]:
        """Read and return bytes while they are in ``members``, at most ``limit`` of them."""
        read = bytearray()
        while limit is None or len(read) < limit:
            byte = yield from self.peek()
            if not byte or byte not in members:
                break
            read += byte
            self.position += 1
        return bytes(read)

    def exactly(self, text: bytes) -> Reading[Match]:
        """Read the text if it comes next; otherwise read nothing."""
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
        """Read the marker if it comes next; otherwise read nothing. Whitespace before each of its words is optional."""
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

    def peek_literal(self, marker: str) -> Reading[Match]:
        """Return whether the marker comes next, as ``literal`` does, and read nothing."""
        self.mark()
        match = yield from self.literal(marker)
        self.position = self.unmark()
        return match

    def until(
        self, ends: tuple[bytes, ...], take: Callable[[bytes], None], take_cut: Callable[[bytes], None] = discard
    ) -> Reading[bytes | None]:
        """Pass the bytes before the first of ``ends`` to ``take``; return that end, unread, or None if none came.

        The first end is the one whose last byte comes first; the longest, if several have the same last byte. If the
        source ends with a proper prefix of one of ``ends``, ``take_cut`` gets the prefix.
        """
        while True:
            data = self.unread()
            found = [(at + len(end), -len(end), end) for end in ends if (at := data.find(end)) >= 0]
            if found:
                stop, size, end = min(found)
                self._pass_on(data[: stop + size], take)
                return end
            held = _partial_end_size(data, ends)
            self._pass_on(data[: len(data) - held], take)
            if not (yield from self.more()):
                self._pass_on(self.unread(), take_cut)
                return None

    def _pass_on(self, data: bytes, take: Callable[[bytes], None]) -> None:
        if data:
            take(data)
            self.position += len(data)


def _partial_end_size(data: bytes, ends: tuple[bytes, ...]) -> int:
    """Return how many of the last bytes are a proper prefix of one of ``ends``."""
    longest = min(len(data), max(map(len, ends), default=0) - 1)
    for size in range(longest, 0, -1):
        tail = data[-size:]
        if any(end.startswith(tail) for end in ends):
            return size
    return 0
