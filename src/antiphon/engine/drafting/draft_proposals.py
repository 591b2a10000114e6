"""Proposes a draft for each running sequence: from its prediction, from the conversation, or by a draft model.

Drafts change the speed of an answer and never its text: the model accepts a draft only as far as its own sampling gives
the same tokens (:meth:`antiphon.engine.worker.core.Core.step`). The origin of each draft is recorded, because a request
pays for the tokens of its prediction only.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Final

from antiphon.engine.drafting.draft_length import NEW_STEP_WEIGHT, AcceptanceRate, StepCosts, optimal_draft_length
from antiphon.engine.drafting.draft_model import DraftModel
from antiphon.engine.drafting.prediction_drafter import MAX_DRAFT, PredictionDrafter, PredictionIndex
from antiphon.engine.drafting.prompt_lookup import RETRY_TOKENS, Gram, PromptLookup, index_prompt
from antiphon.engine.sequence import Sequence

INITIAL_RATE: Final = 0.5
"""Acceptance rate that is assumed before the first drafts."""
MAX_MODEL_DRAFT: Final = 8
"""Tokens of a draft by a draft model; each token costs a step of that model."""


class Drafting:
    """Proposes the drafts of all sequences of an engine, and measures their acceptance."""

    def __init__(
        self, *, prompt_lookup: bool, clock: Callable[[], float], draft_model: DraftModel | None = None
    ) -> None:
        """Make the proposals. ``clock`` gives monotonic seconds and measures the time that the draft model takes."""
        self._clock: Final = clock
        self.costs: Final = StepCosts()
        self._prompt_lookup: Final = prompt_lookup
        self._draft_model: Final = draft_model
        self._predictions: dict[Sequence, PredictionDrafter] = {}
        self._lookups: dict[Sequence, PromptLookup] = {}
        self._origins: dict[Sequence, PredictionDrafter | AcceptanceRate] = {}
        self._lookup_rate: Final = AcceptanceRate(INITIAL_RATE)
        self._model_rate: Final = AcceptanceRate(INITIAL_RATE)
        self._model_seconds = 0.0
        """Mean seconds that the draft model takes for a token."""
        self._undrafted_steps = 0

    def add(self, sequences: Iterable[Sequence], prompt: list[int], prediction: list[int]) -> None:
        """Start proposals for the choices of one request."""
        index = PredictionIndex(prediction) if prediction else None
        grams: dict[Gram, int] = index_prompt(prompt) if self._prompt_lookup else {}
        for sequence in sequences:
            if index is not None:
                self._predictions[sequence] = PredictionDrafter(index)
            if self._prompt_lookup:
                self._lookups[sequence] = PromptLookup(grams, self._lookup_rate.value)

    def propose(
        self,
        sequences: list[Sequence],
        room: Callable[[Sequence], int],
        allowed: Callable[[Sequence, list[int]], list[int]],
    ) -> None:
        """Set the draft of each sequence.

        ``room`` returns the number of tokens that an answer may still gain. ``allowed`` cuts a draft before the first
        token that its grammar forbids.
        """
        cost = self.costs.draft_cost(len(sequences)) if sequences else 1.0
        undrafted: dict[Sequence, int] = {}
        for sequence in sequences:
            limit = min(MAX_DRAFT, room(sequence) - 1)
            draft = self._look_up_draft(sequence, limit, cost) if limit > 0 else []
            sequence.draft = allowed(sequence, draft) if draft else []
            if not draft and limit > 0 and not sequence.media:  # the draft model reads tokens only
                undrafted[sequence] = limit
        if self._draft_model and undrafted:
            worth = self._model_draft_length(cost, len(sequences))
            limits = {sequence: min(limit, worth) for sequence, limit in undrafted.items() if worth}
            for sequence, draft in self._draft_with_model(self._draft_model, limits).items() if limits else ():
                self._origins[sequence] = self._model_rate
                sequence.draft = allowed(sequence, draft) if draft else []

    def observe(self, sequence: Sequence, token_ids: list[int]) -> None:
        """Record the tokens that an answer has gained: the last ones of ``sequence.tokens``."""
        if sequence in self._predictions:
            self._predictions[sequence].observe(token_ids)
        if sequence in self._lookups:
            self._lookups[sequence].observe(sequence.tokens, len(token_ids))

    def report(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        """Record how many tokens of a sequence's draft the model has accepted."""
        origin = self._origins[sequence]
        origin.report(drafted, accepted)
        if sequence in self._lookups and origin is self._lookups[sequence].rate:
            self._lookup_rate.report(drafted, accepted)

    def finish(self, sequence: Sequence) -> tuple[int, int]:
        """Drop a sequence; return how many tokens of its prediction were accepted and rejected."""
        self._lookups.pop(sequence, None)
        self._origins.pop(sequence, None)
        if self._draft_model:
            self._draft_model.forget(sequence)
        drafter = self._predictions.pop(sequence, None)
        return (drafter.accepted, drafter.rejected) if drafter else (0, 0)

    def close(self) -> None:
        """Release the draft model."""
        if self._draft_model:
            self._draft_model.close()

    def _model_draft_length(self, cost: float, sequences: int) -> int:
        """Return the length of a draft by the draft model.

        It is 0 where no length pays, but 1 every :data:`RETRY_TOKENS` steps, to measure again.
        """
        seconds = self.costs.seconds_per_sequence(sequences)
        extra = self._model_seconds / seconds if seconds else 0.0
        worth = min(MAX_MODEL_DRAFT, optimal_draft_length(self._model_rate.value, cost + extra))
        self._undrafted_steps = 0 if worth else self._undrafted_steps + 1
        return worth or int(self._undrafted_steps % RETRY_TOKENS == 0)

    def _draft_with_model(self, model: DraftModel, limits: dict[Sequence, int]) -> dict[Sequence, list[int]]:
        wanted: dict[Hashable, tuple[list[int], int]] = {s: (s.tokens, limit) for s, limit in limits.items()}
        start = self._clock()
        drafts = model.draft(wanted)
        if tokens := sum(map(len, drafts.values())):
            seconds = (self._clock() - start) / tokens
            self._model_seconds += NEW_STEP_WEIGHT * (seconds - self._model_seconds)
        return {sequence: drafts.get(sequence, []) for sequence in limits}

    def _look_up_draft(self, sequence: Sequence, limit: int, cost: float) -> list[int]:
        """Return a draft from the prediction or, if that gives none, from the conversation."""
        drafter = self._predictions.get(sequence)
        draft = drafter.draft(limit) if drafter else []
        if drafter and draft:
            self._origins[sequence] = drafter
            return draft
        lookup = self._lookups.get(sequence)
        if lookup is None:
            return []
        self._origins[sequence] = lookup.rate
        return lookup.draft(sequence.tokens, min(limit, optimal_draft_length(lookup.rate.value, cost)))
