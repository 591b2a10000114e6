"""Chooses the next token of a choice from its row of logits.

The row passes the logits processors (penalties, DRY, bias, min_tokens, grammar, temperature, min_p, top_k) and the
truncations (typical_p, xtc), then a token is drawn within top_p. Mirostat takes the place of all truncations, as in
llama.cpp. Log probabilities are those of the row after penalties and bias: a ban of the end, the grammar and
the shape of the draw do not change them.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.interface import PromptTokenLogprobs, TokenLogprobs
from antiphon.engine.sampling import logits_processors as processors
from antiphon.engine.sampling import truncations
from antiphon.engine.sampling.mirostat import draw_with_mirostat
from antiphon.engine.sampling.row_blocks import make_row, most_likely
from antiphon.engine.sampling.sampling_state import Floats, Ints, SamplingState
from antiphon.engine.sampling.token_draw import draw_token

VISIBLE_LOGPROBS: Final = 20
"""Ranks within which the reference reports the chosen token's log probability. More are reported on request."""
UNLIKELY: Final = -9999.0
"""The log probability that the reference reports of a token outside those ranks."""


class Sampler:
    """Chooses tokens from rows of ``n_vocab`` logits.

    It owns one scratch row, which stays in the processor's cache from the first processor to the draw: eight rows at
    once, processor by processor, took longer.
    """

    def __init__(self, n_vocab: int) -> None:
        self._row: Final = make_row(n_vocab)
        self._logits: Final = self._row[:n_vocab]
        self._padding: Final = self._row[n_vocab:]

    def sample(self, logits: Floats, state: SamplingState) -> tuple[int, TokenLogprobs | None]:
        """Return a choice's next token, and its log probabilities where the request asks for them.

        ``logits`` has shape (n_vocab,) and stays as it is.
        """
        self._logits[:] = logits
        self._padding[:] = -np.inf
        with np.errstate(over="ignore"):
            processors.apply_penalties(self._row, state)
            processors.apply_dry(self._row, state)
            processors.apply_bias(self._row, state)
            if state.params.logprobs is None:
                return self._choose(logits, state), None
            ids, logprobs = _likeliest_logprobs(self._row, max(VISIBLE_LOGPROBS, state.params.logprobs))
            token_id = self._choose(logits, state)
        return token_id, _report(token_id, ids, logprobs, state.params.logprobs)

    def score(self, logits: Floats, token_id: int, n: int) -> PromptTokenLogprobs:
        """Return the log probabilities of a given token and of the ``n`` likeliest ones, without any penalty or bias.

        ``logits`` has shape (n_vocab,) and stays as it is.
        """
        self._logits[:] = logits
        self._padding[:] = -np.inf
        ids = most_likely(self._row, n)
        asked = np.append(ids, token_id)
        logprobs = [max(value, UNLIKELY) for value in _logprobs(self._row, asked).tolist()]
        own = self._logits[token_id]
        rank = 1 + np.count_nonzero(self._logits > own) + np.count_nonzero(self._logits[:token_id] == own)
        return PromptTokenLogprobs(token_id, logprobs.pop(), int(rank), ids.tolist(), logprobs)

    def _choose(self, logits: Floats, state: SamplingState) -> int:
        row = self._row
        processors.apply_min_tokens(row, state)
        if state.filter is not None:
            processors.apply_filter(self._logits, logits, state.filter)
        likeliest = int(row.argmax())
        if state.is_greedy or not np.isfinite(row[likeliest]):
            return likeliest
        processors.apply_temperature(row, state, row[likeliest])
        if state.params.mirostat:
            return draw_with_mirostat(row, state, self._logits.size)
        processors.apply_min_p(row, state)
        processors.apply_top_k(row, state)
        truncations.apply_typical_p(row, state)
        if not state.uses_xtc:
            return draw_token(row, state.rng, state.params.top_p)
        truncations.apply_top_p(row, state)
        truncations.apply_xtc(row, state)
        return draw_token(row, state.rng, 1.0)


def _likeliest_logprobs(row: Floats, n: int) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Return the ``n`` likeliest tokens, likeliest first, and their log probabilities."""
    ids = most_likely(row, n)
    return ids, _logprobs(row, ids)


def _logprobs(row: Floats, ids: Ints) -> npt.NDArray[np.float64]:
    """Return the log probabilities of ``ids``."""
    values, top = row[ids].astype(np.float64), row.max()
    if not np.isfinite(top):
        return values
    return values - (float(top) + math.log(float(np.exp(row - top).sum(dtype=np.float64))))


def _report(token_id: int, likeliest: Ints, logprobs: npt.NDArray[np.float64], n: int) -> TokenLogprobs:
    """Return the log probabilities of a token and of ``n`` alternatives."""
    ids, values = likeliest.tolist(), [max(value, UNLIKELY) for value in logprobs.tolist()]
    logprob = values[ids.index(token_id)] if token_id in ids else UNLIKELY
    return TokenLogprobs(logprob=logprob, top_ids=ids[:n], top_logprobs=values[:n])
