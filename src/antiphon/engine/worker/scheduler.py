"""Who runs in the next step, and with how many tokens. Pure: the clock is an argument, nothing here decodes.

A step carries the newest tokens of every generating sequence and, within a bound, chunks of prompts (chunked prefill),
so that a long prompt never stalls the streams of others. Prompts are served in order of arrival, but for tiers, and for
short ones, which need not wait for the whole of a long one: half of a step is theirs. When cells run out the sequence
served last is preempted: its cells become cached prefixes and it waits again, to be recomputed from what is still
cached (vLLM: recomputation).
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
"""Seconds by which a tier is served as if it had come earlier or later: a flex request overtakes newer default ones."""
SHARED_PREFIX_MIN: Final = 16
"""Tokens: a request waits for another's prefill when that saves at least so many."""
GROWTH_HEADROOM: Final = 16
"""Cells per running sequence that admission leaves free, so that a newcomer is not preempted at once."""
LOOKAHEAD: Final = 64
"""Waiting sequences that one step looks at, so that a long queue costs no more than a short one."""
MOVED_FOR_A_TOKEN: Final = 4
"""Tokens that a step of prompts alone may move to host memory for each that it computes, which takes longer by far."""
OVERTAKERS: Final = 16
"""Sequences that one step looks at for short prompts behind a long one."""
_HELD: Final = attrgetter("held")


class ScheduledSequence(Struct, frozen=True):
    """``n`` tokens of one sequence, from position ``start`` on, and behind its last one a draft."""

    sequence: Sequence
    start: int
    n: int
    draft: list[int] = []

    @property
    def size(self) -> int:
        """Tokens that the step carries for it."""
        return self.n + len(self.draft)

    @property
    def samples(self) -> bool:
        """Whether these tokens reach the sequence's last one, whose logits give the next token."""
        return self.start + self.n == len(self.sequence.tokens)


class Scheduler:
    """The waiting queue, in order of service, and the running sequences."""

    def __init__(self, cache: KVCache, options: EngineOptions) -> None:
        assert options.max_num_seqs <= options.max_num_batched_tokens
        self.cache: Final = cache
        self._max_num_seqs: Final = options.max_num_seqs
        self._max_num_batched_tokens: Final = options.max_num_batched_tokens
        self._prefill_chunk_size: Final = options.prefill_chunk_size
        self._max_decode_tokens: Final = options.max_num_batched_tokens // options.max_num_seqs
        """Tokens that a generating sequence may carry in a step: more than one after a grammar has forced some."""
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._arrivals = 0
        self.preemptions = 0

    def add(self, request: GenerateRequest, now: float, indices: Iterable[int] | None = None) -> list[Sequence]:
        """Queue the choices of a request, or those in ``indices``; ``now`` is in seconds of a monotonic clock."""
        priority = now + TIER_OFFSET[request.service_tier]
        self._arrivals += 1
        sequences = [Sequence(request, index, self._arrivals, priority) for index in indices or range(request.n)]
        for sequence in sequences:
            self._enqueue(sequence)
        return sequences

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, waiting or running; what it computed stays cached until the cells are needed."""
        if sequence.lease is None:
            self.waiting.remove(sequence)
        else:
            self._stop(sequence)

    def schedule(self) -> list[ScheduledSequence]:
        """Choose the next step's work and fill its cells: generating sequences first, then prompts in order."""
        decodes = self._decodes()
        if decodes:
            self.cache.offloading.offload_excess()
        budget = self._max_num_batched_tokens - sum(work.size for work in decodes)
        if decodes:
            budget = min(budget, self._prefill_chunk_size)
        prefills = self._prefills(budget)
        if not decodes:
            self.cache.offloading.offload_excess(MOVED_FOR_A_TOKEN * sum(work.n for work in prefills))
        return decodes + prefills

    def commit(self, work: ScheduledSequence) -> None:
        """After the step: what a prefill computed can be shared from now on."""
        sequence = work.sequence
        sequence.in_flight = 0
        if sequence.lease is not None and work.start < sequence.prompt_len:
            self.cache.commit(sequence.lease, sequence.tokens[: sequence.lease.length])

    def keep(self, work: ScheduledSequence, accepted: int) -> None:
        """After :meth:`commit`: free the cells of a draft but for its first ``accepted`` tokens."""
        if work.draft and work.sequence.lease is not None:
            self.cache.truncate(work.sequence.lease, work.start + work.n + accepted)

    def _decodes(self) -> list[ScheduledSequence]:
        works = []
        sizes = {s: min(s.uncomputed, self._max_decode_tokens) for s in self.running if s.lease and s.generates}
        spare = min(self._prefill_chunk_size, self._max_num_batched_tokens - sum(sizes.values()))
        for sequence, n in sizes.items():
            if sequence.lease is not None:
                self._reserve_or_preempt(sequence, n)
        for sequence, n in sizes.items():
            if sequence.lease is not None:
                works.append(self._fill(sequence, n, self._draft(sequence, n, spare)))
                spare -= len(works[-1].draft)
        return works

    def _draft(self, sequence: Sequence, n: int, limit: int) -> list[int]:
        """Take up to ``limit`` tokens of a sequence's draft, with cells that nobody is preempted for.

        None behind the prompt's last token: what a step computes of a prompt is shared as soon as it is computed.
        """
        assert sequence.lease is not None
        whole = n == sequence.uncomputed and sequence.lease.length >= sequence.prompt_len
        draft = sequence.draft[:limit] if whole else []
        return draft if draft and self.cache.reserve(sequence.lease, len(draft)) else []

    def _reserve_or_preempt(self, sequence: Sequence, n: int) -> None:
        """Get ``n`` cells, from whoever is served last if need be: that may be the sequence itself.

        ``running`` is in order of service, so a victim comes after the sequences that have got theirs.
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

    def _prefills(self, budget: int) -> list[ScheduledSequence]:
        """Chunks of prompts in order of service: who begins now may go before a lower tier's prompt that has begun.

        Whoever shares a prefix that is being computed lends its place to the one that computes it.
        """
        works: list[ScheduledSequence] = []
        begun = [sequence for sequence in self.running if not sequence.in_flight and not sequence.held]
        admits = len(self.running) < self._max_num_seqs
        # With every place taken and no prompt begun, which is most steps under load, nobody who waits is looked at.
        waiting = list(islice(filterfalse(_HELD, self.waiting), LOOKAHEAD)) if begun or admits else []
        prompts = list(merge(begun, waiting, key=attrgetter("order")))
        if budget and admits and prompts and prompts[0].lease is None and not self._must_wait(prompts[0]):
            admits = self._admit(prompts[0])
        for first in [*self._overtakers(prompts, budget), *prompts]:
            sequence = first
            if budget == 0:
                break
            if first.lease is None and self._must_wait(first):
                assert first.waits_for is not None
                sequence = first.waits_for[0]
            elif first.lease is None:
                admits = admits and len(self.running) < self._max_num_seqs and self._admit(first)
            if sequence.lease is None or sequence.in_flight:
                continue
            works.append(self._fill(sequence, min(budget, sequence.uncomputed)))
            budget -= works[-1].n
        return works

    def _overtakers(self, prompts: list[Sequence], budget: int) -> list[Sequence]:
        """Short prompts behind a long one, which go before it: turns of conversations whose past is cached, mostly.

        Together they get at most half of the step, and never the last place, nor cells for which somebody waits, nor
        anything before a higher tier: so the first prompt goes on in every step, and nobody starves.
        """
        if not prompts or self._missing(prompts[0]) <= budget // 2:
            return []
        found: list[Sequence] = []
        spare, places = budget // 2, self._max_num_seqs - len(self.running)
        next_in = next((sequence for sequence in prompts if sequence.lease is None), None)
        cells = 0 if next_in is None else self._cells(next_in)
        tier = _tier(prompts[0])
        for sequence in prompts[1:OVERTAKERS]:
            waits, tier = sequence.lease is None, min(tier, _tier(sequence))
            if _tier(sequence) > tier or (waits and places <= (sequence is not next_in)):
                continue
            n = self._missing(sequence)
            if n > min(spare, self._prefill_chunk_size // 2):
                continue
            if waits:
                wanted = (0 if sequence is next_in else self._cells(sequence)) + GROWTH_HEADROOM
                headroom = GROWTH_HEADROOM * len(self.running)
                if not self.cache.pool.fits(cells + wanted + headroom) or self._must_wait(sequence):
                    continue
                cells += wanted
            found.append(sequence)
            spare -= n
            places -= waits
        return found

    def _missing(self, sequence: Sequence) -> int:
        """Tokens that must be computed before the sequence generates."""
        if sequence.lease is not None:
            return sequence.uncomputed
        return len(sequence.tokens) - self.cache.match_length(sequence.request.cache_salt, sequence.tokens)

    def _admit(self, sequence: Sequence) -> bool:
        """Give a waiting sequence a lease and cells for all its tokens; False when they cannot be had now."""
        lease = self._lease(sequence)
        if lease is None:
            return False
        sequence.lease = lease
        if sequence.cached_tokens is None:
            sequence.cached_tokens = lease.length
        self.waiting.remove(sequence)
        insort(self.running, sequence, key=lambda s: s.order)
        return True

    def _cells(self, sequence: Sequence) -> int:
        return self.cache.missing_cells(sequence.request.cache_salt, sequence.tokens)

    def _fits(self, sequence: Sequence) -> bool:
        return self.cache.pool.fits(self._cells(sequence) + GROWTH_HEADROOM * len(self.running))

    def _lease(self, sequence: Sequence) -> Lease | None:
        if not self._fits(sequence):
            return None
        lease = self.cache.acquire(sequence.request.cache_salt, sequence.tokens)
        if lease is None:
            return None
        if not self.cache.reserve(lease, len(sequence.tokens) - lease.length):
            self.cache.release(lease, sequence.tokens[: lease.length])
            return None
        return lease

    def _must_wait(self, sequence: Sequence) -> bool:
        """Whether a running prefill computes a prefix that this sequence can share instead of computing it again."""
        if sequence.waits_for is not None:
            other, common = sequence.waits_for
            if other.lease is not None and other.computed < common:
                return True
            sequence.waits_for = None
        for other in self.running:
            common = self._prefix_being_computed(other, sequence)
            worth = 1 if other.request is sequence.request else SHARED_PREFIX_MIN
            if common < worth:
                continue
            if common - self.cache.match_length(sequence.request.cache_salt, sequence.tokens) >= worth:
                sequence.waits_for = (other, common)
                return True
        return False

    @staticmethod
    def _prefix_being_computed(other: Sequence, sequence: Sequence) -> int:
        """Tokens that ``other`` is prefilling and that ``sequence`` begins with, its last token left out."""
        if other.uncomputed <= 1 or other.request.cache_salt != sequence.request.cache_salt:
            return 0
        return common_length(other.tokens, sequence.tokens, 0, len(sequence.tokens) - 1)

    def _fill(self, sequence: Sequence, n: int, draft: list[int] | None = None) -> ScheduledSequence:
        assert sequence.lease is not None
        work = ScheduledSequence(sequence, sequence.lease.length, n, draft or [])
        self.cache.fill(sequence.lease, work.size)
        sequence.in_flight = work.size
        return work

    def _stop(self, sequence: Sequence) -> None:
        assert sequence.lease is not None
        self.running.remove(sequence)
        self.cache.release(sequence.lease, sequence.tokens[: sequence.lease.length])
        sequence.lease = None
        sequence.in_flight = 0

    def _enqueue(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=lambda s: s.order)


def _tier(sequence: Sequence) -> float:
    return TIER_OFFSET[sequence.request.service_tier]
