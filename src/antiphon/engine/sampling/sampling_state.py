"""What sampling one choice remembers, and how penalties and bias change its logits."""

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from antiphon.engine.interface import SamplingParams

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

GREEDY_BELOW: Final = 1e-5
"""Temperatures below it are 0: the quotient logit / temperature would leave float32."""
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
        "greedy",
        "moved_ids",
        "moved_values",
        "only_lowered",
        "params",
        "plain",
        "rng",
        "scale",
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
        moved = self.bias_values > -BIAS_LIMIT
        self.moved_ids: Final = self.bias_ids[moved]
        self.moved_values: Final = self.bias_values[moved]
        self._penalised: Final = bool(penalised)
        self.greedy: Final = params.temperature < GREEDY_BELOW
        self.scale: Final = np.float32(1.0 if self.greedy else 1.0 / params.temperature)
        """What logits are multiplied with."""
        self.plain: Final = not bias and not penalised and token_filter is None
        """Whether the model's logits are sampled from as they are."""
        as_it_is = not (penalised or token_filter is not None or params.logprobs is not None)
        self.only_lowered: Final = frozenset(bias) if as_it_is and not (self.bias_values > 0).any() else None
        """The tokens with a bias, where the most likely of all others stays that: none is raised."""
        self.direct: Final = (
            as_it_is and not self.greedy and not self.forced.size and params.top_k <= 0 and params.min_p <= 0.0
        )
        """Whether a token is drawn, and all but a few of the vocabulary weigh what the model says."""

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
