"""Computes the logprobs of a prompt's tokens from the rows of logits of its chunks, as in vLLM."""

from itertools import count
from typing import Final

from msgspec.structs import replace

from antiphon.engine.interface import GenerateRequest, PromptLogprobs
from antiphon.engine.sampling.sampler import Sampler
from antiphon.engine.sampling.sampling_state import Floats
from antiphon.engine.worker.scheduler import ScheduledSequence


class PromptScores:
    """Scores the prompts of an engine."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler: Final = sampler
        self._numbers: Final = count()

    def without_cached_prefix(self, request: GenerateRequest) -> GenerateRequest:
        """Return the request; with a salt of its own if it asks for logprobs of its prompt.

        A cached prefix has no logits. The salt's prefix stays cached for the request itself: after a preemption, and
        for its other choices.
        """
        if request.prompt_logprobs is None:
            return request
        return replace(request, cache_salt=f"{request.cache_salt}\0prompt_logprobs {next(self._numbers)}")

    def score(self, scheduled: ScheduledSequence, logits: Floats) -> PromptLogprobs:
        """Return the logprobs of the tokens after the scheduled ``scored_rows``, and note that they are reported.

        ``logits`` has the shape (scored rows, n_vocab).
        """
        sequence, rows = scheduled.sequence, scheduled.scored_rows
        request = sequence.request
        assert request.prompt_logprobs is not None
        n, score = request.prompt_logprobs, self._sampler.score
        following = sequence.tokens[rows.start + 1 : rows.stop + 1]
        tokens = [score(row, key, n) if key >= 0 else None for row, key in zip(logits, following, strict=True)]
        sequence.num_scored_rows = rows.stop
        return PromptLogprobs(request_id=request.request_id, start=rows.start + 1, tokens=tokens)
