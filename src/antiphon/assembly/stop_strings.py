"""Finds the first stop string in a run of bytes. Reference: ``stop``.

Each stop string has a Knuth-Morris-Pratt automaton (SIAM J. Comput. 6(2), 1977). Its table is built only as far as the
run needs it, so the cost is linear in the bytes of the run, for stop strings of any length. UTF-8 is
self-synchronising, so a match of bytes is a match of characters. U+FFFD in a stop string matches a U+FFFD that the
model wrote, not the replacement of malformed bytes.

The match with the earliest last byte wins, because generation ends there; the longest, if several end at that byte.
So the text before the match holds no stop string, and any split of the same bytes gives the same text.
"""

from collections.abc import Iterable


class StopStrings:
    """Holds back exactly the last bytes of the run that may be the start of a stop string."""

    __slots__ = ("_automata", "_first_bytes", "_held", "_included")

    def __init__(self, stop: Iterable[str], *, included: bool = False) -> None:
        """``included``: the bytes before the rest include the stop string that was found."""
        self._included = included
        # A lone surrogate has no UTF-8 form; surrogatepass gives bytes that no well-formed text contains.
        patterns = dict.fromkeys(text.encode("utf-8", "surrogatepass") for text in stop)
        self._automata = [_Automaton(pattern) for pattern in patterns if pattern]
        self._first_bytes = frozenset(automaton.pattern[0] for automaton in self._automata)
        self._held = b""

    def push(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Search the next bytes; return the bytes before a stop string and, on a match, the rest of ``data``.

        The second value is None without a match. After a match nothing is held and a new run begins.
        """
        if not self._held and self._first_bytes.isdisjoint(data):
            return data, None
        matches, held = [], 0
        for automaton in self._automata:
            if end := automaton.scan(data):
                matches.append((end, -len(automaton.pattern)))
            elif automaton.length > held:
                held = automaton.length
        if matches:
            return self._split_at_match(data, *min(matches))
        run = self._held + data
        decided = len(run) - held
        self._held = run[decided:]
        return run[:decided], None

    def _split_at_match(self, data: bytes, end: int, size: int) -> tuple[bytes, bytes]:
        """Return the bytes before the match of length ``-size`` and the bytes after it."""
        run = self._held + data[:end]
        decided = run if self._included else run[:size]
        self.flush()
        return decided, data[end:]

    @property
    def held(self) -> int:
        """Number of bytes held back, as they may be the start of a stop string."""
        return len(self._held)

    def flush(self) -> bytes:
        """End the run and return the bytes that are held back."""
        held, self._held = self._held, b""
        for automaton in self._automata:
            automaton.length = 0
        return held


class _Automaton:
    """The Knuth-Morris-Pratt automaton of one pattern."""

    __slots__ = ("_borders", "_first", "length", "pattern")

    def __init__(self, pattern: bytes) -> None:
        self.pattern = pattern
        self.length = 0
        """Bytes of the longest prefix of the pattern that is a suffix of the run."""
        self._first = pattern[:1]
        self._borders = [0, 0]

    def scan(self, data: bytes) -> int:
        """Process ``data``; return the offset after the first match in it, or 0."""
        pattern, length, position = self.pattern, self.length, 0
        while position < len(data):
            if not length:
                position = data.find(self._first, position)
                if position < 0:
                    break
            byte = data[position]
            position += 1
            while length and pattern[length] != byte:
                length = self._border(length)
            if pattern[length] == byte:
                length += 1
            if length == len(pattern):
                return position
        self.length = length
        return 0

    def _border(self, length: int) -> int:
        """Return the length of the longest border of the first ``length`` bytes: a proper prefix that is a suffix."""
        pattern, borders = self.pattern, self._borders
        while len(borders) <= length:
            border, byte = borders[-1], pattern[len(borders) - 1]
            while border and pattern[border] != byte:
                border = borders[border]
            borders.append(border + (pattern[border] == byte))
        return borders[length]
