"""From a row of logits to the next token: bias, penalties, temperature, truncation, a draw, log probabilities.

Order, as in vLLM: repetition, frequency and presence penalty, logit bias | temperature | min_p | top_k | top_p | draw.
A grammar then bans tokens. Log probabilities are of the logits before that and before the first bar: what was asked for
by bias and penalties counts, the draw's shape does not.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from antiphon.engine.interface import SamplingParams, TokenLogprobs
from antiphon.engine.sampling.drawing import BLOCK, LEAST_MASS, MOST_MASS, Drawing, likeliest_first, nucleus, pick_among
from antiphon.engine.sampling.sampling_state import Floats, Ints, SamplingState, TokenFilter

VISIBLE_LOGPROBS: Final = 20
"""Ranks within which the reference reports the chosen token's log probability."""
UNLIKELY: Final = -9999.0


class Sampler:
    """Draws tokens from rows of logits of width ``n_vocab``. Owns the scratch rows, so that a step allocates little."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab: Final = n_vocab
        self._drawing: Final = Drawing(n_vocab)
        self._weights: Final = self._drawing.weights[0]
        self._row = np.full(self._weights.size, -np.inf, dtype=np.float32)

    def draw_together(self, logits: Floats, rows: Sequence[int], states: Sequence[SamplingState]) -> list[int | None]:
        """Choose the next tokens of several choices, each from its own of the ``rows`` of logits, which ascend.

        That is faster than one by one. None for a choice that :meth:`sample` must look at.
        """
        chosen: list[int | None] = [None] * len(states)
        places = [place for place, state in enumerate(states) if state.direct]
        drawn = self._drawing.draw(logits, [rows[place] for place in places], [states[place] for place in places])
        for place, token_id in zip(places, drawn, strict=True):
            chosen[place] = token_id
        return chosen

    def sample(self, logits: Floats, state: SamplingState) -> tuple[int, TokenLogprobs | None]:
        """Choose the next token of one choice from its row, shape (n_vocab,). Does not change ``logits``."""
        params = state.params
        if state.greedy and state.only_lowered is not None:
            best = int(logits.argmax())
            if best not in state.only_lowered:
                return best, None
        if state.direct and (token := self._drawing.draw(logits[None], [0], [state])[0]) is not None:
            return token, None
        row = self._row[: self._n_vocab]
        row[:] = logits
        if not state.plain:
            state.adjust(row)
        visible = None if params.logprobs is None else self._most_likely(VISIBLE_LOGPROBS)
        normaliser = 0.0 if visible is None else self._normaliser()
        values = None if visible is None else row[visible].astype(np.float64)
        if state.filter is not None:
            self._restrict(logits, state.filter)
        token_id = int(row.argmax()) if state.greedy else self._draw(state)
        if visible is None or values is None:
            return token_id, None
        return token_id, _report(token_id, visible, values - normaliser, params.logprobs or 0)

    def _restrict(self, logits: Floats, token_filter: TokenFilter) -> None:
        """Leave what the filter allows; where bias has banned all of that, the filter wins."""
        row = self._row[: self._n_vocab]
        excluded = ~token_filter.allowed(self._n_vocab)
        row[excluded] = -np.inf
        if row.max() == -np.inf:
            row[:] = logits
            row[excluded] = -np.inf

    def _draw(self, state: SamplingState) -> int:
        params = state.params
        sums = self._weigh(state.scale)
        if sums is None:
            return int(self._row.argmax())
        if params.top_k > 0 or params.min_p > 0.0:
            return pick_among(self._weights, self._candidates(params), state)
        return self._drawing.pick(0, sums, state)

    def _weigh(self, scale: np.float32) -> Floats | None:
        """Fill ``_weights`` in proportion to the probabilities; give its blocks' sums, None without finite logits.

        exp(logit / temperature) is taken as it is where it neither overflows nor loses the tail, as nearly always:
        that saves two passes over the row.
        """
        weights = self._weights
        with np.errstate(over="ignore"):
            np.exp(self._row if scale == 1.0 else np.multiply(self._row, scale, out=weights), out=weights)
            sums: Floats = self._drawing.block_sums()[0]
            if LEAST_MASS < float(sums.sum()) < MOST_MASS:
                return sums
            top = self._row.max()
            if not np.isfinite(top):
                return None
            np.subtract(self._row, top, out=weights)
            weights *= scale
        np.exp(weights, out=weights)
        shifted: Floats = self._drawing.block_sums()[0]
        return shifted

    def _candidates(self, params: SamplingParams) -> Ints:
        """Ids that top_k or min_p and top_p leave, most likely first."""
        weights = self._weights
        if params.top_k > 0:
            ids = self._most_likely(params.top_k)
            ids = ids[weights[ids] >= np.float32(params.min_p) * weights[ids[0]]]
        else:
            ids = likeliest_first(weights, np.flatnonzero(weights >= np.float32(params.min_p) * weights.max()))
        if params.top_p >= 1.0:
            return ids
        return nucleus(weights, ids, params.top_p * float(weights[ids].sum(dtype=np.float64)))

    def _normaliser(self) -> float:
        """Log of the sum of the row's exponentials."""
        top = self._row.max()
        if not np.isfinite(top):
            return 0.0
        with np.errstate(over="ignore"):
            weights = np.exp(self._row - top)
        return float(top) + math.log(float(weights.sum(dtype=np.float64)))

    def _most_likely(self, n: int) -> Ints:
        """Ids of the ``n`` largest logits, largest first: they all lie in the ``n`` blocks with the largest maxima."""
        blocks = self._row.reshape(-1, BLOCK)
        maxima = blocks.max(axis=1)
        chosen = np.argpartition(-maxima, n)[:n] if n < len(maxima) else np.arange(len(maxima))
        ids = (chosen[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        values = self._row[ids]
        if n < ids.size:
            best = np.argpartition(-values, n)[:n]
            ids, values = ids[best], values[best]
        order = np.lexsort((ids, -values))
        kept: Ints = ids[order][np.isfinite(values[order])]
        return kept


def _report(token_id: int, visible: Ints, logprobs: npt.NDArray[np.float64], n: int) -> TokenLogprobs:
    """Report a token and ``n`` alternatives; ``visible`` are the most likely ids, ``logprobs`` theirs."""
    ids, values = visible.tolist(), [max(value, UNLIKELY) for value in logprobs.tolist()]
    logprob = values[ids.index(token_id)] if token_id in ids else UNLIKELY
    return TokenLogprobs(logprob=logprob, top_ids=ids[:n], top_logprobs=values[:n])
