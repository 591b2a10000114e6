"""Mirostat draws tokens so that their surprise stays near a target (Basu et al. 2021, algorithms 1 and 2).

As in llama.cpp, version 1 estimates how many of the likeliest tokens to draw from, and version 2 drops the tokens whose
surprise is above a limit. Both move that limit after each draw. Surprise is in bits.
"""

import math
from typing import Final

import numpy as np

from antiphon.engine.sampling.row_blocks import keep_only, most_likely
from antiphon.engine.sampling.sampling_state import Floats, SamplingState
from antiphon.engine.sampling.token_draw import draw_token

SAMPLE: Final = 100
"""Likeliest tokens from which version 1 estimates the slope of the probabilities."""


def draw_with_mirostat(row: Floats, state: SamplingState, n_vocab: int) -> int:
    """Return a token, drawn in proportion to the exponentials of ``row``, and move the limit of surprise.

    The parameters are ``mirostat``, ``mirostat_tau``, the target, and ``mirostat_eta``, the rate of learning.
    """
    if state.params.mirostat == 1:
        _keep_likeliest(row, state.surprise_limit, n_vocab)
    else:
        _drop_surprising(row, state.surprise_limit)
    token_id = draw_token(row, state.rng, 1.0)
    weights = row  # the draw leaves the exponentials there
    surprise = -math.log2(float(weights[token_id]) / float(weights.sum(dtype=np.float64)))
    state.surprise_limit -= state.params.mirostat_eta * (surprise - state.params.mirostat_tau)
    return token_id


def _drop_surprising(row: Floats, limit: float) -> None:
    """Drop the tokens whose surprise is above ``limit``, but not the likeliest."""
    likeliest = int(row.argmax())
    top = row[likeliest]
    total = float(np.exp(row - top).sum(dtype=np.float64))
    row[row - top < np.float32(math.log(total) - limit * math.log(2))] = -np.inf
    row[likeliest] = top


def _keep_likeliest(row: Floats, limit: float, n_vocab: int) -> None:
    size = candidate_count(row[most_likely(row, SAMPLE)], limit, n_vocab)
    if size < n_vocab:
        keep_only(row, most_likely(row, size))


def candidate_count(logits: Floats, limit: float, n_vocab: int) -> int:
    """Return the number of tokens, 1 to ``n_vocab``, whose surprise is about ``limit``, by Zipf's law.

    ``logits`` are those of the likeliest tokens, likeliest first. Their slope on logarithmic axes is the exponent.
    """
    if len(logits) <= 1:
        return 1
    ranks = np.arange(1, len(logits))
    steps = np.log((ranks + 1) / ranks)
    exponent = float((steps * (logits[:-1].astype(np.float64) - logits[1:])).sum() / (steps * steps).sum())
    excess = exponent - 1.0
    scale = 1.0 / math.log(n_vocab) if abs(excess) < 1e-9 else excess / -math.expm1(-excess * math.log(n_vocab))  # noqa: PLR2004 (the quotient's limit)
    log_size = limit * math.log(2) + math.log(scale)
    if log_size >= exponent * math.log(n_vocab):
        return n_vocab
    return max(1, int(math.exp(log_size / exponent))) if log_size > 0.0 else 1
