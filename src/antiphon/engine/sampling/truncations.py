"""The truncations of a row that need its probabilities: typical_p, top_p and xtc, in the order in which they apply.

A row holds scaled logits. A truncation sets the logits of dropped tokens to -inf and keeps at least one token.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.sampling.row_blocks import keep_only
from antiphon.engine.sampling.sampling_state import Floats, Ints, SamplingState
from antiphon.engine.sampling.token_draw import nucleus

Doubles = npt.NDArray[np.float64]
FIRST_CANDIDATES: Final = 256
"""Tokens that typical_p sorts first. It sorts eight times as many until their probabilities suffice."""


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
    probabilities = weights / weights.sum()
    surprise = np.log(weights.sum()) - logits
    deviations = np.abs(surprise - float((probabilities * surprise).sum()))
    keep_only(row, ids[_most_typical(deviations, probabilities, mass)])


def _most_typical(deviations: Doubles, probabilities: Doubles, mass: float) -> Ints:
    """Return the places of the least deviations whose probabilities just exceed ``mass``."""
    size = FIRST_CANDIDATES
    while True:
        places = np.argpartition(deviations, size)[:size] if size < len(deviations) else np.arange(len(deviations))
        places = places[np.lexsort((places, deviations[places]))]
        ends = probabilities[places].cumsum()
        if ends[-1] > mass or len(places) == len(deviations):
            kept: Ints = places[: int(ends.searchsorted(mass, side="right")) + 1]
            return kept
        size *= 8


def apply_top_p(row: Floats, state: SamplingState) -> None:
    """Keep the nucleus of top_p, for a truncation after it. Without one the draw keeps to the nucleus itself."""
    if state.params.top_p < 1.0:
        weights = np.exp(row - row.max())
        mass = state.params.top_p * float(weights.sum(dtype=np.float64))
        keep_only(row, nucleus(weights, np.flatnonzero(weights), mass))


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
