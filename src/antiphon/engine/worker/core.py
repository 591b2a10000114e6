"""One step of the engine: schedule, decode, sample, report. No processes, no sockets, no text.

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
from antiphon.engine.worker.batches import Model, batches_of
from antiphon.engine.worker.compiling import Compilations, Compiler, end_choices
from antiphon.engine.worker.constraint import Constraints
from antiphon.engine.worker.scheduler import ScheduledSequence, Scheduler
from antiphon.engine.worker.step_counts import StepCounts

POLL: Final = 0.002
"""Seconds that a step waits for a grammar when nothing else is to do."""
End = tuple[FinishReason, str]
"""Why a choice ends, and the message of an error."""


class Core:
    """A model, its KV cache, a scheduler and a sampler. Not thread-safe: one loop owns it."""

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
        """``clock`` gives monotonic seconds; ``entropy`` a random 64-bit integer, for requests without a seed.

        ``compiler`` compiles for the model's own vocabulary, unless another is given.
        """
        self.info: Final = model.info
        self._model: Final = model
        self._cache: Final = KVCache(model, model.info.ctx_size, SEQ_IDS, model.info.host_cache_size)
        self._scheduler: Final = Scheduler(self._cache, options)
        self._sampler: Final = Sampler(model.n_vocab)
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
        """When the requests that no step has carried yet were added."""

    @classmethod
    def open(cls, options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]) -> "Core":
        """Load the model. Raises :class:`antiphon.engine.models.bindings.EngineLoadError`."""
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
        """Queue a request whose prompt leaves room for a token at least. One that is refused leaves nothing behind."""
        self._assert_possible(request)
        self._arrivals[request.request_id] = self._clock()
        if request.grammar:
            self._compiling.add(request)
        else:
            self._queue(request, range(request.n), None)

    def _queue(self, request: GenerateRequest, indices: Iterable[int], matcher: Matcher | None) -> None:
        seed = self._entropy() if request.sampling.seed is None else request.sampling.seed
        constraints = {index: None if matcher is None else self._constraints.make(matcher) for index in indices}
        prompt_ids = request.prompt_ids
        states = [SamplingState(request.sampling, prompt_ids, (seed, i), c) for i, c in constraints.items()]
        sequences = self._scheduler.add(request, self._clock(), constraints)
        self._requests[request.request_id] = sequences
        self._states.update(zip(sequences, states, strict=True))
        for sequence, own in zip(sequences, constraints.values(), strict=True):
            if own is not None:
                self._constraints.add(sequence, own)
        self._drafting.add(sequences, prompt_ids, request.prediction_ids)

    def abort(self, request_id: str, index: int | None = None) -> None:
        """End one choice, or all, of a request; its cells are free, or evictable, when this returns."""
        if request_id in self._compiling:
            self._end_compiling(request_id, index, "abort")
        for sequence in list(self._requests.get(request_id, ())):
            if index is None or sequence.index == index:
                self._finish(sequence, "abort")

    def abort_all(self, reason: FinishReason = "abort", message: str = "") -> list[StreamEvent]:
        """End everything in flight and return the events, for the engine's own end."""
        for request_id in self._compiling:
            self._end_compiling(request_id, None, reason, message)
        for sequences in list(self._requests.values()):
            for sequence in list(sequences):
                self._finish(sequence, reason, message)
        return self._take_events()

    def step(self) -> list[StreamEvent]:
        """Decode one batch and return what happened since the last call, in order."""
        self._constraints.begin_step()
        self._take_compiled()
        self._resume()
        self._draft()
        works = self._scheduler.schedule()
        self._report_starts(works)
        if works:
            self._run(works)
            self._steps += 1
        elif not self._constraints.wait(POLL) and self._compiling:
            self._compiling.wait(POLL)
        return self._take_events()

    def idle_step(self) -> bool:
        """Do a piece of what makes later steps faster, while there is no work; False when nothing is left to do."""
        return self._cache.offloading.copy_unused_prefix()

    def stats(self) -> EngineStats:
        """What is held now, and counts since the start."""
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
        """Assert the bookkeeping's equations (for tests: it reads everything)."""
        self._cache.check()
        held = set(self._scheduler.running) | set(self._scheduler.waiting)
        assert held == set(self._states), f"{len(held)} == {len(self._states)}"
        assert self._arrivals.keys() <= self._requests.keys() | set(self._compiling), list(self._arrivals)
        self._constraints.check(held)

    def close(self) -> None:
        """Release the model and the threads. Work on a grammar that does not end keeps the model, which it may read."""
        ended = self._constraints.close()
        self._compiler.close()
        self._drafting.close()
        if ended:
            self._model.close()

    def _assert_possible(self, request: GenerateRequest) -> None:
        """Stop at the door what would fail a step, and everybody in it."""
        assert request.request_id not in self._requests, request.request_id
        assert request.request_id not in self._compiling, request.request_id
        prompt_ids = request.prompt_ids
        n, limit, n_vocab = len(prompt_ids), self.info.max_model_len, self._model.n_vocab
        assert 0 < n < limit, f"0 < {n} < {limit}"
        assert request.n > 0, f"{request.n} > 0"
        ids = [*prompt_ids, *request.prediction_ids, *request.sampling.logit_bias]
        assert min(ids) >= 0, f"{min(ids)} >= 0"
        assert max(ids) < n_vocab, f"{max(ids)} < {n_vocab}"

    def _draft(self) -> None:
        """Propose what may come next, as far as the grammar allows it and the answer has room beside the next token."""
        generating = [sequence for sequence in self._scheduler.running if sequence.generates]
        self._drafting.propose(generating, self._room, self._allowed)

    def _allowed(self, sequence: Sequence, draft: list[int]) -> list[int]:
        constraint = self._constraints.get(sequence)
        return draft[: constraint.count_allowed(draft)] if constraint else draft

    def _run(self, works: list[ScheduledSequence]) -> None:
        """Decode a step, batch by batch, and give each choice what it has gained."""
        tokens, seconds = sum(work.size for work in works), 0.0
        self._constraints.start_masks(work.sequence for work in works if work.samples)
        for batch in batches_of(works, self._model.attention):
            began = self._clock()
            logits = batch.decode(self._model)
            seconds += self._clock() - began
            for work in batch.works:
                self._scheduler.commit(work)
            self._advance_all([work for work in batch.works if work.samples], logits)
        self._counts.step(tokens, len(works))
        self._drafting.costs.observe(tokens, seconds)

    def _advance_all(self, works: list[ScheduledSequence], logits: Floats) -> None:
        """Give each choice its next tokens. Each has as many rows of logits as its draft has tokens, and one more."""
        end = 0
        for work in works:
            start, end = end, end + 1 + len(work.draft)
            self._advance(work, logits[start:end])

    def _advance(self, work: ScheduledSequence, logits: Floats) -> None:
        """Give a choice its next tokens, and end it when they were its last.

        ``logits`` has a row for its last token, and one for each of its draft. A row counts only when all of the draft
        before it is what the model has said.
        """
        sequence, accepted = work.sequence, 0
        end: End | None = None
        try:
            run: list[int] = []
            while end is None and run == work.draft[accepted:][: len(run)]:
                accepted += len(run)
                run, end = self._sample(sequence, logits[accepted])
                if sequence.held:
                    break
            accepted += common_length(run, work.draft, accepted, min(accepted + len(run), len(work.draft)))
        except GrammarError as error:
            end = self._grammar_failed(sequence, error)
        self._scheduler.keep(work, accepted)
        if work.draft:
            self._drafting.report(sequence, len(work.draft), accepted)
            self._counts.draft(len(work.draft), accepted)
        if end is not None:
            self._finish(sequence, *end)

    def _sample(self, sequence: Sequence, logits: Floats) -> tuple[list[int], End | None]:
        """Draw a choice's next token, with those that the grammar forces after it; say whether that ends it, and why.

        Where the grammar's work takes longer than the step may wait, the choice is held, and gains them later.
        """
        constraint = self._constraints.get(sequence)
        if constraint is not None and not self._constraints.has_ended(constraint.has_mask):
            self._constraints.hold(sequence, logits)
            return [], None
        token_id, logprobs = self._sampler.sample(logits, self._states[sequence])
        if token_id in self._model.eog_ids:
            sequence.tokens.append(token_id)
            self._generated_tokens += 1
            return [], ("stop", "")
        if constraint is None:
            return self._gain(sequence, [token_id], logprobs)
        # With logprobs every token has a step of its own, since its logits are asked for.
        room = 0 if sequence.request.sampling.logprobs is not None else self._room(sequence) - 1
        constraint.accept(token_id, logprobs, room)
        return self._follow(sequence)

    def _follow(self, sequence: Sequence) -> tuple[list[int], End | None]:
        """Take the token that a choice's grammar has accepted, and those that it forces, once they are known."""
        constraint = self._constraints.get(sequence)
        assert constraint is not None
        if not self._constraints.has_ended(constraint.is_idle):
            self._constraints.hold(sequence, None)
            return [], None
        constraint.check()
        return self._gain(sequence, constraint.gained, constraint.logprobs, finished=constraint.finished)

    def _resume(self) -> None:
        """Go on with the held sequences for which the work on their grammars has ended."""
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
        """Tokens that the choice may still gain."""
        asked = sequence.request.sampling.max_tokens - sequence.generated
        return max(0, min(asked, self.info.max_model_len - len(sequence.tokens)))

    def _gain(
        self, sequence: Sequence, token_ids: list[int], logprobs: TokenLogprobs | None, *, finished: bool = False
    ) -> tuple[list[int], End | None]:
        """Append tokens to a choice and report them; return them, and why they are its last when they are."""
        state = self._states[sequence]
        sequence.tokens += token_ids
        self._generated_tokens += len(token_ids)
        for token_id in token_ids:
            state.observe(token_id)
        self._drafting.observe(sequence, token_ids)
        self._events.append(
            TokenEvent(
                request_id=sequence.request.request_id,
                index=sequence.index,
                token_ids=token_ids,
                logprobs=[] if logprobs is None else [logprobs],
            )
        )
        if finished:
            return token_ids, ("stop", "")
        return token_ids, ("length", "") if self._room(sequence) == 0 else None

    def _take_compiled(self) -> None:
        """Queue the requests whose grammars are ready; end those whose grammars cannot be compiled."""
        for entry in self._compiling.take():
            error = entry.future.exception()
            if error is None:
                self._queue(entry.request, entry.indices, entry.future.result())
                continue
            del self._arrivals[entry.request.request_id]
            self._events += end_choices(entry, None, "grammar", f"the grammar could not be compiled: {error}")

    def _end_compiling(self, request_id: str, index: int | None, reason: FinishReason, message: str = "") -> None:
        """End choices of a request that never ran."""
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
                prompt_tokens=sequence.prompt_len,
                completion_tokens=sequence.generated,
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

    def _report_starts(self, works: Iterable[ScheduledSequence]) -> None:
        """Report a request when the first of its choices runs: what that one found cached is the request's figure."""
        for work in works:
            sequence = work.sequence
            request_id = sequence.request.request_id
            if request_id in self._cached:
                continue
            cached = sequence.cached_tokens or 0
            self._cached[request_id] = cached
            self._prompt_tokens += sequence.prompt_len
            self._cached_tokens += cached
            queue_time = self._clock() - self._arrivals.pop(request_id)
            self._events.append(Started(request_id=request_id, cached_tokens=cached, queue_time=queue_time))

    def _take_events(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events
