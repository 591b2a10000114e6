"""The length up to which a draft saves time, from the measured costs of steps and the acceptance rate of drafts.

A draft token costs the time that one more token adds to a step, and saves its sequence's share of a step if it is
accepted. With acceptance rate ``p`` the ``j``-th token of a draft is accepted with probability p**j (Leviathan et al.
2023, section 3), so a draft ends where p**j times that share no longer exceeds the cost. Drafts do not pay on a
processor that computes every further token as slowly as the first; they pay where reading the weights takes most time.
"""

import math
from typing import Final

NEW_STEP_WEIGHT: Final = 0.1
"""Weight of the newest step in a mean, which lets the mean follow changes of the machine's speed."""
ASSUMED_COST: Final = 0.25
"""Cost of a draft token, as a share of a step, before steps of different sizes have been measured."""
MIN_COST: Final = 0.02
MAX_RATE: Final = 0.98
RATE_DECAY: Final = 0.8
"""Factor by which each report lowers the weight of the earlier reports."""
PRIOR_WEIGHT: Final = 2.0
"""Tokens of a report that would weigh as much as the initial rate."""


class StepCosts:
    """The mean seconds of a step, by its number of tokens in powers of two."""

    def __init__(self) -> None:
        self._means: dict[int, tuple[float, float]] = {}
        """Mean tokens and mean seconds by power of two."""

    def observe(self, tokens: int, seconds: float) -> None:
        """Update the means with a step."""
        key = tokens.bit_length()
        mean_tokens, mean_seconds = self._means.get(key, (float(tokens), seconds))
        self._means[key] = (
            mean_tokens + NEW_STEP_WEIGHT * (tokens - mean_tokens),
            mean_seconds + NEW_STEP_WEIGHT * (seconds - mean_seconds),
        )

    def draft_cost(self, sequences: int) -> float:
        """Return the seconds of a draft token over those of a sequence, in a step of ``sequences`` tokens."""
        here = self._means.get(sequences.bit_length())
        larger = [mean for key, mean in sorted(self._means.items()) if key > sequences.bit_length()]
        if here is None or not larger or here[1] <= 0:
            return ASSUMED_COST
        slope = max(0.0, larger[0][1] - here[1]) / (larger[0][0] - here[0])
        return max(MIN_COST, slope * here[0] / here[1])

    def seconds_per_sequence(self, sequences: int) -> float:
        """Return the seconds of a step of ``sequences`` tokens for each of them; 0 before one was measured."""
        tokens, seconds = self._means.get(sequences.bit_length(), (1.0, 0.0))
        return seconds / tokens


class AcceptanceRate:
    """The estimated probability that the model accepts the next token of a draft."""

    def __init__(self, initial_rate: float) -> None:
        self._accepted = PRIOR_WEIGHT * initial_rate
        self._tried = PRIOR_WEIGHT

    @property
    def value(self) -> float:
        """The rate, 0 to 1."""
        return self._accepted / self._tried

    def report(self, drafted: int, accepted: int) -> None:
        """Update the rate with a draft. The tokens after the first refused one do not count: they were not tried."""
        self._accepted = RATE_DECAY * self._accepted + accepted
        self._tried = RATE_DECAY * self._tried + accepted + (accepted < drafted)


def optimal_draft_length(rate: float, cost: float) -> int:
    """Return the number of draft tokens that save time: the largest j with rate**j > cost, or 0."""
    rate = min(rate, MAX_RATE)
    if rate <= cost or rate <= 0:
        return 0
    return max(1, math.ceil(math.log(cost) / math.log(rate)) - 1)
