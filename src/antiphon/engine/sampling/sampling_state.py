"""The state of sampling one choice: its parameters, its random stream and the counts of its tokens."""

from collections import deque
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from antiphon.engine.interface import SamplingParams
from antiphon.engine.sampling.repeated_suffixes import RepeatedSuffixes

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

GREEDY_BELOW: Final = 1e-5
"""Temperatures below it count as 0: the quotient logit / temperature would leave the range of float32."""
MAX_XTC_THRESHOLD: Final = 0.5
"""Thresholds above it turn xtc off: at most one token is likelier, and xtc drops none of one."""
BIAS_LIMIT: Final = 100.0
"""Reference, logit_bias: -100 bans a token, 100 selects it exclusively."""


class TokenFilter(Protocol):
    """A restriction of the next token, such as a grammar."""

    def allowed(self, n_vocab: int) -> npt.NDArray[np.bool_]:
        """Return the mask of the tokens that may come next, shape (n_vocab,); at least one is allowed."""


class SamplingState:
    """The state of sampling one choice."""

    __slots__ = (
        "_newest",
        "banned_ids",
        "bias_ids",
        "bias_values",
        "eog_ids",
        "filter",
        "forced_ids",
        "is_greedy",
        "num_tokens",
        "params",
        "repeats",
        "rng",
        "scale",
        "seen_ids",
        "stop_ids",
        "surprise_limit",
        "token_counts",
    )

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Sequence[int],
        stream: tuple[int, int],
        token_filter: TokenFilter | None = None,
        eog_ids: Collection[int] = (),
    ) -> None:
        """Make the state of a choice.

        ``prompt_ids`` has negative numbers for rows of media. ``stream`` is (seed, choice index), which determines the
        random numbers. ``eog_ids`` are the model's end-of-generation tokens.
        """
        self.params: Final = params
        self.filter: Final = token_filter
        seed, index = stream
        self.rng: Final = np.random.Generator(
            np.random.Philox(key=np.array([seed & (2**64 - 1), index], dtype=np.uint64))
        )
        self.num_tokens = 0
        """Generated tokens."""
        self.eog_ids: Final = np.fromiter(eog_ids, dtype=np.intp, count=len(eog_ids))
        self.stop_ids: Final = frozenset(params.stop_token_ids)
        self.token_counts: Final[dict[int, int]] = {}
        """Occurrences of each generated token."""
        tokens = [key for key in prompt_ids if key >= 0] if params.repetition_penalty != 1.0 else []
        self.seen_ids: Final = set(tokens)
        """The tokens of prompt and answer, for a repetition penalty that counts all."""
        self._newest: Final = deque(tokens, params.repetition_last_n) if params.repetition_last_n >= 0 else None
        self.repeats: Final = _repeats(params, prompt_ids)
        """The repeats in prompt and answer, for DRY; None without it."""
        self.surprise_limit = 2.0 * params.mirostat_tau
        """Bits of surprise that mirostat allows for the next token."""
        bias = params.logit_bias
        self.bias_ids: Final = np.fromiter(bias.keys(), dtype=np.intp, count=len(bias))
        self.bias_values: Final = np.fromiter(bias.values(), dtype=np.float32, count=len(bias))
        self.forced_ids: Final = self.bias_ids[self.bias_values >= BIAS_LIMIT]
        self.banned_ids: Final = self.bias_ids[self.bias_values <= -BIAS_LIMIT]
        self.is_greedy: Final = params.temperature < GREEDY_BELOW
        self.scale: Final = np.float32(1.0 if self.is_greedy else 1.0 / params.temperature)
        """The inverse of the temperature."""

    @property
    def repeated_ids(self) -> AbstractSet[int]:
        """The tokens that the repetition penalty counts."""
        return self.seen_ids if self._newest is None else set(self._newest)

    @property
    def uses_xtc(self) -> bool:
        """Whether xtc can change the draw."""
        return self.params.xtc_probability > 0.0 and self.params.xtc_threshold <= MAX_XTC_THRESHOLD

    @property
    def banned_ends(self) -> Ints | None:
        """The tokens that end the choice and may not come next; None if the choice may end."""
        if self.num_tokens < self.params.min_tokens:
            return np.append(self.eog_ids, self.params.stop_token_ids).astype(np.intp)
        return self.eog_ids if self.params.ignore_eos else None

    def observe(self, token_id: int) -> None:
        """Count a generated token."""
        self.num_tokens += 1
        self.token_counts[token_id] = self.token_counts.get(token_id, 0) + 1
        if self._newest is None:
            self.seen_ids.add(token_id)
        else:
            self._newest.append(token_id)
        if self.repeats is not None:
            self.repeats.append(token_id)


def _repeats(params: SamplingParams, prompt_ids: Sequence[int]) -> RepeatedSuffixes | None:
    if not params.dry_multiplier or not params.dry_penalty_last_n:
        return None
    return RepeatedSuffixes(prompt_ids, params.dry_breaker_ids, params.dry_breaker_sequences, params.dry_penalty_last_n)
