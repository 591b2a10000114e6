"""One step of the engine: schedule, decode, sample, report. It knows no processes, sockets or text.

Invariant: every choice of every request that :meth:`Core.add` accepts ends in exactly one ``Finished`` event.
"""

from collections.abc import Callable, Iterable
from typing import Final

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.radix_tree import common_length
from antiphon.engine.drafting.draft_model import DraftModel, open_draft_model
from antiphon.engine.drafting.draft_proposals import Drafting
from antiphon.engine.grammars.grammar import GrammarCompiler, GrammarError, Matcher
from antiphon.engine.interface import (
    EngineOptions,
    EngineStats,
    Finished,
    FinishReason,
    GenerateRequest,
    Started,
    StreamEvent,
    TokenEvent,
    TokenLogprobs,
)
from antiphon.engine.models.llama import SEQ_IDS, LlamaModel
from antiphon.engine.sampling.sampler import Sampler
from antiphon.engine.sampling.sampling_state import Floats, SamplingState
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.batches import Model, divide_step
from antiphon.engine.worker.compiling import Compilations, Compiler, end_choices
from antiphon.engine.worker.constraint import Constraints
from antiphon.engine.worker.prompt_scores import PromptScores
from antiphon.engine.worker.request_check import assert_possible
from antiphon.engine.worker.scheduler import ScheduledSequence, Scheduler
from antiphon.engine.worker.step_counts import StepCounts

POLL: Final = 0.002
"""Seconds that a step waits for a grammar when it has nothing to decode."""
End = tuple[FinishReason, str]
"""The reason of a choice's end, and the message of an error."""


class Core:
    """A model with its KV cache, scheduler and sampler. Not thread-safe: one loop owns it."""

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        *,
        clock: Callable[[], float],
        entropy: Callable[[], int],
        draft_model: DraftModel | None = None,
        compiler: Compiler | None = None,
    ) -> None:
        """Hold an open model.

        ``clock`` returns monotonic seconds, ``entropy`` a random 64-bit integer for requests without a seed. The
        default ``compiler`` compiles grammars for the model's vocabulary.
        """
        self.info: Final = model.info
        self._model: Final = model
        self._cache: Final = KVCache(model, model.info.ctx_size, SEQ_IDS, model.info.host_cache_size)
        self._scheduler: Final = Scheduler(self._cache, options)
        self._sampler: Final = Sampler(model.n_vocab)
        self._prompt_scores: Final = PromptScores(self._sampler)
        self._compiler: Final = compiler or GrammarCompiler(model.grammar_tokenizer)
        self._compiling: Final = Compilations(self._compiler)
        self._constraints: Final = Constraints(model.n_vocab, model.eog_ids)
        self._drafting: Final = Drafting(prompt_lookup=options.prompt_lookup, clock=clock, draft_model=draft_model)
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._states: dict[Sequence, SamplingState] = {}
        self._requests: dict[str, list[Sequence]] = {}
        self._cached: dict[str, int] = {}
        self._events: list[StreamEvent] = []
        self._steps = self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0
        self._counts: Final = StepCounts()
        self._arrivals: dict[str, float] = {}
        """Monotonic seconds at which each request was added, until its first step."""

    @classmethod
    def open(cls, options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]) -> "Core":
        """Load the model and return its core. Raises :class:`antiphon.engine.models.bindings.EngineLoadError`."""
        model = LlamaModel.open(options)
        draft_model = open_draft_model(options, model) if options.draft_model else None
        compiler = GrammarCompiler(model.grammar_tokenizer)
        compiler.prepare()
        return cls(model, options, clock=clock, entropy=entropy, draft_model=draft_model, compiler=compiler)

    @property
    def has_work(self) -> bool:
        """Whether :meth:`step` would do or report anything."""
        return bool(self._requests or self._events or self._compiling)

    def add(self, request: GenerateRequest) -> None:
        """Queue a request, whose prompt leaves room for one token. Raises AssertionError, and keeps nothing of it."""
        assert request.request_id not in self._requests, request.request_id
        assert request.request_id not in self._compiling, request.request_id
        assert_possible(request, self.info)
        self._arrivals[request.request_id] = self._clock()
        if request.grammar:
            self._compiling.add(request)
        else:
            self._queue(request, range(request.n), None)

    def _queue(self, request: GenerateRequest, indices: Iterable[int], matcher: Matcher | None) -> None:
        request = self._prompt_scores.without_cached_prefix(request)
        seed = self._entropy() if request.sampling.seed is None else request.sampling.seed
        constraints = {index: None if matcher is None else self._constraints.make(matcher) for index in indices}
        prompt_ids = request.prompt_ids
        params, eog_ids = request.sampling, self._model.eog_ids
        states = [SamplingState(params, prompt_ids, (seed, i), c, eog_ids) for i, c in constraints.items()]
        sequences = self._scheduler.add(request, self._clock(), constraints)
        self._requests[request.request_id] = sequences
        self._states.update(zip(sequences, states, strict=True))
        for sequence, constraint in zip(sequences, constraints.values(), strict=True):
            if constraint is not None:
                self._constraints.add(sequence, constraint)
        self._drafting.add(sequences, prompt_ids, request.prediction_ids)

    def abort(self, request_id: str, index: int | None = None) -> None:
        """End one choice of a request, or all; their cells are free or evictable when this returns."""
        if request_id in self._compiling:
            self._end_compiling(request_id, index, "abort")
        for sequence in list(self._requests.get(request_id, ())):
            if index is None or sequence.index == index:
                self._finish(sequence, "abort")

    def abort_all(self, reason: FinishReason = "abort", message: str = "") -> list[StreamEvent]:
        """End every choice and return the events that no step has returned; called when the engine ends."""
        for request_id in self._compiling:
            self._end_compiling(request_id, None, reason, message)
        for sequences in list(self._requests.values()):
            for sequence in list(sequences):
                self._finish(sequence, reason, message)
        return self._take_events()

    def step(self) -> list[StreamEvent]:
        """Run one step and return the events since the last call, in order."""
        self._constraints.begin_step()
        self._take_compiled()
        self._resume()
        self._draft()
        scheduled = self._scheduler.schedule()
        self._report_starts(scheduled)
        if scheduled:
            self._run(scheduled)
            self._steps += 1
        elif not self._constraints.wait(POLL) and self._compiling:
            self._compiling.wait(POLL)
        return self._take_events()

    def idle_step(self) -> bool:
        """Copy an unused prefix to host memory while no request runs; return False when none is left to copy."""
        return self._cache.offloading.copy_unused_prefix()

    def stats(self) -> EngineStats:
        """Return what is in use now, and the counts since the start."""
        stats = EngineStats(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting) + self._compiling.choices,
            kv_cells_used=self._cache.pool.used_cells,
            kv_cells_cached=self._cache.pool.evictable_cells,
            kv_cells_total=self._cache.pool.n_cells,
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
            preemptions=self._scheduler.preemptions,
        )
        return self._counts.added_to(stats)

    def check(self) -> None:
        """Assert the equations of the bookkeeping. For tests: it reads every cell and sequence."""
        self._cache.check()
        held = set(self._scheduler.running) | set(self._scheduler.waiting)
        assert held == set(self._states), f"{len(held)} == {len(self._states)}"
        assert self._arrivals.keys() <= self._requests.keys() | set(self._compiling), list(self._arrivals)
        self._constraints.check(held)

    def close(self) -> None:
        """Release the threads and the model, unless a thread that may read it still works on a grammar."""
        ended = self._constraints.close()
        self._compiler.close()
        self._drafting.close()
        if ended:
            self._model.close()

    def _draft(self) -> None:
        """Draft tokens for the generating sequences, within their grammars and the room of their answers."""
        generating = [sequence for sequence in self._scheduler.running if sequence.is_generating]
        self._drafting.propose(generating, self._room, self._allowed)

    def _allowed(self, sequence: Sequence, draft: list[int]) -> list[int]:
        constraint = self._constraints.get(sequence)
        return draft[: constraint.count_allowed(draft)] if constraint else draft

    def _run(self, scheduled: list[ScheduledSequence]) -> None:
        """Decode the batches of a step, and give each choice its next tokens."""
        tokens, seconds = sum(each.num_scheduled_tokens for each in scheduled), 0.0
        self._constraints.start_masks(each.sequence for each in scheduled if each.is_sampled)
        for batch in divide_step(scheduled, self._model.attention):
            began = self._clock()
            logits = batch.decode(self._model)
            seconds += self._clock() - began
            for each in batch.scheduled:
                self._scheduler.commit(each)
            self._advance_all(batch.scheduled, logits)
        self._counts.step(tokens, len(scheduled))
        self._drafting.costs.observe(tokens, seconds)

    def _advance_all(self, scheduled: list[ScheduledSequence], logits: Floats) -> None:
        """Report logprobs of prompts, and give each sampled choice its next tokens, from a batch's rows of logits."""
        end = 0
        for each in scheduled:
            if each.scored_rows:
                start, end = end, end + len(each.scored_rows)
                self._events.append(self._prompt_scores.score(each, logits[start:end]))
            if each.is_sampled:
                start, end = end, end + 1 + len(each.draft)
                self._advance(each, logits[start:end])

    def _advance(self, scheduled: ScheduledSequence, logits: Floats) -> None:
        """Give a choice its next tokens, which verify its draft, and end it after its last token.

        A row of ``logits`` is sampled only if the choice has gained every token of the draft before it.
        """
        sequence, draft, accepted = scheduled.sequence, scheduled.draft, 0
        end: End | None = None
        try:
            is_verified = True
            while is_verified:
                gained, end = self._sample(sequence, logits[accepted])
                matching = common_length(gained, draft, accepted, len(draft))
                accepted += matching
                is_verified = matching == len(gained) and end is None and not sequence.is_held
        except GrammarError as error:
            end = self._grammar_failed(sequence, error)
        self._scheduler.accept_draft(scheduled, accepted)
        if draft:
            self._drafting.report(sequence, len(draft), accepted)
            self._counts.draft(len(draft), accepted)
        if end is not None:
            self._finish(sequence, *end)

    def _sample(self, sequence: Sequence, logits: Floats) -> tuple[list[int], End | None]:
        """Draw a choice's next token; return it with the tokens that its grammar forces, and the choice's end.

        When the work on the grammar takes longer than the step may wait, the choice is held and gains nothing now.
        """
        constraint = self._constraints.get(sequence)
        if constraint is not None and not self._constraints.wait_within_step(constraint.wait_for_mask):
            self._constraints.hold(sequence, logits)
            return [], None
        state = self._states[sequence]
        token_id, logprobs = self._sampler.sample(logits, state)
        if token_id in self._model.eog_ids or token_id in state.stop_ids:
            return [], self._end_with(sequence, token_id, logprobs)
        if constraint is None:
            return self._gain(sequence, [token_id], logprobs)
        # With logprobs no token is forced: the logits of every token are needed. One of stop_token_ids is never forced.
        is_forcing = state.params.logprobs is None and not state.stop_ids
        room = self._room(sequence) - 1 if is_forcing else 0
        constraint.accept(token_id, logprobs, room)
        return self._follow(sequence)

    def _end_with(self, sequence: Sequence, token_id: int, logprobs: TokenLogprobs | None) -> End:
        """Append the token that ends a choice; report it if its request asks for that."""
        sequence.tokens.append(token_id)
        self._generated_tokens += 1
        if sequence.request.sampling.reports_end:
            self._report(sequence, [token_id], logprobs, is_end=True)
        return "stop", ""

    def _report(
        self, sequence: Sequence, token_ids: list[int], logprobs: TokenLogprobs | None, *, is_end: bool = False
    ) -> None:
        self._events.append(
            TokenEvent(
                request_id=sequence.request.request_id,
                index=sequence.index,
                token_ids=token_ids,
                logprobs=[] if logprobs is None else [logprobs],
                is_end=is_end,
            )
        )

    def _follow(self, sequence: Sequence) -> tuple[list[int], End | None]:
        """Return a choice's accepted token with the forced ones, and the choice's end; hold it if they take long."""
        constraint = self._constraints.get(sequence)
        assert constraint is not None
        if not self._constraints.wait_within_step(constraint.wait_until_idle):
            self._constraints.hold(sequence, None)
            return [], None
        constraint.check()
        return self._gain(sequence, constraint.gained, constraint.logprobs, finished=constraint.is_finished)

    def _resume(self) -> None:
        """Continue the held sequences whose grammars are ready."""
        for sequence, logits in self._constraints.resume():
            try:
                _, end = self._follow(sequence) if logits is None else self._sample(sequence, logits)
            except GrammarError as error:
                end = self._grammar_failed(sequence, error)
            if end is not None:
                self._finish(sequence, *end)

    def _grammar_failed(self, sequence: Sequence, error: GrammarError) -> End:
        self._compiler.forget(sequence.request.grammar)
        return "grammar", f"the grammar could not be followed: {error}"

    def _room(self, sequence: Sequence) -> int:
        """Return how many tokens the choice may still gain."""
        asked = sequence.request.sampling.max_tokens - sequence.num_generated_tokens
        return max(0, min(asked, self.info.max_model_len - len(sequence.tokens)))

    def _gain(
        self, sequence: Sequence, token_ids: list[int], logprobs: TokenLogprobs | None, *, finished: bool = False
    ) -> tuple[list[int], End | None]:
        """Append tokens to a choice and report them; return them, and the choice's end if they are its last."""
        state = self._states[sequence]
        sequence.tokens += token_ids
        self._generated_tokens += len(token_ids)
        for token_id in token_ids:
            state.observe(token_id)
        self._drafting.observe(sequence, token_ids)
        self._report(sequence, token_ids, logprobs)
        if finished:
            return token_ids, ("stop", "")
        return token_ids, ("length", "") if self._room(sequence) == 0 else None

    def _take_compiled(self) -> None:
        """Queue the requests whose grammars are compiled, and end those whose grammars cannot be compiled."""
        for entry in self._compiling.take():
            error = entry.future.exception()
            if error is None:
                self._queue(entry.request, entry.indices, entry.future.result())
                continue
            del self._arrivals[entry.request.request_id]
            self._events += end_choices(entry, None, "grammar", f"the grammar could not be compiled: {error}")

    def _end_compiling(self, request_id: str, index: int | None, reason: FinishReason, message: str = "") -> None:
        """End one choice of a request whose grammar is being compiled, or all."""
        self._events += self._compiling.end(request_id, index, reason, message)
        if request_id not in self._compiling:
            del self._arrivals[request_id]

    def _finish(self, sequence: Sequence, reason: FinishReason, message: str = "") -> None:
        self._scheduler.finish(sequence)
        del self._states[sequence]
        self._constraints.remove(sequence)
        accepted, rejected = self._drafting.finish(sequence)
        request_id = sequence.request.request_id
        self._events.append(
            Finished(
                request_id=request_id,
                index=sequence.index,
                reason=reason,
                prompt_tokens=sequence.num_prompt_tokens,
                completion_tokens=sequence.num_generated_tokens,
                cached_tokens=self._cached.get(request_id, 0),
                accepted_prediction_tokens=accepted,
                rejected_prediction_tokens=rejected,
                message=message,
            )
        )
        siblings = self._requests[request_id]
        siblings.remove(sequence)
        if not siblings:
            del self._requests[request_id]
            self._cached.pop(request_id, None)
            self._arrivals.pop(request_id, None)

    def _report_starts(self, scheduled: Iterable[ScheduledSequence]) -> None:
        """Report each request at the first step of its first choice, whose cached tokens are the request's."""
        for each in scheduled:
            sequence = each.sequence
            request_id = sequence.request.request_id
            if request_id in self._cached:
                continue
            cached = sequence.num_cached_tokens or 0
            self._cached[request_id] = cached
            self._prompt_tokens += sequence.num_prompt_tokens
            self._cached_tokens += cached
            queue_time = self._clock() - self._arrivals.pop(request_id)
            self._events.append(Started(request_id=request_id, cached_tokens=cached, queue_time=queue_time))

    def _take_events(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events
