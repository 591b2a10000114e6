"""The logits processors. Each changes a row of logits in place as the parameters of its choice demand.

Their order is vLLM's, and DRY's place is llama.cpp's: penalties, DRY, bias, min_tokens, grammar, temperature, min_p,
top_k. top_p is part of the draw.
"""

import math
from collections.abc import Collection
from typing import Final

import numpy as np

from antiphon.engine.sampling.row_blocks import keep_only, most_likely
from antiphon.engine.sampling.sampling_state import Floats, Ints, SamplingState, TokenFilter

MAX_PENALTY: Final = 1e30
"""A penalty that bans a token and keeps its logit finite."""
LEAST_TOP: Final = -20.0
MOST_TOP: Final = 60.0
"""Bounds of a row's largest scaled logit within which float32 holds the exponentials of all logits that matter."""


def apply_penalties(row: Floats, state: SamplingState) -> None:
    """Apply the repetition, the frequency and the presence penalty.

    The first (Keskar et al. 2019, CTRL, section 4.1) counts the prompt's tokens, too; the others are the reference's.
    """
    params = state.params
    if params.repetition_penalty != 1.0:
        ids = _array(state.repeated_ids)
        values = row[ids]
        row[ids] = np.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    if params.frequency_penalty or params.presence_penalty:
        counts = np.fromiter(state.token_counts.values(), dtype=np.float32, count=len(state.token_counts))
        row[_array(state.token_counts)] -= params.frequency_penalty * counts + np.float32(params.presence_penalty)


def apply_dry(row: Floats, state: SamplingState) -> None:
    """Penalise the tokens that would continue a repeat, the more the longer it is: don't repeat yourself (DRY).

    The penalty is dry_multiplier * dry_base ** (length of the repeat - dry_allowed_length), as in llama.cpp.
    """
    if state.repeats is None:
        return
    params = state.params
    ids, lengths = state.repeats.continuations(params.dry_allowed_length)
    with np.errstate(over="ignore"):
        penalties = params.dry_multiplier * np.float64(params.dry_base) ** (lengths - params.dry_allowed_length)
    row[ids] = row[ids] - np.minimum(penalties, MAX_PENALTY)  # of a token's penalties the last, largest one remains


def apply_bias(row: Floats, state: SamplingState) -> None:
    """Add ``logit_bias``; ban tokens and keep the forced tokens only."""
    if state.bias_ids.size:
        row[state.bias_ids] += state.bias_values
        row[state.banned_ids] = -np.inf
    if state.forced_ids.size:
        keep_only(row, state.forced_ids)


def apply_min_tokens(row: Floats, state: SamplingState) -> None:
    """Ban the tokens that end the answer, for ``min_tokens`` and ``ignore_eos``, unless only they are possible."""
    banned = state.banned_ends
    if banned is not None:
        ends = row[banned]
        row[banned] = -np.inf
        if row.max() == -np.inf:
            row[banned] = ends


def apply_filter(row: Floats, logits: Floats, token_filter: TokenFilter) -> None:
    """Keep the allowed tokens only. Where bias has banned them all, take their values from ``logits``."""
    excluded = ~token_filter.allowed(row.size)
    row[excluded] = -np.inf
    if row.max() == -np.inf:
        row[:] = logits
        row[excluded] = -np.inf


def apply_temperature(row: Floats, state: SamplingState, top: np.float32) -> None:
    """Divide the logits by the temperature. Shift them first where their exponentials would leave float32's range.

    ``top`` is the largest logit and finite.
    """
    if not LEAST_TOP < top * state.scale < MOST_TOP:
        row -= top
    if state.scale != 1.0:
        row *= state.scale


def apply_min_p(row: Floats, state: SamplingState) -> None:
    """Drop the tokens that are less likely than ``min_p`` times the likeliest."""
    if state.params.min_p > 0.0:
        row[row < row.max() + np.float32(math.log(state.params.min_p))] = -np.inf


def apply_top_k(row: Floats, state: SamplingState) -> None:
    """Keep the ``top_k`` likeliest tokens only."""
    if state.params.top_k > 0:
        keep_only(row, most_likely(row, state.params.top_k))


def _array(ids: Collection[int]) -> Ints:
    return np.fromiter(ids, dtype=np.intp, count=len(ids))
