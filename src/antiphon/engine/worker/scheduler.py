"""Chooses the sequences of the next step, and the number of tokens of each. Pure: the clock is an argument.

A step carries the newest tokens of every generating sequence and, up to a limit, chunks of prompts (chunked prefill):
a long prompt never stalls the streams of others. Prompts are served by tier and order of arrival, but short ones may
use half of a step before a long one. When cells run out, the sequence served last is preempted: its cells become
cached prefixes, it waits again, and is recomputed from the prefixes that are still cached (vLLM: recomputation).
"""

from bisect import insort
from collections.abc import Iterable
from heapq import merge
from itertools import filterfalse, islice
from operator import attrgetter
from typing import Final

from msgspec import Struct

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.radix_tree import common_length
from antiphon.engine.interface import EngineOptions, GenerateRequest, ServiceTier
from antiphon.engine.sequence import Sequence

TIER_OFFSET: Final[dict[ServiceTier, float]] = {"priority": -30.0, "default": 0.0, "flex": 30.0}
"""Seconds added to a request's time of arrival: a default request is served before flex ones up to 30 s older."""
MAX_HEAD_START: Final = 30
"""Seconds that a request's ``priority`` adds or takes away at most, so that no request waits forever."""
SHARED_PREFIX_MIN: Final = 16
"""Tokens of the shortest prefix for which a request waits while another one computes it."""
GROWTH_HEADROOM: Final = 16
"""Cells per running sequence that admission leaves free, so that a new sequence is not preempted at once."""
LOOKAHEAD: Final = 64
"""Waiting sequences that one step reads, so that a long queue costs no more than a short one."""
OFFLOADED_PER_TOKEN: Final = 4
"""Tokens that a step without streams may offload for each prompt token that it computes, which takes far longer."""
SCORED_ROWS: Final = 64
"""Rows of prompts whose logits one step keeps at most for the logprobs of prompts: 39 MB for 152,000 tokens."""
OVERTAKING_LOOKAHEAD: Final = 16
"""Sequences that one step reads to find short prompts after a long one."""
_IS_HELD: Final = attrgetter("is_held")


class ScheduledSequence(Struct, frozen=True):
    """``num_tokens`` tokens of one sequence from position ``start`` on, and a draft after its last one."""

    sequence: Sequence
    start: int
    num_tokens: int
    draft: list[int] = []

    @property
    def num_scheduled_tokens(self) -> int:
        """Tokens that the step carries for the sequence, its draft included."""
        return self.num_tokens + len(self.draft)

    @property
    def is_media(self) -> bool:
        """Whether the step carries rows of media for the sequence; all of its rows are then of one segment."""
        return bool(self.sequence.media) and self.sequence.tokens[self.start] < 0

    @property
    def scored_rows(self) -> range:
        """Positions of the rows whose logits give the logprobs of the prompt's next token."""
        sequence = self.sequence
        if not sequence.is_scoring or self.is_media:
            return range(0)
        end = min(self.start + self.num_tokens, sequence.num_prompt_tokens - 1)
        return range(max(self.start, sequence.num_scored_rows), end)

    @property
    def is_sampled(self) -> bool:
        """Whether the step computes the sequence's last token, whose logits give the next one."""
        return self.start + self.num_tokens == len(self.sequence.tokens)


class Scheduler:
    """The waiting queue and the running sequences, both in order of service."""

    def __init__(self, cache: KVCache, options: EngineOptions) -> None:
        assert options.max_num_seqs <= options.max_num_batched_tokens
        self.cache: Final = cache
        self._max_num_seqs: Final = options.max_num_seqs
        self._max_num_batched_tokens: Final = options.max_num_batched_tokens
        self._prefill_chunk_size: Final = options.prefill_chunk_size
        self._max_decode_tokens: Final = options.max_num_batched_tokens // options.max_num_seqs
        """Tokens of a generating sequence in a step: more than one after a grammar has forced some."""
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._arrivals = 0
        self.preemptions = 0

    def add(self, request: GenerateRequest, now: float, indices: Iterable[int] | None = None) -> list[Sequence]:
        """Queue a request's choices, or those of ``indices``, and return them; ``now`` is in monotonic seconds."""
        head_start = min(max(request.priority, -MAX_HEAD_START), MAX_HEAD_START)
        priority = now + TIER_OFFSET[request.service_tier] + head_start
        self._arrivals += 1
        sequences = [Sequence(request, index, self._arrivals, priority) for index in indices or range(request.n)]
        for sequence in sequences:
            self._enqueue(sequence)
        return sequences

    def finish(self, sequence: Sequence) -> None:
        """Remove a waiting or running sequence; its computed tokens stay cached until their cells are needed."""
        if sequence.lease is None:
            self.waiting.remove(sequence)
        else:
            self._stop(sequence)

    def schedule(self) -> list[ScheduledSequence]:
        """Choose the sequences of the next step and fill their cells: generating ones first, then prompts in order."""
        decodes = self._schedule_decodes()
        if decodes:
            self.cache.offloading.offload_excess()
        budget = self._max_num_batched_tokens - sum(decode.num_scheduled_tokens for decode in decodes)
        if decodes:
            budget = min(budget, self._prefill_chunk_size)
        prefills = self._schedule_prefills(budget)
        if not decodes:
            self.cache.offloading.offload_excess(OFFLOADED_PER_TOKEN * sum(prefill.num_tokens for prefill in prefills))
        return decodes + prefills

    def commit(self, scheduled: ScheduledSequence) -> None:
        """Share the prompt tokens that the step has computed. Called after the step."""
        sequence = scheduled.sequence
        sequence.num_in_flight_tokens = 0
        if sequence.lease is not None and scheduled.start < sequence.num_prompt_tokens:
            self.cache.commit(sequence.lease, sequence.tokens[: sequence.lease.length])

    def accept_draft(self, scheduled: ScheduledSequence, num_accepted_tokens: int) -> None:
        """Free the cells of a draft but for its first tokens, which were accepted. Called after :meth:`commit`."""
        if scheduled.draft and scheduled.sequence.lease is not None:
            length = scheduled.start + scheduled.num_tokens + num_accepted_tokens
            self.cache.truncate(scheduled.sequence.lease, length)

    def _schedule_decodes(self) -> list[ScheduledSequence]:
        """Schedule the newest tokens of the generating sequences, and their drafts in the room that is left."""
        decodes: list[ScheduledSequence] = []
        limit = self._max_decode_tokens
        sizes = {s: min(s.num_uncomputed_tokens, limit) for s in self.running if s.lease and s.is_generating}
        spare = min(self._prefill_chunk_size, self._max_num_batched_tokens - sum(sizes.values()))
        for sequence, n in sizes.items():
            if sequence.lease is not None:
                self._reserve_or_preempt(sequence, n)
        for sequence, n in sizes.items():
            if sequence.lease is not None:
                decodes.append(self._fill(sequence, n, self._take_draft(sequence, n, spare)))
                spare -= len(decodes[-1].draft)
        return decodes

    def _take_draft(self, sequence: Sequence, n: int, limit: int) -> list[int]:
        """Reserve cells for up to ``limit`` tokens of a sequence's draft, without preemption, and return the tokens.

        A prompt's last token has no draft: the computed tokens of a prompt are shared at once.
        """
        assert sequence.lease is not None
        is_drafted = n == sequence.num_uncomputed_tokens and sequence.lease.length >= sequence.num_prompt_tokens
        draft = sequence.draft[:limit] if is_drafted else []
        return draft if draft and self.cache.reserve(sequence.lease, len(draft)) else []

    def _reserve_or_preempt(self, sequence: Sequence, n: int) -> None:
        """Reserve ``n`` cells, preempting the sequences served last for them, the sequence itself in the end.

        ``running`` is in order of service, so a victim comes after every sequence that has its cells already.
        """
        assert sequence.lease is not None
        missing = n - sequence.lease.reserved
        while missing > 0 and not self.cache.reserve(sequence.lease, missing):
            victim = self.running[-1]
            self._stop(victim)
            self._enqueue(victim)
            self.preemptions += 1
            if victim is sequence:
                return

    def _schedule_prefills(self, budget: int) -> list[ScheduledSequence]:
        """Admit waiting sequences, and schedule chunks of prompts of at most ``budget`` tokens, in order of service.

        A waiting sequence is served before a running prompt of a lower tier. A sequence that waits for a prefix yields
        to the one that prefills it.
        """
        prefills: list[ScheduledSequence] = []
        scored_rows = SCORED_ROWS
        begun = [sequence for sequence in self.running if not sequence.num_in_flight_tokens and not sequence.is_held]
        admits = len(self.running) < self._max_num_seqs
        # In most steps under load every place is taken and no prompt has begun: the queue need not be read.
        waiting = list(islice(filterfalse(_IS_HELD, self.waiting), LOOKAHEAD)) if begun or admits else []
        prompts = list(merge(begun, waiting, key=attrgetter("order")))
        if budget and admits and prompts and prompts[0].lease is None and self._await_prefill(prompts[0]) is None:
            admits = self._admit(prompts[0])
        for prompt in [*self._overtakers(prompts, budget), *prompts]:
            if budget == 0:
                break
            sequence = prompt
            if prompt.lease is None:
                awaited = self._await_prefill(prompt)
                if awaited is not None:
                    sequence = awaited
                else:
                    admits = admits and len(self.running) < self._max_num_seqs and self._admit(prompt)
            if sequence.lease is None or sequence.num_in_flight_tokens:
                continue
            computed = sequence.num_computed_tokens
            size = min(budget, sequence.run_end(computed) - computed)
            if sequence.is_scoring:
                size = min(size, scored_rows)
                scored_rows -= size
            if size:
                prefills.append(self._fill(sequence, size))
                budget -= size
        return prefills

    def _overtakers(self, prompts: list[Sequence], budget: int) -> list[Sequence]:
        """Choose short prompts that go before a long one: mostly turns of conversations whose past is cached.

        Together they get at most half of the step. They leave the last place and the cells to the next waiting
        sequence, and overtake no higher tier: so the first prompt goes on in every step.
        """
        if not prompts or self._missing_tokens(prompts[0]) <= budget // 2:
            return []
        chosen: list[Sequence] = []
        spare, places = budget // 2, self._max_num_seqs - len(self.running)
        next_waiting = next((sequence for sequence in prompts if sequence.lease is None), None)
        cells = 0 if next_waiting is None else self._missing_cells(next_waiting)
        tier = _tier(prompts[0])
        for sequence in prompts[1:OVERTAKING_LOOKAHEAD]:
            is_waiting, is_next = sequence.lease is None, sequence is next_waiting
            tier = min(tier, _tier(sequence))
            # A step has room for the logits of one prompt's rows only: the first prompt must not wait for others'.
            if sequence.is_scoring or _tier(sequence) > tier or (is_waiting and places <= (0 if is_next else 1)):
                continue
            n = self._missing_tokens(sequence)
            if n > min(spare, self._prefill_chunk_size // 2):
                continue
            if is_waiting:
                wanted = (0 if is_next else self._missing_cells(sequence)) + GROWTH_HEADROOM
                headroom = GROWTH_HEADROOM * len(self.running)
                if not self.cache.pool.fits(cells + wanted + headroom) or self._await_prefill(sequence) is not None:
                    continue
                cells += wanted
                places -= 1
            chosen.append(sequence)
            spare -= n
        return chosen

    def _missing_tokens(self, sequence: Sequence) -> int:
        """Return how many tokens must be computed before the sequence generates."""
        if sequence.lease is not None:
            return sequence.num_uncomputed_tokens
        return len(sequence.tokens) - self.cache.match_length(sequence.request.cache_salt, sequence.tokens)

    def _missing_cells(self, sequence: Sequence) -> int:
        return self.cache.missing_cells(sequence.request.cache_salt, sequence.tokens)

    def _admit(self, sequence: Sequence) -> bool:
        """Give a waiting sequence a lease and cells for all its tokens; return False when they are not free now."""
        lease = self._acquire(sequence)
        if lease is None:
            return False
        sequence.lease = lease
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = lease.length
        self.waiting.remove(sequence)
        insort(self.running, sequence, key=lambda s: s.order)
        return True

    def _acquire(self, sequence: Sequence) -> Lease | None:
        if not self.cache.pool.fits(self._missing_cells(sequence) + GROWTH_HEADROOM * len(self.running)):
            return None
        lease = self.cache.acquire(sequence.request.cache_salt, sequence.tokens)
        if lease is None:
            return None
        if not self.cache.reserve(lease, len(sequence.tokens) - lease.length):
            self.cache.release(lease, sequence.tokens[: lease.length])
            return None
        return lease

    def _await_prefill(self, sequence: Sequence) -> Sequence | None:
        """Note, and return, the running sequence that prefills a prefix for a waiting one; None when none does."""
        if not sequence.is_awaiting_prefill:
            sequence.awaited_prefill = self._find_prefill(sequence)
        return None if sequence.awaited_prefill is None else sequence.awaited_prefill[0]

    def _find_prefill(self, sequence: Sequence) -> tuple[Sequence, int] | None:
        """Return a running prefill that is worth waiting for, and the length of the prefix that it shares."""
        for other in self.running:
            common = self._shared_prefill_length(other, sequence)
            worthwhile = 1 if other.request is sequence.request else SHARED_PREFIX_MIN
            if common < worthwhile:
                continue
            if common - self.cache.match_length(sequence.request.cache_salt, sequence.tokens) >= worthwhile:
                return other, common
        return None

    @staticmethod
    def _shared_prefill_length(other: Sequence, sequence: Sequence) -> int:
        """Return how many tokens of a prefilling sequence another one begins with, its last token left out."""
        if other.num_uncomputed_tokens <= 1 or other.request.cache_salt != sequence.request.cache_salt:
            return 0
        return common_length(other.tokens, sequence.tokens, 0, len(sequence.tokens) - 1)

    def _fill(self, sequence: Sequence, n: int, draft: list[int] | None = None) -> ScheduledSequence:
        assert sequence.lease is not None
        scheduled = ScheduledSequence(sequence, sequence.lease.length, n, draft or [])
        self.cache.fill(sequence.lease, scheduled.num_scheduled_tokens)
        sequence.num_in_flight_tokens = scheduled.num_scheduled_tokens
        return scheduled

    def _stop(self, sequence: Sequence) -> None:
        assert sequence.lease is not None
        self.running.remove(sequence)
        self.cache.release(sequence.lease, sequence.tokens[: sequence.lease.length])
        sequence.lease = None
        sequence.num_in_flight_tokens = 0

    def _enqueue(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=lambda s: s.order)


def _tier(sequence: Sequence) -> float:
    return TIER_OFFSET[sequence.request.service_tier]
