"""Draws a token from a row of scaled logits, within the nucleus of top_p (Holtzman et al. 2020, section 3.1).

The nucleus holds the likeliest tokens, of equals those with the smaller ids, until their probabilities add up to top_p.
Sorting the vocabulary for it would take longer than all the rest of sampling. So tokens are drawn from the whole
vocabulary until the nucleus holds one.
"""

from typing import Final

import numpy as np

from antiphon.engine.sampling.row_blocks import BLOCK, block_sums
from antiphon.engine.sampling.sampling_state import Floats, Ints

TRIES: Final = 4
"""Draws from the whole vocabulary before the likeliest tokens are sorted."""


def draw_token(row: Floats, rng: np.random.Generator, top_p: float) -> int:
    """Return a token, drawn in proportion to the exponentials of ``row``. They replace the logits in ``row``.

    The row consists of whole blocks, and its exponentials add up to a finite number above 0.
    """
    weights = np.exp(row, out=row)
    if top_p <= 0.0:
        return int(weights.argmax())
    sums = block_sums(weights)
    if top_p >= 1.0:
        return _pick_token(weights, sums, rng.random())
    mass = top_p * float(sums.sum(dtype=np.float64))
    heaviest = np.float32(0.0)
    for _ in range(TRIES):
        token_id = _pick_token(weights, sums, rng.random())
        if is_in_nucleus(weights, token_id, mass):
            return token_id
        heaviest = max(heaviest, weights[token_id])
    ids = nucleus(weights, np.flatnonzero(weights >= heaviest), mass)
    return int(ids[pick(weights[ids], rng.random())[0]])


def _pick_token(weights: Floats, sums: Floats, uniform: float) -> int:
    block, rest = pick(sums, uniform)
    return block * BLOCK + pick(weights[block * BLOCK : (block + 1) * BLOCK], rest)[0]


def is_in_nucleus(weights: Floats, token_id: int, mass: float) -> bool:
    """Return whether the tokens before ``token_id`` in the nucleus's order weigh less than ``mass``."""
    weight = weights[token_id]
    likely = weights[weights >= weight]
    before = float(likely.sum(dtype=np.float64)) - float(weight)
    if before < mass or np.count_nonzero(likely == weight) == 1:
        return before < mass
    heavier = float(likely[likely > weight].sum(dtype=np.float64))
    return heavier + float(weight) * int(np.count_nonzero(weights[:token_id] == weight)) < mass


def nucleus(weights: Floats, ids: Ints, mass: float) -> Ints:
    """Return the likeliest of ``ids``, which ascend, likeliest first, until they weigh ``mass``."""
    likeliest_first = ids[np.argsort(-weights[ids], kind="stable")]
    ends = weights[likeliest_first].cumsum(dtype=np.float64)
    return likeliest_first[: int(ends.searchsorted(mass)) + 1]


def pick(weights: Floats, uniform: float) -> tuple[int, float]:
    """Return the index of a weight, picked in proportion to it by ``uniform``, and a uniform number for the next pick.

    The weights lie end to end: ``uniform`` of the whole falls within the picked one, and the second number says how far
    into it. Both numbers are in [0, 1]. A weight of 0 is never picked, not even through rounding.
    """
    ends = weights.cumsum(dtype=np.float64)
    target = uniform * float(ends[-1])
    index = int(ends.searchsorted(target, side="right"))
    if index == len(weights):
        index = int(np.flatnonzero(weights)[-1])
    weight = float(weights[index])
    return index, min(1.0, max(0.0, (target - float(ends[index]) + weight) / weight))
