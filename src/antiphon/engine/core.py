"""One step of the engine: schedule, decode, sample, report. No processes, no sockets, no text.

Invariant: every choice of every request that :meth:`Core.add` accepts ends in exactly one ``Finished`` event.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from antiphon.engine.interface import (
    EngineOptions,
    EngineStats,
    Finished,
    FinishReason,
    GenerateRequest,
    ModelInfo,
    Started,
    StreamEvent,
    TokenEvent,
)
from antiphon.engine.kv_cache import KVCache, Memory
from antiphon.engine.llama import MAX_SEQ_IDS, LlamaModel
from antiphon.engine.sampler import Sampler, SamplingState
from antiphon.engine.scheduler import Scheduler, Work
from antiphon.engine.sequence import Sequence


class Model(Memory, Protocol):
    """What decodes: llama.cpp, or a deterministic fake in the tests of scheduling."""

    info: ModelInfo
    n_vocab: int
    eog_ids: frozenset[int]

    def decode(
        self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]
    ) -> npt.NDArray[np.float32]:
        """Run one batch; return the logits of the rows ``outputs``, shape (len(outputs), n_vocab)."""

    def close(self) -> None:
        """Release it."""


class Core:
    """A model, its KV cache, a scheduler and a sampler. Not thread-safe: one loop owns it."""

    def __init__(
        self, model: Model, options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]
    ) -> None:
        """``clock`` gives seconds that never go back; ``entropy`` a random 64-bit integer, for requests without a seed."""
        self.info: Final = model.info
        self._model: Final = model
        self._cache: Final = KVCache(model, model.info.ctx_size, MAX_SEQ_IDS)
        self._scheduler: Final = Scheduler(self._cache, options)
        self._sampler: Final = Sampler(model.n_vocab)
        self._clock: Final = clock
        self._entropy: Final = entropy
        self._states: dict[Sequence, SamplingState] = {}
        self._requests: dict[str, list[Sequence]] = {}
        self._cached: dict[str, int] = {}
        self._events: list[StreamEvent] = []
        self._steps = self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0

    @classmethod
    def open(cls, options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]) -> "Core":
        """Load the model. Raises :class:`antiphon.engine.llama.EngineLoadError`."""
        return cls(LlamaModel.open(options), options, clock=clock, entropy=entropy)

    @property
    def has_work(self) -> bool:
        """Whether :meth:`step` would do or report anything."""
        return bool(self._requests or self._events)

    def add(self, request: GenerateRequest) -> None:
        """Queue a request whose prompt leaves room for at least one token. One that is refused leaves nothing behind."""
        self._assert_possible(request)
        seed = self._entropy() if request.sampling.seed is None else request.sampling.seed
        states = [SamplingState(request.sampling, request.prompt_ids, (seed, index)) for index in range(request.n)]
        sequences = self._scheduler.add(request, self._clock())
        self._requests[request.request_id] = sequences
        self._states.update(zip(sequences, states, strict=True))

    def abort(self, request_id: str, index: int | None = None) -> None:
        """End one choice, or all, of a request; its cells are free, or evictable, when this returns."""
        for sequence in list(self._requests.get(request_id, ())):
            if index is None or sequence.index == index:
                self._finish(sequence, "abort")

    def abort_all(self, reason: FinishReason = "abort", message: str = "") -> list[StreamEvent]:
        """End everything in flight and return the events, for the engine's own end."""
        for sequences in list(self._requests.values()):
            for sequence in list(sequences):
                self._finish(sequence, reason, message)
        return self._take_events()

    def step(self) -> list[StreamEvent]:
        """Decode one batch and return what happened since the last call, in order."""
        works = self._scheduler.schedule()
        self._report_starts(works)
        if works:
            self._run(works)
            self._steps += 1
        return self._take_events()

    def stats(self) -> EngineStats:
        """What is held now, and counts since the start."""
        return EngineStats(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_cells_used=self._cache.n_cells - self._cache.free_cells,
            kv_cells_cached=self._cache.evictable_cells,
            kv_cells_total=self._cache.n_cells,
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
            preemptions=self._scheduler.preemptions,
        )

    def check(self) -> None:
        """Assert the bookkeeping's equations (for tests: it reads everything)."""
        self._cache.check()
        held = set(self._scheduler.running) | set(self._scheduler.waiting)
        assert held == set(self._states), f"{len(held)} == {len(self._states)}"

    def close(self) -> None:
        """Release the model."""
        self._model.close()

    def _assert_possible(self, request: GenerateRequest) -> None:
        """Stop at the door what would fail a step, and everybody in it."""
        assert request.request_id not in self._requests, request.request_id
        n, limit, n_vocab = len(request.prompt_ids), self.info.max_model_len, self._model.n_vocab
        assert 0 < n < limit, f"0 < {n} < {limit}"
        assert request.n > 0, f"{request.n} > 0"
        ids = [*request.prompt_ids, *request.sampling.logit_bias]
        assert min(ids) >= 0, f"{min(ids)} >= 0"
        assert max(ids) < n_vocab, f"{max(ids)} < {n_vocab}"

    def _run(self, works: list[Work]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        seq_ids: list[int] = []
        outputs: list[int] = []
        for work in works:
            sequence, start, end = work.sequence, work.start, work.start + work.n
            assert sequence.lease is not None
            tokens += sequence.tokens[start:end]
            positions += range(start, end)
            seq_ids += [sequence.lease.seq_id] * work.n
            if work.samples:
                outputs.append(len(tokens) - 1)
        logits = self._model.decode(tokens, positions, seq_ids, outputs)
        for work in works:
            self._scheduler.commit(work)
        for row, work in enumerate(work for work in works if work.samples):
            self._advance(work.sequence, logits[row])

    def _advance(self, sequence: Sequence, logits: npt.NDArray[np.float32]) -> None:
        """Give a choice its next token, and end it when that was its last."""
        state = self._states[sequence]
        token_id, logprobs = self._sampler.sample(logits, state)
        sequence.tokens.append(token_id)
        self._generated_tokens += 1
        request = sequence.request
        if token_id in self._model.eog_ids:
            self._finish(sequence, "stop")
            return
        state.observe(token_id)
        self._events.append(
            TokenEvent(
                request_id=request.request_id,
                index=sequence.index,
                token_ids=[token_id],
                logprobs=[] if logprobs is None else [logprobs],
            )
        )
        if sequence.generated >= request.sampling.max_tokens or len(sequence.tokens) >= self.info.max_model_len:
            self._finish(sequence, "length")

    def _finish(self, sequence: Sequence, reason: FinishReason, message: str = "") -> None:
        self._scheduler.finish(sequence)
        del self._states[sequence]
        request_id = sequence.request.request_id
        self._events.append(
            Finished(
                request_id=request_id,
                index=sequence.index,
                reason=reason,
                prompt_tokens=sequence.prompt_len,
                completion_tokens=sequence.generated,
                cached_tokens=self._cached.get(request_id, 0),
                message=message,
            )
        )
        siblings = self._requests[request_id]
        siblings.remove(sequence)
        if not siblings:
            del self._requests[request_id]
            self._cached.pop(request_id, None)

    def _report_starts(self, works: Iterable[Work]) -> None:
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
            self._events.append(Started(request_id=request_id, cached_tokens=cached))

    def _take_events(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events
