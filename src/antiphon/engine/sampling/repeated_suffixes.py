"""Finds the earlier places of a conversation after which its newest tokens stand, too: the repeats that DRY penalises.

A place is a position of a token. Its length is that of the longest run of tokens before it that also ends the
conversation. So the token at the place would continue a repeat of that length. One array operation per token keeps all
lengths up to date.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.intp]
MAX_REPEAT: Final = 512
"""Tokens of the longest repeat. A longer one counts as long, and its penalty bans a token."""

_MEDIA: Final = -1


class RepeatedSuffixes:
    """The tokens of a conversation, and the length at each place."""

    def __init__(
        self, tokens: Sequence[int], breakers: Iterable[int], sequences: Iterable[list[int]], window: int
    ) -> None:
        """Take the tokens of a prompt. Negative keys stand for media: they break repeats and are never continuations.

        No repeat continues across one of the tokens ``breakers`` or of the token ``sequences``. Only the newest
        ``window`` tokens count; -1 means all.
        """
        self._breakers: Final = frozenset((*breakers, _MEDIA))
        self._sequences: Final = tuple(sequences)
        self._window: Final = window
        self._tokens = np.zeros(len(tokens) + MAX_REPEAT, dtype=np.intp)
        self._tokens[: len(tokens)] = [max(token, _MEDIA) for token in tokens]
        self._size = len(tokens)
        self._lengths = _lengths_of(self._tokens[: self._size])
        self._unbroken = self._count_unbroken()

    def append(self, token_id: int) -> None:
        """Add the next token."""
        size = self._size
        if size == len(self._tokens):
            self._tokens = np.append(self._tokens, np.zeros(size, dtype=np.intp))
        lengths = np.zeros(size + 1, dtype=np.intp)
        same = self._tokens[:size] == token_id
        lengths[1:][same] = np.minimum(self._lengths[same] + 1, MAX_REPEAT)
        self._lengths = lengths
        self._tokens[size] = token_id
        self._size = size + 1
        self._unbroken = 0 if self._ends_with_breaker(self._size) else self._unbroken + 1

    def continuations(self, least: int) -> tuple[Ints, Ints]:
        """Return the tokens that would continue a repeat of ``least`` tokens or more, and the lengths, ascending."""
        size = self._size
        start = 0 if self._window < 0 else max(0, size - self._window)
        places = np.arange(start + 1, size)
        lengths = np.minimum(self._lengths[places], np.minimum(places - start, self._unbroken))
        long = (lengths >= least) & (self._tokens[places] != _MEDIA)
        order = np.argsort(lengths[long], kind="stable")
        return self._tokens[places[long]][order], lengths[long][order]

    def _count_unbroken(self) -> int:
        """Return how many tokens follow the last breaker, at most MAX_REPEAT."""
        for count in range(min(self._size, MAX_REPEAT)):
            if self._ends_with_breaker(self._size - count):
                return count
        return min(self._size, MAX_REPEAT)

    def _ends_with_breaker(self, size: int) -> bool:
        tokens = self._tokens
        if int(tokens[size - 1]) in self._breakers:
            return True
        return any(tokens[max(0, size - len(each)) : size].tolist() == each for each in self._sequences)


def _lengths_of(tokens: Ints) -> Ints:
    """Return the length at each place of a whole conversation."""
    size = len(tokens)
    lengths = np.zeros(size, dtype=np.intp)
    places = np.arange(size)
    for length in range(min(size, MAX_REPEAT)):
        places = places[places > length]
        places = places[tokens[places - 1 - length] == tokens[size - 1 - length]]
        if not places.size:
            break
        lengths[places] = length + 1
    return lengths
