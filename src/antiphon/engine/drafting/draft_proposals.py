"""Which draft each running sequence tries in the next step: of its prediction, of the conversation, of a draft model.

Drafts change how fast an answer comes and nothing of what it says: one is accepted only as far as the model's own
sampling gives the same (:meth:`antiphon.engine.worker.core.Core.step`). Each draft remembers where it came from, so
that only tokens drafted from a prediction are charged to it.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Final

from antiphon.engine.drafting.draft_length import NEW_STEP_WEIGHT, AcceptanceRate, StepCosts, worth_drafting
from antiphon.engine.drafting.draft_model import DraftModel
from antiphon.engine.drafting.prediction_drafter import MAX_DRAFT, Drafter, PredictionIndex
from antiphon.engine.drafting.prompt_lookup import TRY_AGAIN, Gram, PromptLookup, index_of
from antiphon.engine.sequence import Sequence

FIRST_GUESS: Final = 0.5
"""Acceptance rate that is assumed of an engine's first drafts."""
MAX_MODEL_DRAFT: Final = 8
"""Tokens of a draft by a draft model: each costs a step of that model."""


class Drafting:
    """Drafts for all sequences of an engine, and how they fared."""

    def __init__(
        self, *, prompt_lookup: bool, clock: Callable[[], float], draft_model: DraftModel | None = None
    ) -> None:
        """``clock`` gives monotonic seconds: a draft model's own time counts as a cost of its drafts."""
        self._clock: Final = clock
        self.costs: Final = StepCosts()
        self._prompt_lookup: Final = prompt_lookup
        self._draft_model: Final = draft_model
        self._predictions: dict[Sequence, Drafter] = {}
        self._lookups: dict[Sequence, PromptLookup] = {}
        self._origins: dict[Sequence, Drafter | AcceptanceRate] = {}
        self._lookup_rate: Final = AcceptanceRate(FIRST_GUESS)
        self._model_rate: Final = AcceptanceRate(FIRST_GUESS)
        self._model_seconds = 0.0
        """Mean seconds of the draft model for a token."""
        self._undrafted_steps = 0

    def add(self, sequences: Iterable[Sequence], prompt: list[int], prediction: list[int]) -> None:
        """Follow the choices of one request."""
        index = PredictionIndex(prediction) if prediction else None
        grams: dict[Gram, int] = index_of(prompt) if self._prompt_lookup else {}
        for sequence in sequences:
            if index is not None:
                self._predictions[sequence] = Drafter(index)
            if self._prompt_lookup:
                self._lookups[sequence] = PromptLookup(grams, self._lookup_rate.value)

    def propose(
        self,
        sequences: list[Sequence],
        room: Callable[[Sequence], int],
        allowed: Callable[[Sequence, list[int]], list[int]],
    ) -> None:
        """Give each sequence its draft.

        ``room`` tells how many tokens an answer may still gain; ``allowed`` cuts a draft where its grammar ends it.
        """
        cost = self.costs.draft_cost(len(sequences)) if sequences else 1.0
        undrafted: dict[Sequence, int] = {}
        for sequence in sequences:
            limit = min(MAX_DRAFT, room(sequence) - 1)
            draft = self._own_draft(sequence, limit, cost) if limit > 0 else []
            sequence.draft = allowed(sequence, draft) if draft else []
            if not draft and limit > 0:
                undrafted[sequence] = limit
        if self._draft_model and undrafted:
            worth = self._model_worth(cost, len(sequences))
            limits = {sequence: min(limit, worth) for sequence, limit in undrafted.items() if worth}
            for sequence, draft in self._ask_model(self._draft_model, limits).items() if limits else ():
                self._origins[sequence] = self._model_rate
                sequence.draft = allowed(sequence, draft) if draft else []

    def observe(self, sequence: Sequence, token_ids: list[int]) -> None:
        """Follow an answer by the tokens that it has gained, the last of ``sequence.tokens``."""
        if sequence in self._predictions:
            self._predictions[sequence].observe(token_ids)
        if sequence in self._lookups:
            self._lookups[sequence].observe(sequence.tokens, len(token_ids))

    def report(self, sequence: Sequence, drafted: int, accepted: int) -> None:
        """Learn how much of a sequence's draft the model has said."""
        origin = self._origins[sequence]
        origin.report(drafted, accepted)
        if sequence in self._lookups and origin is self._lookups[sequence].rate:
            self._lookup_rate.report(drafted, accepted)

    def finish(self, sequence: Sequence) -> tuple[int, int]:
        """Forget a sequence; return how many tokens of its prediction were accepted and rejected."""
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

    def _model_worth(self, cost: float, sequences: int) -> int:
        """How many tokens to ask of the draft model; one after a while in which it was not worth its time."""
        share = self.costs.share(sequences)
        extra = self._model_seconds / share if share else 0.0
        worth = min(MAX_MODEL_DRAFT, worth_drafting(self._model_rate.value, cost + extra))
        self._undrafted_steps = 0 if worth else self._undrafted_steps + 1
        return worth or int(self._undrafted_steps % TRY_AGAIN == 0)

    def _ask_model(self, model: DraftModel, limits: dict[Sequence, int]) -> dict[Sequence, list[int]]:
        wanted: dict[Hashable, tuple[list[int], int]] = {s: (s.tokens, limit) for s, limit in limits.items()}
        start = self._clock()
        drafts = model.draft(wanted)
        if tokens := sum(map(len, drafts.values())):
            seconds = (self._clock() - start) / tokens
            self._model_seconds += NEW_STEP_WEIGHT * (seconds - self._model_seconds)
        return {sequence: drafts.get(sequence, []) for sequence in limits}

    def _own_draft(self, sequence: Sequence, limit: int, cost: float) -> list[int]:
        """Draft from the prediction, and where that gives nothing from the conversation."""
        drafter = self._predictions.get(sequence)
        draft = drafter.draft(limit) if drafter else []
        if drafter and draft:
            self._origins[sequence] = drafter
            return draft
        lookup = self._lookups.get(sequence)
        if lookup is None:
            return []
        self._origins[sequence] = lookup.rate
        return lookup.draft(sequence.tokens, min(limit, worth_drafting(lookup.rate.value, cost)))
