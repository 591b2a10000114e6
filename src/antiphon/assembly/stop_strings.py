"""Where a run of bytes ends: at the first byte that completes a stop string. Reference: ``stop``.

All stop strings are followed at once by Knuth, Morris and Pratt's automaton (SIAM J. Comput. 6(2), 1977), byte by byte:
amortised constant time per byte, whatever the strings. UTF-8 is self-synchronising, so a match of bytes is a match of
characters; U+FFFD in a stop string matches one that the model wrote, not one that stands for malformed bytes.

The match that is complete first wins, because generation ends there; of several that end at the same byte, the longest.
So the text before the match holds no stop string, and any chunking of the same bytes gives the same text.
"""

from collections.abc import Iterable


class StopStrings:
    """Holds back exactly the bytes that could still become a stop string, until they do or cannot any more."""

    __slots__ = ("_automata", "_first_bytes", "_held")

    def __init__(self, stop: Iterable[str]) -> None:
        # A lone surrogate has no UTF-8 form; surrogatepass gives bytes that no well-formed text contains.
        patterns = dict.fromkeys(text.encode("utf-8", "surrogatepass") for text in stop)
        self._automata = [_Automaton(pattern) for pattern in patterns if pattern]
        self._first_bytes = frozenset(automaton.pattern[0] for automaton in self._automata)
        self._held = b""

    def push(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Take the next bytes; return those that are decided and, on a match, the bytes of ``data`` behind it, else None.

        After a match the decided bytes end before the stop string, nothing is held and a new run begins.
        """
        if not self._held and self._first_bytes.isdisjoint(data):
            return data, None
        for position, byte in enumerate(data, 1):
            matched = 0
            for automaton in self._automata:
                matched = max(matched, automaton.step(byte))
            if matched:
                return self._cut(data, position, matched)
        return self._release(data), None

    def flush(self) -> bytes:
        """End the run: what is held did not become a stop string."""
        held, self._held = self._held, b""
        self._restart()
        return held

    def _release(self, data: bytes) -> bytes:
        run = self._held + data
        decided = len(run) - max(automaton.length for automaton in self._automata)
        self._held = run[decided:]
        return run[:decided]

    def _cut(self, data: bytes, position: int, matched: int) -> tuple[bytes, bytes]:
        run = self._held + data[:position]
        self._held = b""
        self._restart()
        return run[: len(run) - matched], data[position:]

    def _restart(self) -> None:
        for automaton in self._automata:
            automaton.length = 0


class _Automaton:
    """The longest prefix of one pattern that the run ends with."""

    __slots__ = ("_fallback", "length", "pattern")

    def __init__(self, pattern: bytes) -> None:
        self.pattern = pattern
        self.length = 0
        self._fallback = _borders(pattern)

    def step(self, byte: int) -> int:
        """Follow one byte; return the pattern's length when it is complete, else 0."""
        pattern, length = self.pattern, self.length
        while length and pattern[length] != byte:
            length = self._fallback[length]
        if pattern[length] == byte:
            length += 1
        self.length = length
        return length if length == len(pattern) else 0


def _borders(pattern: bytes) -> list[int]:
    """Return, for every prefix length, the length of its longest proper prefix that is also its suffix."""
    borders = [0] * (len(pattern) + 1)
    border = 0
    for length in range(2, len(pattern) + 1):
        while border and pattern[border] != pattern[length - 1]:
            border = borders[border]
        if pattern[border] == pattern[length - 1]:
            border += 1
        borders[length] = border
    return borders
