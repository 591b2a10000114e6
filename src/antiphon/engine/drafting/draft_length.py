"""How long a draft is worth its cost: what steps of different sizes take, and how often drafts are right.

A draft token costs the time that one more token adds to a step, and saves, when it is accepted, its sequence's share
of a step. With acceptance rate ``p`` the ``j``-th token of a draft is accepted with probability p**j (Leviathan et al.
2023, section 3), so drafting goes on while p**j times the share exceeds the cost. On a processor that computes one
token as slowly as each further one, nothing is worth drafting; where weights are read from slow memory, much is.
"""

import math
from typing import Final

NEW_STEP_WEIGHT: Final = 0.1
"""Weight of the newest step in a mean, so that the machine's changes are followed."""
ASSUMED_COST: Final = 0.25
"""Cost of a draft token as a share of a step, until steps of different sizes have been seen."""
LEAST_COST: Final = 0.02
MOST_CERTAIN: Final = 0.98
RATE_DECAY: Final = 0.8
"""What a report's weight becomes with the next one."""
PRIOR_WEIGHT: Final = 2.0
"""Tokens that the first guess of a rate counts for."""


class StepCosts:
    """Mean seconds of a step, by its number of tokens in powers of two."""

    def __init__(self) -> None:
        self._means: dict[int, tuple[float, float]] = {}
        """By the power of two, mean tokens and mean seconds."""

    def observe(self, tokens: int, seconds: float) -> None:
        """Learn from a step."""
        key = tokens.bit_length()
        mean_tokens, mean_seconds = self._means.get(key, (float(tokens), seconds))
        self._means[key] = (
            mean_tokens + NEW_STEP_WEIGHT * (tokens - mean_tokens),
            mean_seconds + NEW_STEP_WEIGHT * (seconds - mean_seconds),
        )

    def draft_cost(self, sequences: int) -> float:
        """Seconds that a draft token adds to a step of ``sequences`` tokens, over the step's seconds a sequence."""
        here = self._means.get(sequences.bit_length())
        larger = [mean for key, mean in sorted(self._means.items()) if key > sequences.bit_length()]
        if here is None or not larger or here[1] <= 0:
            return ASSUMED_COST
        slope = max(0.0, larger[0][1] - here[1]) / (larger[0][0] - here[0])
        return max(LEAST_COST, slope * here[0] / here[1])

    def share(self, sequences: int) -> float:
        """Seconds of a step of ``sequences`` tokens for each of them; 0 while that is not known."""
        tokens, seconds = self._means.get(sequences.bit_length(), (1.0, 0.0))
        return seconds / tokens


class AcceptanceRate:
    """The probability that the next token of a draft is what the model says, from the reports so far."""

    def __init__(self, first_guess: float) -> None:
        self._accepted = PRIOR_WEIGHT * first_guess
        self._tried = PRIOR_WEIGHT

    @property
    def value(self) -> float:
        """The rate, 0 to 1."""
        return self._accepted / self._tried

    def report(self, drafted: int, accepted: int) -> None:
        """Learn how much of a draft was accepted: what comes after the first refused token was not tried."""
        self._accepted = RATE_DECAY * self._accepted + accepted
        self._tried = RATE_DECAY * self._tried + accepted + (accepted < drafted)


def worth_drafting(rate: float, cost: float) -> int:
    """Tokens of a draft that are worth their cost: the largest j with rate**j > cost; 0 when not even one is."""
    rate = min(rate, MOST_CERTAIN)
    if rate <= cost or rate <= 0:
        return 0
    return max(1, math.ceil(math.log(cost) / math.log(rate)) - 1)
