"""What the steps of a core carried, and what of their drafts was accepted."""

from msgspec.structs import replace

from antiphon.engine.interface import STEP_BOUNDS, EngineStats
from antiphon.telemetry.distribution import Distribution


class StepCounts:
    """Counts since the core's start."""

    def __init__(self) -> None:
        self._tokens = Distribution.over(STEP_BOUNDS)
        self._sequences = Distribution.over(STEP_BOUNDS)
        self._drafts = self._draft_tokens = self._accepted_tokens = 0

    def step(self, n_tokens: int, n_sequences: int) -> None:
        """Count a step."""
        self._tokens.observe(n_tokens)
        self._sequences.observe(n_sequences)

    def draft(self, n_tokens: int, accepted: int) -> None:
        """Count a draft that a step has verified."""
        self._drafts += 1
        self._draft_tokens += n_tokens
        self._accepted_tokens += accepted

    def added_to(self, stats: EngineStats) -> EngineStats:
        """Return ``stats`` with what was counted up to now."""
        return replace(
            stats,
            drafts=self._drafts,
            draft_tokens=self._draft_tokens,
            accepted_tokens=self._accepted_tokens,
            tokens_per_step=self._tokens.copy(),
            sequences_per_step=self._sequences.copy(),
        )
