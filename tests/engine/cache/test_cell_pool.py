"""Tests of eviction and of copies in host memory, through the KV cache."""

import pytest

from antiphon.engine.cache.kv_cache import KVCache
from tests.engine.cache.cache_trial import cache_prefix, compute, new_cache, run_prompt
from tests.engine.fake_model import FakeMemory, assert_agrees


def test_least_recently_used_prefix_is_evicted() -> None:
    cache, memory = new_cache(n_cells=9)
    for tokens in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        cache_prefix(cache, memory, tokens)
    cache_prefix(cache, memory, [1, 1, 1])
    cache_prefix(cache, memory, [4, 4, 4])
    assert [2, 0, 2, 2] == [cache.match_length("", [i, i, i]) for i in (1, 2, 3, 4)]


def test_cells_of_a_running_sequence_are_not_evicted() -> None:
    cache, memory = new_cache(n_cells=6)
    lease = run_prompt(cache, memory, [1, 2, 3])
    assert not cache.pool.fits(4)
    assert not cache.reserve(lease, 4)
    assert cache.reserve(lease, 3)
    assert 0 == cache.pool.free_cells


def test_salt_without_prefixes_takes_no_memory() -> None:
    cache, memory = new_cache(n_cells=4)
    for salt in "abcdef":
        cache_prefix(cache, memory, [1, 2, 3], salt)
    assert ["f"] == list(cache.pool.tree._roots)


def test_prefix_is_evicted_for_its_sequence_id() -> None:
    cache, memory = new_cache(n_seq_ids=2)
    for i in (1, 2):
        cache_prefix(cache, memory, [i] * 3)
    assert [0, 2] == [cache.match_length("", [i] * 3) for i in (1, 2)]


def test_several_prefixes_are_evicted_for_one_large_request() -> None:
    cache, memory = new_cache(n_cells=6)
    for i in (1, 2, 3):
        cache_prefix(cache, memory, [i] * 2)
    lease = cache.acquire("", [4] * 6)
    assert lease is not None
    assert cache.reserve(lease, 6)
    assert (0, 0, set()) == (cache.pool.free_cells, cache.pool.cached_cells, memory.cells)


def test_evicted_prefix_is_restored_from_host_memory() -> None:
    cache, memory = new_cache(n_cells=6, n_host_cells=12)
    for tokens in ([1, 1, 1, 1], [2, 2, 2, 2]):
        cache_prefix(cache, memory, tokens)
    assert 3 == cache.match_length("", [1, 1, 1, 1])
    lease = cache.acquire("", [1, 1, 1, 1, 5])
    assert lease is not None
    assert 4 == lease.length
    assert_agrees(cache, memory, {lease: [1, 1, 1, 1]})


def test_unused_prefix_is_evicted_for_one_that_is_restored() -> None:
    cache, memory = new_cache(n_cells=9, n_host_cells=64)
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 4)
    cache.offloading.offload_excess()
    running = run_prompt(cache, memory, [7] * 2)
    cache_prefix(cache, memory, [2] * 4)
    lease = cache.acquire("", [1, 1, 1, 1, 5])
    assert lease is not None
    assert (4, 6) == (lease.length, cache.pool.cached_cells)
    assert_agrees(cache, memory, {running: [7] * 2, lease: [1] * 4})


def test_restored_prefix_is_offloaded_again_without_a_new_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, memory = new_cache(n_cells=6, n_host_cells=12)
    saved: list[dict[int, tuple[int, int]]] = []
    save = memory.save

    def record_save(seq_id: int) -> dict[int, tuple[int, int]]:
        saved.append(save(seq_id))
        return saved[-1]

    monkeypatch.setattr(memory, "save", record_save)
    for tokens in ([1] * 4, [2] * 4, [1] * 4, [2] * 4):
        lease = cache.acquire("", [*tokens, 9])
        assert lease is not None
        if not lease.length:
            assert cache.reserve(lease, 4)
            cache.fill(lease, 4)
            compute(memory, lease, tokens)
        cache.release(lease, tokens)
    assert 2 == len(saved)


def test_host_memory_keeps_the_most_recently_used_prefixes() -> None:
    cache, memory = new_cache(n_cells=3, n_host_cells=6)
    for i in (1, 2, 3, 4):
        cache_prefix(cache, memory, [i] * 3)
    assert [0, 2, 2, 2] == [cache.match_length("", [i] * 3) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(("room", "copies"), [(0, 0), (2, 0), (3, 1)])
def test_evicted_prefix_larger_than_host_memory_is_not_copied(
    room: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, memory = new_cache(n_cells=4, n_host_cells=room)
    saved: list[int] = []
    save = memory.save

    def record_save(seq_id: int) -> dict[int, tuple[int, int]]:
        saved.append(seq_id)
        return save(seq_id)

    monkeypatch.setattr(memory, "save", record_save)
    for i in (1, 2):
        cache_prefix(cache, memory, [i] * 3)
    assert copies == len(saved)


def copied_and_resident(n_host_cells: int) -> tuple[KVCache, FakeMemory]:
    """Return a cache in which a running sequence shares the prefix [1, 1, 1], which has a copy in host memory."""
    cache, memory = new_cache(n_host_cells=n_host_cells)
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 3)
    cache.offloading.offload_excess()
    assert cache.acquire("", [1, 1, 1, 5]) is not None
    assert (3, 3) == (cache.pool.cached_cells, cache.pool.host_cells)
    return cache, memory


def test_full_host_memory_drops_the_copy_of_a_resident_node_before_the_only_offloaded_one() -> None:
    cache, memory = copied_and_resident(n_host_cells=5)
    cache_prefix(cache, memory, [2] * 3)
    cache.offloading.offload_excess()
    assert (3, 3, 2) == (cache.pool.cached_cells, cache.pool.host_cells, cache.match_length("", [2] * 3))
    cache.check()


def test_full_host_memory_drops_the_least_recently_used_of_several_offloaded_nodes() -> None:
    cache, memory = copied_and_resident(n_host_cells=8)
    for i in (2, 3):
        cache_prefix(cache, memory, [i] * 3)
        cache.offloading.offload_excess()
    assert [3, 0, 2] == [cache.match_length("", [i] * 3 + [5] * (i == 1)) for i in (1, 2, 3)]
    assert (3, 6) == (cache.pool.cached_cells, cache.pool.host_cells)
