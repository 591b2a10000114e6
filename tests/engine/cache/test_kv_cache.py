"""The cache's bookkeeping against a model of llama.cpp's memory, in every order of calls."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.lease import Lease
from tests.engine.fake_model import FakeMemory, assert_agrees

SALTS = st.sampled_from(["", "a"])
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=12)


def compute(memory: FakeMemory, lease: Lease, tokens: list[int]) -> None:
    """Write the lease's cells from where they end to the length of ``tokens``, as a step does."""
    for position in range(len(memory.held(lease.seq_id)), len(tokens)):
        memory.write(lease.seq_id, position, tokens[position])


class CacheMachine(RuleBasedStateMachine):
    """Requests over a two-letter alphabet, so that prefixes meet, with few cells and few sequence ids."""

    @initialize(cells=st.integers(4, 30), seq_ids=st.integers(1, 8), host=st.sampled_from([0, 3, 10, 60]))
    def start(self, cells: int, seq_ids: int, host: int) -> None:
        self.memory = FakeMemory(cells, seq_ids)
        self.cache = KVCache(self.memory, cells, seq_ids, host)
        self.cache._segment, self.cache._cold_cells = 3, 1
        self.tokens: dict[Lease, list[int]] = {}

    def pick(self, which: int) -> Lease:
        return list(self.tokens)[which % len(self.tokens)]

    def computed(self, lease: Lease) -> list[int]:
        return self.tokens[lease][: lease.length]

    @rule(salt=SALTS, prompt=PROMPTS)
    def acquire(self, salt: str, prompt: list[int]) -> None:
        matched = self.cache.match_length(salt, prompt)
        in_use = self.cache._n_seq_ids - len(self.tokens)
        lease = self.cache.acquire(salt, prompt)
        if lease is None:
            assert self.tokens, "with no lease held there is always an id to be had"
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
        locked = sum(len(node.tokens) for node in self.cache._tree.nodes() if node.ref)
        reserved = lease.reserved
        got = self.cache.reserve(lease, n)
        assert got == (n <= self.cache.n_cells - others - locked)
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
        free = self.cache.free_cells
        dropped = lease.length - kept
        self.cache.truncate(lease, kept)
        del self.tokens[lease][kept + lease.reserved :]
        assert (kept, free + dropped) == (lease.length, self.cache.free_cells)

    @rule(moved_at_once=st.integers(1, 4))
    def offload_idle(self, moved_at_once: int) -> None:
        self.cache._moved_at_once = moved_at_once
        self.cache.offload_idle()

    @precondition(lambda self: not self.tokens)
    @rule()
    def copy_idle_prefix(self) -> None:
        cells = self.cache.cached_cells
        self.cache.copy_idle_prefix()
        assert cells == self.cache.cached_cells

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
        assert self.cache.owned_cells == 0
        assert self.cache.evictable_cells == self.cache.cached_cells == len(self.memory.cells)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def new_cache(n_cells: int = 64, n_seq_ids: int = 8, n_host_cells: int = 0) -> tuple[KVCache, FakeMemory]:
    memory = FakeMemory(n_cells, n_seq_ids)
    return KVCache(memory, n_cells, n_seq_ids, n_host_cells), memory


def run(cache: KVCache, memory: FakeMemory, tokens: list[int], salt: str = "") -> Lease:
    """Acquire, reserve, fill, compute and commit all of ``tokens``."""
    lease = cache.acquire(salt, tokens)
    assert lease is not None
    n = len(tokens) - lease.length
    assert cache.reserve(lease, n)
    cache.fill(lease, n)
    compute(memory, lease, tokens)
    cache.commit(lease, tokens)
    return lease


def test_a_released_prefix_is_found_by_the_next_request_but_for_its_last_token() -> None:
    cache, memory = new_cache()
    cache.release(run(cache, memory, [1, 2, 3]), [1, 2, 3])
    assert [2, 3, 3, 1, 0] == [
        cache.match_length("", tokens) for tokens in ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 3], [2, 1])
    ]


def test_a_committed_prefix_is_shared_while_its_sequence_still_runs() -> None:
    cache, memory = new_cache()
    first = run(cache, memory, [1, 2, 3, 4])
    second = run(cache, memory, [1, 2, 3, 5])
    assert 5 == len(memory.cells)
    assert_agrees(cache, memory, {first: [1, 2, 3, 4], second: [1, 2, 3, 5]})


def test_the_same_tokens_computed_twice_are_kept_once() -> None:
    cache, memory = new_cache()
    leases = [cache.acquire("", [1, 2, 3]) for _ in range(2)]
    for lease in leases:
        assert lease is not None
        assert cache.reserve(lease, 3)
        cache.fill(lease, 3)
        compute(memory, lease, [1, 2, 3])
    assert 6 == len(memory.cells)
    for lease in leases:
        assert lease is not None
        cache.commit(lease, [1, 2, 3])
    assert 3 == len(memory.cells) == cache.cached_cells


def test_a_salt_does_not_see_the_prefixes_of_another() -> None:
    cache, memory = new_cache()
    cache.release(run(cache, memory, [1, 2, 3], "a"), [1, 2, 3])
    assert (2, 0) == (cache.match_length("a", [1, 2, 3]), cache.match_length("b", [1, 2, 3]))


def test_eviction_takes_the_prefix_that_was_idle_for_longest() -> None:
    cache, memory = new_cache(n_cells=9)
    for tokens in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        cache.release(run(cache, memory, tokens), tokens)
    cache.release(run(cache, memory, [1, 1, 1]), [1, 1, 1])
    cache.release(run(cache, memory, [4, 4, 4]), [4, 4, 4])
    assert [2, 0, 2, 2] == [cache.match_length("", [i, i, i]) for i in (1, 2, 3, 4)]


def test_cells_that_a_running_sequence_goes_through_are_not_evicted() -> None:
    cache, memory = new_cache(n_cells=6)
    lease = run(cache, memory, [1, 2, 3])
    assert not cache.fits(4)
    assert not cache.reserve(lease, 4)
    assert cache.reserve(lease, 3)
    assert 0 == cache.free_cells


def test_reserved_cells_are_not_given_to_others_and_come_back_on_release() -> None:
    cache, _ = new_cache(n_cells=6)
    lease = cache.acquire("", [1, 2])
    assert lease is not None
    assert cache.reserve(lease, 5)
    assert (1, 5) == (cache.free_cells, cache.owned_cells)
    cache.release(lease, [])
    assert (6, 0) == (cache.free_cells, cache.owned_cells)


def test_filling_more_than_was_reserved_is_a_programmer_mistake() -> None:
    cache, _ = new_cache()
    lease = cache.acquire("", [1, 2])
    assert lease is not None
    with pytest.raises(AssertionError):
        cache.fill(lease, 1)


def test_without_a_sequence_id_nothing_is_acquired_and_nothing_is_kept() -> None:
    cache, memory = new_cache(n_seq_ids=1)
    lease = cache.acquire("", [1, 2])
    assert lease is not None
    assert cache.acquire("other", [1, 2]) is None
    assert_agrees(cache, memory, {lease: []})


def test_without_an_id_for_the_cut_the_prefix_ends_where_a_node_ends() -> None:
    cache, memory = new_cache(n_seq_ids=2)
    cache.release(run(cache, memory, [1, 1, 1, 1]), [1, 1, 1, 1])
    lease = cache.acquire("", [1, 1, 2, 2])
    assert lease is not None
    assert 0 == lease.length
    assert_agrees(cache, memory, {lease: []})


def test_an_evicted_salt_leaves_nothing_behind() -> None:
    cache, memory = new_cache(n_cells=4)
    for salt in "abcdef":
        cache.release(run(cache, memory, [1, 2, 3], salt), [1, 2, 3])
    assert ["f"] == list(cache._tree._roots)


def test_an_evicted_prefix_comes_back_from_host_memory_without_being_computed() -> None:
    cache, memory = new_cache(n_cells=6, n_host_cells=12)
    for tokens in ([1, 1, 1, 1], [2, 2, 2, 2]):
        cache.release(run(cache, memory, tokens), tokens)
    assert 3 == cache.match_length("", [1, 1, 1, 1])
    lease = cache.acquire("", [1, 1, 1, 1, 5])
    assert lease is not None
    assert 4 == lease.length
    assert_agrees(cache, memory, {lease: [1, 1, 1, 1]})


def test_what_must_be_filled_counts_what_is_in_host_memory_only() -> None:
    cache, memory = new_cache(n_cells=6, n_host_cells=12)
    for tokens in ([1, 1, 1, 1], [2, 2, 2, 2]):
        cache.release(run(cache, memory, tokens), tokens)
    assert [5, 1, 1] == [cache.missing_cells("", tokens) for tokens in ([1, 1, 1, 1, 5], [2, 2, 2, 2, 5], [3])]


def test_without_cells_for_all_of_it_a_prefix_comes_back_as_far_as_they_go() -> None:
    cache, memory = new_cache(n_cells=8, n_host_cells=16)
    cache.release(run(cache, memory, [1, 1, 1, 1]), [1, 1, 1, 1])
    cache.release(run(cache, memory, [1, 1, 2, 2]), [1, 1, 2, 2])
    other = run(cache, memory, [7] * 6)
    lease = cache.acquire("", [1, 1, 2, 2, 2])
    assert lease is not None
    assert 2 == lease.length
    assert_agrees(cache, memory, {other: [7] * 6, lease: [1, 1]})


def test_what_came_back_leaves_again_without_being_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, memory = new_cache(n_cells=6, n_host_cells=12)
    saved: list[dict[int, int]] = []
    save = memory.save

    def noted(seq_id: int) -> dict[int, int]:
        saved.append(save(seq_id))
        return saved[-1]

    monkeypatch.setattr(memory, "save", noted)
    for tokens in ([1] * 4, [2] * 4, [1] * 4, [2] * 4):
        lease = cache.acquire("", [*tokens, 9])
        assert lease is not None
        if not lease.length:
            assert cache.reserve(lease, 4)
            cache.fill(lease, 4)
            compute(memory, lease, tokens)
        cache.release(lease, tokens)
    assert 2 == len(saved)


def test_host_memory_keeps_the_prefixes_used_last() -> None:
    cache, memory = new_cache(n_cells=3, n_host_cells=6)
    for i in (1, 2, 3, 4):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
    assert [0, 2, 2, 2] == [cache.match_length("", [i] * 3) for i in (1, 2, 3, 4)]


def test_who_starts_alone_finds_only_its_own_prefix_in_the_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    for i in (1, 2):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
    lease = cache.acquire("", [1, 1, 1, 5])
    assert lease is not None
    assert (3, 3) == (lease.length, cache.cached_cells)


def test_what_is_cut_off_the_prefix_of_who_starts_alone_leaves_the_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.release(run(cache, memory, [1, 2, 3, 4]), [1, 2, 3, 4])
    lease = cache.acquire("", [1, 2, 5])
    assert lease is not None
    assert (2, 2) == (lease.length, cache.cached_cells)


def test_who_starts_alone_waits_for_no_more_than_a_part_of_the_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._moved_for_one = 2
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    assert cache.acquire("", [2, 3]) is not None
    assert 3 == cache.cached_cells


def test_without_room_in_host_memory_nothing_makes_way() -> None:
    cache, memory = new_cache(n_host_cells=2)
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    assert cache.acquire("", [2, 3]) is not None
    assert 3 == cache.cached_cells


def test_who_joins_others_moves_nothing() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    held = run(cache, memory, [2] * 3)
    cache.release(run(cache, memory, [3] * 3), [3] * 3)
    before = cache.cached_cells
    assert cache.acquire("", [4, 5]) is not None
    assert before == cache.cached_cells
    cache.release(held, [2] * 3)


def test_what_nobody_uses_is_copied_piece_by_piece_and_stays_in_its_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._moved_for_one = 4
    cache.release(run(cache, memory, [1] * 10), [1] * 10)
    copied = [(cache.copy_idle_prefix(), cache.host_cells, cache.cached_cells) for _ in range(4)]
    assert [(True, 4, 10), (True, 8, 10), (True, 10, 10), (False, 10, 10)] == copied


def test_what_was_copied_leaves_its_cells_for_who_starts_alone_at_once() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._moved_for_one = 4
    cache.release(run(cache, memory, [1] * 10), [1] * 10)
    while cache.copy_idle_prefix():
        pass
    cache._moved_for_one = 0
    assert cache.acquire("", [2] * 3) is not None
    assert (0, 9) == (cache.cached_cells, cache.match_length("", [1] * 10))


def test_no_more_is_copied_than_host_memory_holds() -> None:
    cache, memory = new_cache(n_host_cells=5)
    cache.release(run(cache, memory, [1] * 6), [1] * 6)
    assert (False, 0) == (cache.copy_idle_prefix(), cache.host_cells)


def test_what_is_too_much_for_host_memory_is_not_cut_either() -> None:
    cache, memory = new_cache(n_host_cells=3)
    cache._moved_for_one = 4
    cache.release(run(cache, memory, [1] * 10), [1] * 10)
    assert not cache.copy_idle_prefix()
    assert [10] == [len(node.tokens) for node in cache._tree.nodes()]


def test_without_a_free_id_nothing_is_cut_for_a_copy() -> None:
    cache, memory = new_cache(n_seq_ids=2, n_host_cells=64)
    cache._moved_for_one = 4
    cache.release(run(cache, memory, [1] * 10), [1] * 10)
    held = cache._free_ids.pop()
    assert not cache.copy_idle_prefix()
    cache._free_ids.append(held)
    assert cache.copy_idle_prefix()


def test_what_somebody_uses_is_not_copied() -> None:
    cache, memory = new_cache(n_host_cells=64)
    run(cache, memory, [1] * 3)
    assert not cache.copy_idle_prefix()


def test_cooling_leaves_a_few_cells_where_they_are() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells, cache._moved_for_one = 4, 0
    for i in (1, 2, 3):
        cache.release(run(cache, memory, [i] * 2), [i] * 2)
    counts = []
    for _ in range(3):
        cache.offload_idle(1)
        counts.append((cache.cached_cells, cache.host_cells))
    assert [(5, 1), (4, 2), (4, 2)] == counts


def test_cooling_takes_what_lies_behind_cells_that_are_free_now() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells = 4
    long = run(cache, memory, list(range(100, 130)))
    short = run(cache, memory, [1, 2, 3])
    cache.release(short, [1, 2, 3])
    cache.offload_idle()
    assert 33 == cache.cached_cells
    cache.release(long, list(range(100, 130)))
    cache.offload_idle()
    assert (0, 33) == (cache.cached_cells, cache.host_cells)


def test_what_came_back_lies_where_it_is_now() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells, cache._moved_for_one = 4, 0
    lease = run(cache, memory, [1, 2, 3])
    lease.node.filled = 60
    cache.release(lease, [1, 2, 3])
    cache.offload_idle()
    again = run(cache, memory, [1, 2, 3])
    cache.release(again, [1, 2, 3])
    cache.offload_idle()
    assert 3 == cache.cached_cells


def test_several_prefixes_are_cooled_at_once_as_far_as_is_allowed() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells, cache._moved_for_one = 0, 0
    for i in (1, 2, 3):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
    counts = []
    for most in (0, 5, 4):
        cache.offload_idle(most)
        counts.append(cache.cached_cells)
    assert [9, 4, 0] == counts


def test_cooling_moves_a_long_prefix_piece_by_piece_from_its_end() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells = 1
    cache._moved_at_once = 4
    cache.release(run(cache, memory, [1] * 10), [1] * 10)
    counts = []
    for _ in range(4):
        cache.offload_idle()
        counts.append(cache.cached_cells)
    assert [6, 2, 0, 0] == counts
    assert 9 == cache.match_length("", [1] * 10)


def test_without_host_memory_nothing_is_cooled() -> None:
    cache, memory = new_cache()
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 4), [1] * 4)
    cache.offload_idle()
    assert 4 == cache.cached_cells


def test_a_long_prefix_with_a_copy_is_continued_in_a_node_of_its_own() -> None:
    cache, memory = new_cache(n_cells=8, n_host_cells=16)
    cache._segment = 4
    cache.release(run(cache, memory, [1] * 4), [1] * 4)
    cache.release(run(cache, memory, [2] * 8), [2] * 8)
    cache.release(run(cache, memory, [1] * 6), [1] * 6)
    assert [[1] * 4, [1] * 2] == [node.tokens for node in cache._tree.match("", [1] * 6, 6)[0]]


def test_a_short_prefix_with_a_copy_is_extended() -> None:
    cache, memory = new_cache(n_cells=8, n_host_cells=16)
    cache.release(run(cache, memory, [1] * 4), [1] * 4)
    cache.release(run(cache, memory, [2] * 8), [2] * 8)
    cache.release(run(cache, memory, [1] * 6), [1] * 6)
    assert [[1] * 6] == [node.tokens for node in cache._tree.match("", [1] * 6, 6)[0]]


def test_a_prefix_that_grows_in_a_memory_that_has_emptied_lies_as_far_back_as_before() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells = 4
    long = run(cache, memory, list(range(100, 130)))
    short = run(cache, memory, [1, 2, 3])
    cache.release(long, list(range(100, 130)))
    cache.offload_idle()
    assert 3 == cache.cached_cells
    assert cache.reserve(short, 1)
    cache.fill(short, 1)
    compute(memory, short, [1, 2, 3, 4])
    cache.release(short, [1, 2, 3, 4])
    assert 4 == cache.cached_cells == cache.evictable_cells
    cache.offload_idle()
    assert (0, 3) == (cache.cached_cells, cache.match_length("", [1, 2, 3, 4]))


def copied_and_resident(n_host_cells: int) -> tuple[KVCache, FakeMemory]:
    """A cache in which a running sequence uses the prefix [1, 1, 1], which has a copy in host memory, too."""
    cache, memory = new_cache(n_host_cells=n_host_cells)
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    cache.offload_idle()
    assert cache.acquire("", [1, 1, 1, 5]) is not None
    assert (3, 3) == (cache.cached_cells, cache.host_cells)
    return cache, memory


def test_the_only_prefix_that_lives_in_host_memory_alone_outlives_the_copy_of_one_that_has_its_cells() -> None:
    cache, memory = copied_and_resident(n_host_cells=5)
    cache.release(run(cache, memory, [2] * 3), [2] * 3)
    cache.offload_idle()
    assert (3, 3, 2) == (cache.cached_cells, cache.host_cells, cache.match_length("", [2] * 3))
    cache.check()


def test_of_several_prefixes_in_host_memory_alone_the_one_that_was_idle_for_longest_goes() -> None:
    cache, memory = copied_and_resident(n_host_cells=8)
    for i in (2, 3):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
        cache.offload_idle()
    assert [3, 0, 2] == [cache.match_length("", [i] * 3 + [5] * (i == 1)) for i in (1, 2, 3)]
    assert (3, 6) == (cache.cached_cells, cache.host_cells)


def test_of_a_prefix_that_is_a_token_too_long_for_one_copy_the_end_is_copied() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._moved_for_one = 2
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    copied = []
    while cache.copy_idle_prefix():
        copied.append(cache.host_cells)
    assert [2, 3] == copied


def test_a_copy_that_cannot_be_brought_back_costs_no_sequence_id(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    cache.offload_idle()
    monkeypatch.setattr(memory, "restore", lambda _seq_id, _copy: False)
    lease = cache.acquire("", [1, 1, 1, 5])
    assert lease is not None
    assert 0 == lease.length
    assert_agrees(cache, memory, {lease: []})


def test_who_computed_what_several_others_committed_meanwhile_shares_all_of_it() -> None:
    cache, memory = new_cache()
    late = cache.acquire("", [1, 2, 3, 4, 5])
    assert late is not None
    for tokens in ([1, 2, 3, 4], [1, 2, 9]):
        cache.release(run(cache, memory, tokens), tokens)
    assert cache.reserve(late, 4)
    cache.fill(late, 4)
    compute(memory, late, [1, 2, 3, 4])
    cache.commit(late, [1, 2, 3, 4])
    assert (5, 5, 4, 0) == (len(memory.cells), cache.cached_cells, late.shared, late.owned)
    assert_agrees(cache, memory, {late: [1, 2, 3, 4]})


def test_the_last_token_of_a_prompt_that_is_cached_whole_must_be_filled() -> None:
    cache, memory = new_cache()
    cache.release(run(cache, memory, [1, 2, 3]), [1, 2, 3])
    assert [1, 2] == [cache.missing_cells("", tokens) for tokens in ([1, 2, 3], [1, 2, 3, 4, 5])]


def test_of_a_prefix_in_host_memory_only_what_is_shared_must_be_filled() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 4), [1] * 4)
    cache.offload_idle()
    assert 2 + 1 == cache.missing_cells("", [1, 1, 9])


def test_a_prefix_with_a_copy_leaves_its_cells_at_once_however_long_it_is() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells, cache._moved_at_once = 1, 4
    cache.release(run(cache, memory, [1] * 10), [1] * 10)
    assert cache.copy_idle_prefix()
    cache.offload_idle()
    assert (0, 10) == (cache.cached_cells, cache.host_cells)


def test_a_prefix_is_copied_where_it_just_fits_into_host_memory() -> None:
    for room, copied in ((3, True), (2, False)):
        cache, memory = new_cache(n_host_cells=room)
        cache.release(run(cache, memory, [1] * 3), [1] * 3)
        assert (copied, 3 * copied) == (cache.copy_idle_prefix(), cache.host_cells)


def test_no_prefix_leaves_its_cells_so_that_a_long_one_can_be_copied_in_pieces() -> None:
    cache, memory = new_cache(n_seq_ids=2, n_host_cells=64)
    cache._moved_for_one = 2
    cache.release(run(cache, memory, [1] * 5), [1] * 5)
    assert [True, False] == [cache.copy_idle_prefix(), cache.copy_idle_prefix()]
    assert (5, 2) == (cache.cached_cells, cache.host_cells)


def test_nothing_makes_way_for_who_starts_alone_that_host_memory_has_no_room_for() -> None:
    cache, memory = new_cache(n_host_cells=4)
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 3), [1] * 3)
    cache.offload_idle()
    cache.release(run(cache, memory, [2] * 3), [2] * 3)
    assert cache.acquire("", [3, 3]) is not None
    assert (3, 3) == (cache.cached_cells, cache.host_cells)
    assert [2, 2] == [cache.match_length("", [i] * 3) for i in (1, 2)]


def test_who_starts_alone_waits_for_a_number_of_tokens_of_all_prefixes_together() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._moved_for_one = 0
    for i in (1, 2, 3):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
    cache._moved_for_one = 5
    assert cache.acquire("", [4, 4]) is not None
    assert (3, 6) == (cache.cached_cells, cache.host_cells), "one before and one after its own prefix has come back"


def test_cells_of_a_running_sequence_lie_before_those_that_are_filled_after_them() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache._cold_cells = 4
    long = cache.acquire("", [9] * 31)
    assert long is not None
    assert cache.reserve(long, 30)
    cache.fill(long, 30)
    compute(memory, long, [9] * 30)
    short = run(cache, memory, [1, 2, 3])
    assert 33 == short.node.filled


def test_an_unused_prefix_makes_room_for_one_that_comes_back() -> None:
    cache, memory = new_cache(n_cells=9, n_host_cells=64)
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 4), [1] * 4)
    cache.offload_idle()
    running = run(cache, memory, [7] * 2)
    cache.release(run(cache, memory, [2] * 4), [2] * 4)
    lease = cache.acquire("", [1, 1, 1, 1, 5])
    assert lease is not None
    assert (4, 6) == (lease.length, cache.cached_cells)
    assert_agrees(cache, memory, {running: [7] * 2, lease: [1] * 4})


def test_without_an_id_for_it_a_prefix_does_not_come_back() -> None:
    cache, memory = new_cache(n_seq_ids=3, n_host_cells=64)
    cache._cold_cells = 0
    cache.release(run(cache, memory, [1] * 4), [1] * 4)
    cache.offload_idle()
    running = run(cache, memory, [7] * 2)
    lease = cache.acquire("", [1, 1, 1, 1, 5])
    assert lease is not None
    assert 0 == lease.length
    assert_agrees(cache, memory, {running: [7] * 2, lease: []})


def test_a_prefix_gives_its_id_to_a_newer_one() -> None:
    cache, memory = new_cache(n_seq_ids=2)
    for i in (1, 2):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
    assert [0, 2] == [cache.match_length("", [i] * 3) for i in (1, 2)]


def test_several_prefixes_go_for_one_large_request() -> None:
    cache, memory = new_cache(n_cells=6)
    for i in (1, 2, 3):
        cache.release(run(cache, memory, [i] * 2), [i] * 2)
    lease = cache.acquire("", [4] * 6)
    assert lease is not None
    assert cache.reserve(lease, 6)
    assert (0, 0, set()) == (cache.free_cells, cache.cached_cells, memory.cells)


def test_who_computed_the_start_of_what_another_committed_meanwhile_shares_it() -> None:
    cache, memory = new_cache()
    late = cache.acquire("", [1, 2, 9, 5])
    assert late is not None
    cache.release(run(cache, memory, [1, 2, 3, 4]), [1, 2, 3, 4])
    assert cache.reserve(late, 3)
    cache.fill(late, 3)
    compute(memory, late, [1, 2, 9])
    cache.commit(late, [1, 2, 9])
    assert (5, 5, 3, 0) == (len(memory.cells), cache.cached_cells, late.shared, late.owned)


@pytest.mark.parametrize(("room", "copies"), [(0, 0), (2, 0), (3, 1)])
def test_what_host_memory_has_no_room_for_is_not_copied_to_it(
    room: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, memory = new_cache(n_cells=4, n_host_cells=room)
    saved: list[int] = []
    save = memory.save

    def noted(seq_id: int) -> dict[int, int]:
        saved.append(seq_id)
        return save(seq_id)

    monkeypatch.setattr(memory, "save", noted)
    for i in (1, 2):
        cache.release(run(cache, memory, [i] * 3), [i] * 3)
    assert copies == len(saved)
