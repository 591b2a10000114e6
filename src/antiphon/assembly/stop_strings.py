"""Where a run of bytes ends: at the first byte that completes a stop string. Reference: ``stop``.

Each stop string is followed by Knuth, Morris and Pratt's automaton (SIAM J. Comput. 6(2), 1977), its table built no
further than the run has come: the cost is linear in the bytes of the run, however long the strings and whatever is in
them. UTF-8 is self-synchronising, so a match of bytes is a match of characters; U+FFFD in a stop string matches one
that the model wrote, not one that stands for malformed bytes.

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
        """Take the next bytes; return those that are decided and, on a match, what ``data`` has behind it, else None.

        After a match the decided bytes end before the stop string, nothing is held and a new run begins.
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
            return self._cut(data, *min(matches))
        run = self._held + data
        decided = len(run) - held
        self._held = run[decided:]
        return run[:decided], None

    def _cut(self, data: bytes, end: int, size: int) -> tuple[bytes, bytes]:
        """Return what comes before the match, whose length is ``-size``, and what comes behind it."""
        decided = (self._held + data[:end])[:size]
        self.flush()
        return decided, data[end:]

    @property
    def held(self) -> int:
        """Bytes that could still become a stop string."""
        return len(self._held)

    def flush(self) -> bytes:
        """End the run: what is held did not become a stop string."""
        held, self._held = self._held, b""
        for automaton in self._automata:
            automaton.length = 0
        return held


class _Automaton:
    """How much of one pattern the run ends with."""

    __slots__ = ("_borders", "_first", "length", "pattern")

    def __init__(self, pattern: bytes) -> None:
        self.pattern = pattern
        self.length = 0
        """Bytes of the longest prefix of the pattern that is a suffix of the run."""
        self._first = pattern[:1]
        self._borders = [0, 0]

    def scan(self, data: bytes) -> int:
        """Go on with ``data``; return the end in it of the first match, or 0."""
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
        """Return how long a proper prefix of the pattern's first ``length`` bytes is also their suffix, at most."""
        pattern, borders = self.pattern, self._borders
        while len(borders) <= length:
            border, byte = borders[-1], pattern[len(borders) - 1]
            while border and pattern[border] != byte:
                border = borders[border]
            borders.append(border + (pattern[border] == byte))
        return borders[length]
