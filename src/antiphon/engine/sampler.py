"""From a row of logits to the next token: bias, penalties, temperature, truncation, a draw, log probabilities.

Order, as in vLLM: repetition, frequency and presence penalty, logit bias | temperature | min_p | top_k | top_p | draw.
A grammar then bans tokens. Log probabilities are of the logits before that and before the first bar: what was asked for
by bias and penalties counts, the draw's shape does not.
"""

import math
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from antiphon.engine.interface import SamplingParams, TokenLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

BLOCK: Final = 256
"""Width of the blocks that a row is cut into: a search over blocks first reads a row once instead of sorting it."""
VISIBLE_LOGPROBS: Final = 20
"""Ranks within which the reference reports the chosen token's log probability."""
UNLIKELY: Final = -9999.0
GREEDY_BELOW: Final = 1e-5
"""Temperatures below it are 0: the quotient logit / temperature would leave float32."""
LEAST_MASS: Final = 1e-10
MOST_MASS: Final = 1e30
"""Sums of exp(logit / temperature) within which float32 holds every token's part that counts."""
ROUNDED: Final = np.float32(1 - 1e-4)
"""What rounding may take off a block's sum, and more."""
BIAS_LIMIT: Final = 100.0
"""Reference, logit_bias: -100 bans a token, 100 selects it exclusively."""


class TokenFilter(Protocol):
    """What restricts the next token: a grammar."""

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        """Tokens that may come next, shape (n_vocab,); at least one."""


class SamplingState:
    """What sampling one choice remembers: its random stream and how often each token occurred."""

    __slots__ = (
        "_counts",
        "_ids",
        "_n",
        "_penalised",
        "_prompt_ids",
        "_slots",
        "banned",
        "bias_ids",
        "bias_values",
        "direct",
        "filter",
        "forced",
        "params",
        "plain",
        "rng",
    )

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: list[int],
        stream: tuple[int, int],
        token_filter: TokenFilter | None = None,
    ) -> None:
        """``stream`` is (seed, choice index): what names the random stream."""
        self.params: Final = params
        self.filter: Final = token_filter
        seed, index = stream
        self.rng: Final = np.random.Generator(
            np.random.Philox(key=np.array([seed & (2**64 - 1), index], dtype=np.uint64))
        )
        self._slots: dict[int, int] = {}
        self._n = 0
        self._ids = np.zeros(64, dtype=np.intp)
        self._counts = np.zeros(64, dtype=np.float32)
        bias = params.logit_bias
        self.bias_ids: Final = np.fromiter(bias.keys(), dtype=np.intp, count=len(bias))
        self.bias_values: Final = np.fromiter(bias.values(), dtype=np.float32, count=len(bias))
        self.forced: Final = self.bias_ids[self.bias_values >= BIAS_LIMIT]
        self.banned: Final = self.bias_ids[self.bias_values <= -BIAS_LIMIT]
        penalised = params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0
        repeats = params.repetition_penalty != 1.0
        self._prompt_ids: Final = np.unique(np.asarray(prompt_ids if repeats else [], dtype=np.intp))
        self._penalised: Final = bool(penalised)
        self.plain: Final = not bias and not penalised and token_filter is None
        """Whether the model's logits are sampled from as they are."""
        self.direct: Final = (
            not (penalised or self.forced.size or token_filter is not None or params.logprobs is not None)
            and params.top_k <= 0
            and params.min_p <= 0.0
        )
        """Whether all but a few tokens of the vocabulary weigh what the model says."""

    def observe(self, token_id: int) -> None:
        """Count a generated token. The cost does not depend on how many there are."""
        if not self._penalised:
            return
        slot = self._slots.get(token_id)
        if slot is None:
            slot = self._slots[token_id] = self._n
            self._n += 1
            if slot == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._ids[slot] = token_id
        self._counts[slot] += 1

    def adjust(self, row: Floats) -> None:
        """Apply penalties and bias to a row of logits, in place."""
        params = self.params
        ids, counts = self._ids[: self._n], self._counts[: self._n]
        if params.repetition_penalty != 1.0:
            _divide(row, np.union1d(self._prompt_ids, ids), params.repetition_penalty)
        if self._n and (params.frequency_penalty or params.presence_penalty):
            row[ids] -= params.frequency_penalty * counts + np.float32(params.presence_penalty)
        if self.bias_ids.size:
            row[self.bias_ids] += self.bias_values
            row[self.banned] = -np.inf
        if self.forced.size:
            chosen = row[self.forced]
            row[:] = -np.inf
            row[self.forced] = chosen


def _divide(row: Floats, ids: Ints, penalty: float) -> None:
    """Penalise tokens that occurred, prompt included (Keskar et al. 2019, CTRL, section 4.1)."""
    values = row[ids]
    row[ids] = np.where(values > 0, values / penalty, values * penalty)


class Sampler:
    """Draws tokens from rows of logits of width ``n_vocab``. Owns the scratch rows, so that a step allocates little."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab: Final = n_vocab
        width = -(-n_vocab // BLOCK) * BLOCK
        self._row = np.full(width, -np.inf, dtype=np.float32)
        self._weights = np.zeros(width, dtype=np.float32)

    def sample(self, logits: Floats, state: SamplingState) -> tuple[int, TokenLogprobs | None]:
        """Choose the next token of one choice from its row, shape (n_vocab,). Does not change ``logits``."""
        params = state.params
        greedy = params.temperature < GREEDY_BELOW
        if greedy and state.plain and params.logprobs is None:
            return int(logits.argmax()), None
        if state.direct and not greedy and (token := self._draw_directly(logits, state)) is not None:
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
        token_id = int(row.argmax()) if greedy else self._draw(state)
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

    def _draw_directly(self, logits: Floats, state: SamplingState) -> int | None:
        """Draw without a copy of the row: the few tokens with a bias are put right among the weights.

        None where the exponentials leave float32's range.
        """
        weights, scale = self._weights[: self._n_vocab], np.float32(1.0 / state.params.temperature)
        with np.errstate(over="ignore"):
            np.exp(logits if scale == 1.0 else np.multiply(logits, scale, out=weights), out=weights)
            if state.bias_ids.size:
                weights[state.bias_ids] = np.exp((logits[state.bias_ids] + state.bias_values) * scale)
                weights[state.banned] = 0.0
        sums = self._block_sums()
        return self._pick_token(sums, state) if LEAST_MASS < float(sums.sum()) < MOST_MASS else None

    def _draw(self, state: SamplingState) -> int:
        params = state.params
        sums = self._weigh(params.temperature)
        if sums is None:
            return int(self._row.argmax())
        if params.top_k > 0 or params.min_p > 0.0:
            return self._among(self._candidates(params), state)
        return self._pick_token(sums, state)

    def _pick_token(self, sums: Floats, state: SamplingState) -> int:
        block, rest = _pick(sums, state.rng.random())
        token_id = block * BLOCK + _pick(self._weights[block * BLOCK : (block + 1) * BLOCK], rest)[0]
        return token_id if state.params.top_p >= 1.0 else self._within_nucleus(token_id, sums, state)

    def _block_sums(self) -> Floats:
        sums: Floats = np.einsum("ij->i", self._weights.reshape(-1, BLOCK))
        return sums

    def _weigh(self, temperature: float) -> Floats | None:
        """Fill ``_weights`` in proportion to the probabilities; give its blocks' sums, None without finite logits.

        exp(logit / temperature) is taken as it is where it neither overflows nor loses the tail, as nearly always:
        that saves two passes over the row.
        """
        weights = self._weights
        scale = np.float32(1.0 / temperature)
        with np.errstate(over="ignore"):
            np.exp(self._row if temperature == 1.0 else np.multiply(self._row, scale, out=weights), out=weights)
            sums = self._block_sums()
            if LEAST_MASS < float(sums.sum()) < MOST_MASS:
                return sums
            top = self._row.max()
            if not np.isfinite(top):
                return None
            np.subtract(self._row, top, out=weights)
            weights *= scale
        np.exp(weights, out=weights)
        return self._block_sums()

    def _candidates(self, params: SamplingParams) -> Ints:
        """Ids that top_k or min_p and top_p leave, most likely first."""
        weights = self._weights
        if params.top_k > 0:
            ids = self._most_likely(params.top_k)
            ids = ids[weights[ids] >= np.float32(params.min_p) * weights[ids[0]]]
        else:
            ids = self._sorted(np.flatnonzero(weights >= np.float32(params.min_p) * weights.max()))
        if params.top_p >= 1.0:
            return ids
        return self._nucleus(ids, params.top_p * float(self._weights[ids].sum(dtype=np.float64)))

    def _within_nucleus(self, token_id: int, sums: Floats, state: SamplingState) -> int:
        """Keep a token drawn from the whole vocabulary when it is in the nucleus, or else draw one from that.

        So every token t of a nucleus N gets w(t) / W + (1 - w(N) / W) w(t) / w(N) = w(t) / w(N), its due, and what has
        to be sorted, in few draws, is no more than what is likelier than a token outside.
        """
        weights = self._weights
        weight = weights[token_id]
        total = float(sums.sum(dtype=np.float64))
        mass = state.params.top_p * total
        if total - float(weight) < mass:
            return token_id
        ids = self._at_least(weight, sums)
        before = ids[(weights[ids] > weight) | (ids < token_id)]
        if not before.size or float(weights[before].sum(dtype=np.float64)) < mass:
            return token_id
        return self._among(self._nucleus(self._sorted(before), mass), state)

    def _at_least(self, weight: np.float32, sums: Floats) -> Ints:
        """Ids that weigh so much, ascending: they lie in the blocks that do, mostly few."""
        blocks = np.flatnonzero(sums >= weight * ROUNDED)
        if 2 * blocks.size > sums.size:
            return np.flatnonzero(self._weights >= weight)
        chosen = np.flatnonzero(self._weights.reshape(-1, BLOCK)[blocks] >= weight)
        ids: Ints = blocks[chosen // BLOCK] * BLOCK + chosen % BLOCK
        return ids

    def _nucleus(self, ids: Ints, mass: float) -> Ints:
        """Cut ``ids``, most likely first, behind the first with which they weigh ``mass``."""
        ends = self._weights[ids].cumsum(dtype=np.float64)
        return ids[: int(ends.searchsorted(mass)) + 1]

    def _among(self, ids: Ints, state: SamplingState) -> int:
        return int(ids[_pick(self._weights[ids], state.rng.random())[0]])

    def _sorted(self, ids: Ints) -> Ints:
        order: Ints = np.argsort(-self._weights[ids], kind="stable")
        return ids[order]

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
        chosen = np.argpartition(-maxima, n - 1)[:n] if n < len(maxima) else np.arange(len(maxima))
        ids = (chosen[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        ids = ids[ids < self._n_vocab]
        values = self._row[ids]
        if n < ids.size:
            best = np.argpartition(-values, n - 1)[:n]
            ids, values = ids[best], values[best]
        order = np.lexsort((ids, -values))
        kept: Ints = ids[order][np.isfinite(values[order])]
        return kept


def _report(token_id: int, visible: Ints, logprobs: npt.NDArray[np.float64], n: int) -> TokenLogprobs:
    """Report a token and ``n`` alternatives; ``visible`` are the most likely ids, ``logprobs`` theirs."""
    ids, values = visible.tolist(), [max(value, UNLIKELY) for value in logprobs.tolist()]
    logprob = values[ids.index(token_id)] if token_id in ids else UNLIKELY
    return TokenLogprobs(logprob=logprob, top_ids=ids[:n], top_logprobs=values[:n])


def _pick(weights: Floats, uniform: float) -> tuple[int, float]:
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
