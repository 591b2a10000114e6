"""Counts of the tokens and sequences of a core's steps, and of its drafts."""

from msgspec.structs import replace

from antiphon.engine.interface import STEP_BOUNDS, EngineStats
from antiphon.telemetry.distribution import Distribution


class StepCounts:
    """The counts since the start of the core."""

    def __init__(self) -> None:
        self._tokens = Distribution.over(STEP_BOUNDS)
        self._sequences = Distribution.over(STEP_BOUNDS)
        self._drafts = self._draft_tokens = self._accepted_tokens = 0

    def step(self, n_tokens: int, n_sequences: int) -> None:
        """Count a step with its tokens and sequences."""
        self._tokens.observe(n_tokens)
        self._sequences.observe(n_sequences)

    def draft(self, n_tokens: int, accepted: int) -> None:
        """Count a verified draft."""
        self._drafts += 1
        self._draft_tokens += n_tokens
        self._accepted_tokens += accepted

    def added_to(self, stats: EngineStats) -> EngineStats:
        """Return ``stats`` with copies of the counts."""
        return replace(
            stats,
            drafts=self._drafts,
            draft_tokens=self._draft_tokens,
            accepted_tokens=self._accepted_tokens,
            tokens_per_step=self._tokens.copy(),
            sequences_per_step=self._sequences.copy(),
        )
