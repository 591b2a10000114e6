"""A core over the fake model, whose every step is checked."""

import collections.abc
from collections import Counter, defaultdict

from antiphon.engine.cache.lease import Lease
from antiphon.engine.drafting.draft_model import DraftModel
from antiphon.engine.interface import (
    EngineOptions,
    Finished,
    GenerateRequest,
    MediaSegment,
    PromptLogprobs,
    PromptTokenLogprobs,
    SamplingParams,
    ServiceTier,
    Started,
    StreamEvent,
    TokenEvent,
    TokenLogprobs,
    TokenSegment,
)
from antiphon.engine.models.batch_plan import AttentionCosts
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.compiling import Compiler
from antiphon.engine.worker.core import Core
from tests.engine.fake_model import EOG_IDS, FakeModel, answer_alone, assert_agrees, scores_alone

ENTROPY = 77
STEP_SECONDS = 0.01
Choice = tuple[str, int]


def request(  # noqa: PLR0913 (a field each)
    request_id: str,
    prompt_ids: list[int],
    *,
    pictures: collections.abc.Sequence[MediaSegment] = (),
    max_tokens: int = 8,
    temperature: float = 0.0,
    seed: int | None = None,
    n: int = 1,
    salt: str = "",
    tier: ServiceTier = "default",
    prediction: list[int] | None = None,
    grammar: str = "",
    logprobs: int | None = None,
    prompt_logprobs: int | None = None,
) -> GenerateRequest:
    """Return a request with the fields that scheduling depends on.

    ``pictures`` follow the first half of the prompt.
    """
    half = len(prompt_ids) // 2
    before, after = TokenSegment(prompt_ids[:half]), TokenSegment(prompt_ids[half:])
    return GenerateRequest(
        request_id=request_id,
        prompt=(before, *pictures, after) if pictures else (TokenSegment(prompt_ids),),
        sampling=SamplingParams(temperature=temperature, seed=seed, max_tokens=max_tokens, logprobs=logprobs),
        n=n,
        grammar=grammar,
        cache_salt=salt,
        service_tier=tier,
        prediction_ids=prediction or [],
        prompt_logprobs=prompt_logprobs,
    )


def text(start: int, n: int) -> list[int]:
    """Return ``n`` token ids, other ones for another ``start``, without end-of-generation tokens."""
    return [3 + (start * 31 + i * 7) % 297 for i in range(n)]


class Trial:
    """A core, its clock, and the events that it has reported."""

    def __init__(  # noqa: PLR0913 (a setting each)
        self,
        ctx_size: int = 256,
        *,
        max_model_len: int | None = None,
        max_num_seqs: int = 8,
        max_num_batched_tokens: int = 64,
        prefill_chunk_size: int = 16,
        eog_ids: frozenset[int] = EOG_IDS,
        host_cache_size: int = 0,
        draft_eog_ids: frozenset[int] | None = None,
        attention: AttentionCosts | None = None,
        compiler: Compiler | None = None,
    ) -> None:
        """With host memory every unused prefix is offloaded at once.

        With ``draft_eog_ids`` there is a draft model with the model's logits, which ends at these tokens.
        """
        self.options = EngineOptions(
            model_path="",
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            prefill_chunk_size=prefill_chunk_size,
        )
        self.model = FakeModel(
            ctx_size,
            max_model_len=max_model_len,
            eog_ids=eog_ids,
            host_cache_size=host_cache_size,
            attention=attention,
        )
        self.now = 0.0
        self.drafts: FakeModel | None = None
        draft_model = None
        if draft_eog_ids is not None:
            self.drafts = FakeModel(ctx_size, eog_ids=draft_eog_ids)
            draft_model = DraftModel(self.drafts, n_cells=ctx_size, n_seq_ids=8, max_batch=max_num_batched_tokens)
        self.core = Core(
            self.model,
            self.options,
            clock=lambda: self.now,
            entropy=lambda: ENTROPY,
            draft_model=draft_model,
            compiler=compiler,
        )
        self.scheduler = self.core._scheduler
        self.cache = self.core._cache
        offloading = self.cache.offloading
        offloading.max_unused_cells, offloading.offloaded_per_step, offloading.min_kept_copy = 0, 16, 16
        self.requests: dict[str, GenerateRequest] = {}
        self.tokens: dict[Choice, list[int]] = defaultdict(list)
        self.logprobs: dict[Choice, list[TokenLogprobs]] = defaultdict(list)
        self.scores: dict[str, dict[int, PromptTokenLogprobs | None]] = defaultdict(dict)
        """By the positions in the prompt of each request."""
        self.started: dict[str, Started] = {}
        self.start_order: list[str] = []
        self.finished: dict[Choice, Finished] = {}

    def add(self, *requests: GenerateRequest) -> None:
        for each in requests:
            self.requests[each.request_id] = each
            self.core.add(each)

    def run(self, limit: int | None = None) -> None:
        """Step until there is no work; ``limit`` bounds the steps."""
        total = sum(each.n * (len(each.prompt_ids) + each.sampling.max_tokens) for each in self.requests.values())
        for _ in range(limit or 3 * total + 50):
            if not self.core.has_work:
                return
            self.step()
        raise AssertionError(f"still at work after {limit or 3 * total + 50} steps")

    def step(self) -> list[StreamEvent]:
        """Run one step, and check the invariants of every step."""
        unfinished = self.scheduler.running + self.scheduler.waiting
        held = any(each.is_held for each in unfinished)
        running = {each: each.lease for each in self.scheduler.running if each.lease is not None}
        decoding = {each: lease for each, lease in running.items() if each.is_generating}
        late = [lease for each, lease in running.items() if each.is_held]
        n_batches = len(self.model.batches)
        self.now += STEP_SECONDS
        events = self.core.step()
        if len(self.model.batches) > n_batches or (unfinished and not held):
            assert len(self.model.batches) > n_batches, "a step with work to do decoded nothing"
            more = 1 + any(each.media for each in unfinished)
            assert self.model.attention or len(self.model.batches) <= n_batches + more
            self._check_batches(decoding, late, self.model.batches[n_batches:])
        self._check_order(set(running), events)
        self.check()
        for event in events:
            self._take(event)
        return events

    def check(self) -> None:
        self.core.check()
        held = {s.lease: s.tokens[: s.num_computed_tokens] for s in self.scheduler.running if s.lease is not None}
        assert_agrees(self.cache, self.model, held)

    def check_end(self) -> None:
        """Assert that only cached prefixes hold cells, and that every answer is the one of its request alone."""
        stats = self.core.stats()
        assert (0, 0) == (stats.running, stats.waiting)
        assert 0 == self.cache.pool.owned_cells
        assert stats.kv_cells_used == stats.kv_cells_cached == len(self.model.cells) <= stats.kv_cells_total
        choices = {(each.request_id, index) for each in self.requests.values() for index in range(each.n)}
        assert choices == set(self.finished)
        for request_id, index in choices:
            self._check_choice(self.requests[request_id], index)
        for each in self.requests.values():
            self._check_scores(each)

    def _check_scores(self, asked: GenerateRequest) -> None:
        """Assert the logprobs of a prompt; a first choice that was aborted may have reported some of them."""
        n, reported = asked.prompt_logprobs, self.scores[asked.request_id]
        alone = {} if n is None else scores_alone(asked.prompt_ids, n)
        scored = {position: score for position, score in reported.items() if score is not None}
        if self.finished[asked.request_id, 0].reason == "abort":
            alone = {position: score for position, score in alone.items() if position in scored}
        assert alone == scored
        assert asked.request_id not in self.started or n is None or self.started[asked.request_id].cached_tokens == 0

    def _check_choice(self, asked: GenerateRequest, index: int) -> None:
        end = self.finished[asked.request_id, index]
        tokens = self.tokens[asked.request_id, index]
        if asked.grammar:
            return
        alone, reason = answer_alone(
            asked, index, self.core.info.max_model_len, entropy=ENTROPY, eog_ids=self.model.eog_ids
        )
        if end.reason == "abort":
            assert alone[: len(tokens)] == tokens
        else:
            assert (alone, reason) == (tokens, end.reason)
        assert len(asked.prompt_ids) == end.prompt_tokens
        assert len(tokens) + (end.reason == "stop") == end.completion_tokens
        cached = self.started[asked.request_id].cached_tokens if asked.request_id in self.started else 0
        assert cached < len(asked.prompt_ids)
        assert end.cached_tokens == cached or (end.reason == "abort" and end.cached_tokens == 0)

    def _check_batches(
        self, decoding: dict[Sequence, Lease], late: list[Lease], batches: list[list[tuple[int, int]]]
    ) -> None:
        """Assert the limits of a step and of prompts beside streams, and that every stream has a row or is preempted.

        ``late`` are the leases of streams that wait for their grammars: they may continue in this step.
        """
        rows = Counter(seq_id for batch in batches for seq_id, _ in batch)
        if self.model.attention:
            del rows[self.model.attention.padding_id]
        assert rows.total() <= self.options.max_num_batched_tokens
        assert len(rows) <= self.options.max_num_seqs
        streams = {each: lease for each, lease in decoding.items() if each.lease is lease or self._is_over(each)}
        assert all(rows[lease.seq_id] for lease in streams.values())
        if streams:
            prompts = rows.total() - sum(rows[lease.seq_id] for lease in [*streams.values(), *late])
            assert prompts <= self.options.prefill_chunk_size

    def _is_over(self, sequence: Sequence) -> bool:
        return sequence not in self.core._states

    def _check_order(self, running: set[Sequence], events: list[StreamEvent]) -> None:
        """Assert that a new running sequence overtook none, unless its prompt is short or the other awaits a prefill.

        An awaited prefill may end in the same step, after which no sequence awaits it.
        """
        ended = [self.requests[event.request_id].prompt_ids[0] for event in events if isinstance(event, Finished)]
        computed = {*ended, *(each.tokens[0] for each in [*running, *self.scheduler.running])}
        for newcomer in set(self.scheduler.running) - running:
            missing = newcomer.num_prompt_tokens - (newcomer.num_cached_tokens or 0)
            overtakes = missing <= self.options.prefill_chunk_size // 2
            for other in self.scheduler.waiting:
                waited = other.awaited_prefill is not None or other.tokens[0] in computed
                assert other.order > newcomer.order or overtakes or waited or other.is_held

    def _take(self, event: StreamEvent) -> None:
        assert event.request_id in self.requests
        if isinstance(event, Started):
            assert event.request_id not in self.started
            self.started[event.request_id] = event
            self.start_order.append(event.request_id)
            return
        if isinstance(event, PromptLogprobs):
            positions = dict(enumerate(event.tokens, event.start))
            known = self.scores[event.request_id]
            assert event.start > max(known, default=0), "a position is repeated"
            known.update(positions)
            assert (event.request_id, 0) not in self.finished
            return
        choice = (event.request_id, event.index)
        assert choice not in self.finished, "an event after the last one"
        if isinstance(event, TokenEvent):
            assert event.request_id in self.started
            self.tokens[choice] += [] if event.is_end else event.token_ids
            self.logprobs[choice] += event.logprobs
        else:
            self.finished[choice] = event
