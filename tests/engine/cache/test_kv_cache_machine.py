"""Tests of the KV cache against a model of llama.cpp's memory, in every order of calls."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.lease import Lease
from tests.engine.cache.cache_trial import compute
from tests.engine.fake_model import FakeMemory, assert_agrees

SALTS = st.sampled_from(["", "a"])
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=12)


class CacheMachine(RuleBasedStateMachine):
    """Requests over a two-letter alphabet, so that prefixes meet, with few cells and few sequence ids."""

    @initialize(cells=st.integers(4, 30), seq_ids=st.integers(1, 8), host=st.sampled_from([0, 3, 10, 60]))
    def start(self, cells: int, seq_ids: int, host: int) -> None:
        self.memory = FakeMemory(cells, seq_ids)
        self.cache = KVCache(self.memory, cells, seq_ids, host)
        self.cache.offloading.min_kept_copy, self.cache.offloading.max_unused_cells = 3, 1
        self.tokens: dict[Lease, list[int]] = {}

    def pick(self, which: int) -> Lease:
        return list(self.tokens)[which % len(self.tokens)]

    def computed(self, lease: Lease) -> list[int]:
        return self.tokens[lease][: lease.length]

    @rule(salt=SALTS, prompt=PROMPTS)
    def acquire(self, salt: str, prompt: list[int]) -> None:
        matched = self.cache.match_length(salt, prompt)
        in_use = self.cache.pool.n_seq_ids - len(self.tokens)
        lease = self.cache.acquire(salt, prompt)
        if lease is None:
            assert self.tokens, "without a lease a sequence id is always free"
            return
        assert in_use > 0
        assert lease.length <= matched < len(prompt)
        self.tokens[lease] = list(prompt)

    @rule(salt=SALTS, prompt=PROMPTS, keep=st.booleans())
    def run_a_whole_prompt(self, salt: str, prompt: list[int], *, keep: bool) -> None:
        held = set(self.tokens)
        self.acquire(salt, prompt)
        for lease in set(self.tokens) - held:
            if self.cache.reserve(lease, len(prompt) - lease.length):
                self.cache.fill(lease, lease.reserved)
                compute(self.memory, lease, prompt)
                self.cache.commit(lease, prompt)
            if not keep:
                self.cache.release(lease, self.computed(lease))
                del self.tokens[lease]

    @precondition(lambda self: self.tokens)
    @rule(which=st.integers(0, 7), n=st.integers(0, 12))
    def reserve(self, which: int, n: int) -> None:
        lease = self.pick(which)
        others = sum(each.owned + each.reserved for each in self.tokens)
        locked = sum(len(node.tokens) for node in self.cache.pool.tree.nodes() if node.ref_count)
        reserved = lease.reserved
        got = self.cache.reserve(lease, n)
        assert got == (n <= self.cache.pool.n_cells - others - locked)
        assert lease.reserved == reserved + n * got

    @precondition(lambda self: self.tokens)
    @rule(which=st.integers(0, 7), n=st.integers(1, 12), grown=PROMPTS)
    def fill_and_compute(self, which: int, n: int, grown: list[int]) -> None:
        lease = self.pick(which)
        tokens = self.tokens[lease]
        tokens += grown[: max(0, lease.length + min(n, lease.reserved) - len(tokens))]
        self.cache.fill(lease, min(n, lease.reserved, len(tokens) - lease.length))
        compute(self.memory, lease, self.computed(lease))

    @precondition(lambda self: self.tokens)
    @rule(which=st.integers(0, 7), n=st.integers(0, 12))
    def truncate(self, which: int, n: int) -> None:
        lease = self.pick(which)
        kept = max(lease.shared, lease.length - n)
        free = self.cache.pool.free_cells
        dropped = lease.length - kept
        self.cache.truncate(lease, kept)
        del self.tokens[lease][kept + lease.reserved :]
        assert (kept, free + dropped) == (lease.length, self.cache.pool.free_cells)

    @rule(per_step=st.integers(1, 4))
    def offload_idle(self, per_step: int) -> None:
        self.cache.offloading.offloaded_per_step = per_step
        self.cache.offloading.offload_excess()

    @precondition(lambda self: not self.tokens)
    @rule()
    def copy_idle_prefix(self) -> None:
        cells = self.cache.pool.cached_cells
        self.cache.offloading.copy_unused_prefix()
        assert cells == self.cache.pool.cached_cells

    @precondition(lambda self: self.tokens)
    @rule(which=st.integers(0, 7))
    def commit(self, which: int) -> None:
        lease = self.pick(which)
        self.cache.commit(lease, self.computed(lease))

    @precondition(lambda self: self.tokens)
    @rule(which=st.integers(0, 7))
    def release(self, which: int) -> None:
        lease = self.pick(which)
        self.cache.release(lease, self.computed(lease))
        del self.tokens[lease]

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "cache"):
            assert_agrees(self.cache, self.memory, {lease: self.computed(lease) for lease in self.tokens})

    def teardown(self) -> None:
        if not hasattr(self, "cache"):
            return
        for lease in list(self.tokens):
            self.cache.release(lease, self.computed(lease))
        assert 0 == self.cache.pool.owned_cells
        assert self.cache.pool.evictable_cells == self.cache.pool.cached_cells == len(self.memory.cells)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
