"""The truncations of a row that need its probabilities: typical_p, top_p and xtc, in the order in which they apply.

A row holds scaled logits. A truncation sets the logits of dropped tokens to -inf and keeps at least one token.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.sampling.row_blocks import keep_only, most_likely
from antiphon.engine.sampling.sampling_state import Floats, Ints, SamplingState
from antiphon.engine.sampling.token_draw import nucleus

Doubles = npt.NDArray[np.float64]
INTERVALS: Final = 1024
MAX_DEVIATION: Final = 32.0
"""The intervals into which typical_p counts deviations, and the deviation in nats at which the last one ends."""
CANDIDATES: Final = 256
"""Likeliest tokens among which top_p searches first. It takes eight times as many until their weights suffice."""


def apply_typical_p(row: Floats, state: SamplingState) -> None:
    """Keep the tokens whose surprise is nearest to the expected one, until their probabilities exceed ``typical_p``.

    Locally typical sampling (Meister et al. 2023, section 4); llama.cpp's ``typical_p``.
    """
    mass = state.params.typical_p
    if mass >= 1.0:
        return
    ids = np.flatnonzero(row > -np.inf)
    logits = row[ids].astype(np.float64)
    logits -= logits.max()
    weights = np.exp(logits)
    total = float(weights.sum())
    # The surprise of a token is log(total) - its logit. So its deviation from the mean needs no logarithm.
    deviations = np.abs(logits - float((weights * logits).sum()) / total)
    keep_only(row, ids[_most_typical(deviations, weights, mass * total)])


def _most_typical(deviations: Doubles, weights: Doubles, mass: float) -> Ints:
    """Return the places of the least deviations whose weights just exceed ``mass``.

    Counting the weights of intervals of deviations and sorting one interval takes less time than sorting all.
    """
    intervals = np.minimum(deviations * (INTERVALS / MAX_DEVIATION), INTERVALS - 1).astype(np.intp)
    ends = np.bincount(intervals, weights, minlength=INTERVALS).cumsum()
    last = min(int(ends.searchsorted(mass, side="right")), INTERVALS - 1)
    before = np.flatnonzero(intervals < last)
    within = np.flatnonzero(intervals == last)
    within = within[np.argsort(deviations[within], kind="stable")]
    size = int((float(weights[before].sum()) + weights[within].cumsum()).searchsorted(mass, side="right")) + 1
    return np.concatenate([before, within[:size]])


def apply_top_p(row: Floats, state: SamplingState) -> None:
    """Keep the nucleus of top_p, for a truncation after it. Without one the draw keeps to the nucleus itself."""
    if state.params.top_p < 1.0:
        weights = np.exp(row - row.max())
        mass = state.params.top_p * float(weights.sum(dtype=np.float64))
        ids, size = most_likely(row, CANDIDATES), CANDIDATES
        while len(ids) == size and float(weights[ids].sum(dtype=np.float64)) < mass:
            size *= 8
            ids = most_likely(row, size)
        keep_only(row, nucleus(weights, np.sort(ids), mass))


def apply_xtc(row: Floats, state: SamplingState) -> None:
    """Drop all but the least likely of the tokens that have at least the probability ``xtc_threshold``.

    That happens with the probability ``xtc_probability``: exclude top choices (XTC), as in llama.cpp and
    text-generation-webui. The largest logit that is left becomes 0.
    """
    if state.rng.random() >= state.params.xtc_probability:
        return
    weights = np.exp(row - row.max())
    least = state.params.xtc_threshold * float(weights.sum(dtype=np.float64))
    ids = np.flatnonzero((weights >= least) & (row > -np.inf))
    likeliest_first = ids[np.argsort(-row[ids], kind="stable")]
    row[likeliest_first[:-1]] = -np.inf
    row -= row.max()
