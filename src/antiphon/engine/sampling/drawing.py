"""Draws tokens in proportion to exp(logit / temperature), of several choices at once.

Most of a draw's time is reading a row as wide as the vocabulary, and most of the rest is that a call into numpy costs
as much as a few thousand of its numbers. So rows are exponentiated and summed together, and a token of the nucleus of
top_p (Holtzman et al. 2020, section 3.1) is found without sorting: see :meth:`Drawing.pick`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from antiphon.engine.sampling.sampling_state import Floats, Ints, SamplingState

BLOCK: Final = 256
"""Width of the blocks that a row is cut into: a search over blocks first reads a row once instead of sorting it."""
TOGETHER: Final = 8
"""Rows that are exponentiated at once."""
LEAST_MASS: Final = 1e-10
MOST_MASS: Final = 1e30
"""Sums of exp(logit / temperature) within which float32 holds every token's part that counts."""
TRIES: Final = 4
"""Draws from the whole vocabulary until what is likely is sorted instead."""


class Drawing:
    """Weights of up to :data:`TOGETHER` rows of ``n_vocab`` logits. Owns them, so that a step allocates little."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab: Final = n_vocab
        width = -(-n_vocab // BLOCK) * BLOCK
        self.weights: Final = np.zeros((TOGETHER, width), dtype=np.float32)

    def draw(self, logits: Floats, rows: Sequence[int], states: Sequence[SamplingState]) -> list[int | None]:
        """Draw a token for each state, all of them ``direct``, from its own of the ``rows``, which ascend.

        ``logits`` has shape (n, n_vocab) and is not changed: the few tokens with a bias are put right among the
        weights. None where the exponentials leave float32's range; such a choice's random stream has not moved.
        """
        drawn: list[int | None] = []
        for start in range(0, len(states), TOGETHER):
            some = rows[start : start + TOGETHER]
            first, end = some[0], some[-1] + 1
            part = logits[first:end] if end - first == len(some) else logits[some]
            drawn += self._draw_some(part, states[start : start + TOGETHER])
        return drawn

    def _draw_some(self, logits: Floats, states: Sequence[SamplingState]) -> list[int | None]:
        n = len(states)
        weights = self.weights[:n, : self._n_vocab]
        with np.errstate(over="ignore"):
            if all(state.scale == 1.0 for state in states):
                np.exp(logits, out=weights)
            else:
                scales = np.array([state.scale for state in states])
                np.exp(np.multiply(logits, scales[:, None], out=weights), out=weights)
            for row, state in enumerate(states):
                if state.moved_ids.size:
                    moved = (logits[row, state.moved_ids] + state.moved_values) * state.scale
                    weights[row, state.moved_ids] = np.exp(moved)
                if state.banned.size:
                    weights[row][state.banned] = 0.0
            sums = self.block_sums(n)
            totals = sums.sum(axis=1, dtype=np.float64).tolist()
        return [
            self.pick(row, sums[row], state) if LEAST_MASS < totals[row] < MOST_MASS else None
            for row, state in enumerate(states)
        ]

    def block_sums(self, n: int = 1) -> Floats:
        """Sum up the blocks of the first ``n`` rows, shape (n, blocks)."""
        sums: Floats = np.einsum("ijk->ij", self.weights[:n].reshape(n, -1, BLOCK))
        return sums

    def pick(self, row: int, sums: Floats, state: SamplingState) -> int:
        """Draw a token from a row, whose blocks' sums are ``sums``, within the nucleus of ``top_p``.

        Tokens are drawn from the whole vocabulary until the nucleus holds one, so that nothing is sorted; where it
        holds so little that this takes more than :data:`TRIES`, what is likelier than a token outside is sorted.
        """
        weights, rng, top_p = self.weights[row], state.rng, state.params.top_p
        if top_p >= 1.0:
            return self._pick_token(weights, sums, rng.random())
        if top_p <= 0.0:
            return int(weights.argmax())
        mass = top_p * float(sums.sum(dtype=np.float64))
        heaviest = np.float32(0.0)
        for _ in range(TRIES):
            token_id = self._pick_token(weights, sums, rng.random())
            if _is_within(weights, token_id, mass):
                return token_id
            heaviest = max(heaviest, weights[token_id])
        ids = np.flatnonzero(weights >= heaviest)
        return pick_among(weights, nucleus(weights, likeliest_first(weights, ids), mass), state)

    @staticmethod
    def _pick_token(weights: Floats, sums: Floats, uniform: float) -> int:
        block, rest = pick(sums, uniform)
        return block * BLOCK + pick(weights[block * BLOCK : (block + 1) * BLOCK], rest)[0]


def _is_within(weights: Floats, token_id: int, mass: float) -> bool:
    """Whether what comes before a token, the likelier and of equals the first, weighs less than ``mass``."""
    weight = weights[token_id]
    likely = weights[weights >= weight]
    before = float(likely.sum(dtype=np.float64)) - float(weight)
    if before < mass or np.count_nonzero(likely == weight) == 1:
        return before < mass
    heavier = float(likely[likely > weight].sum(dtype=np.float64))
    return heavier + float(weight) * int(np.count_nonzero(weights[:token_id] == weight)) < mass


def likeliest_first(weights: Floats, ids: Ints) -> Ints:
    """Sort ``ids``, which ascend, by weight; of equals the first comes first."""
    order: Ints = np.argsort(-weights[ids], kind="stable")
    return ids[order]


def nucleus(weights: Floats, ids: Ints, mass: float) -> Ints:
    """Cut ``ids``, most likely first, behind the first with which they weigh ``mass``."""
    ends = weights[ids].cumsum(dtype=np.float64)
    return ids[: int(ends.searchsorted(mass)) + 1]


def pick_among(weights: Floats, ids: Ints, state: SamplingState) -> int:
    """Draw one of ``ids``."""
    return int(ids[pick(weights[ids], state.rng.random())[0]])


def pick(weights: Floats, uniform: float) -> tuple[int, float]:
    """Lay the weights end to end: the one in which ``uniform`` of the whole falls, and how far into it, both in [0, 1].

    Never one that weighs nothing, whatever is lost to rounding.
    """
    ends = weights.cumsum(dtype=np.float64)
    target = uniform * float(ends[-1])
    index = int(ends.searchsorted(target, side="right"))
    if index == len(weights):
        index = int(np.flatnonzero(weights)[-1])
    weight = float(weights[index])
    return index, min(1.0, max(0.0, (target - float(ends[index]) + weight) / weight))
