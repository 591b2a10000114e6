"""Tests of leases against a model of llama.cpp's memory; test_kv_cache_machine.py has every order of calls."""

import pytest

from tests.engine.cache.cache_trial import cache_prefix, compute, new_cache, run_prompt
from tests.engine.fake_model import assert_agrees


def test_next_request_finds_a_released_prefix_but_for_its_own_last_token() -> None:
    cache, memory = new_cache()
    cache_prefix(cache, memory, [1, 2, 3])
    assert [2, 3, 3, 1, 0] == [
        cache.match_length("", tokens) for tokens in ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 3], [2, 1])
    ]


def test_committed_prefix_is_shared_while_its_sequence_still_runs() -> None:
    cache, memory = new_cache()
    first = run_prompt(cache, memory, [1, 2, 3, 4])
    second = run_prompt(cache, memory, [1, 2, 3, 5])
    assert 5 == len(memory.cells)
    assert_agrees(cache, memory, {first: [1, 2, 3, 4], second: [1, 2, 3, 5]})


def test_prefix_that_two_leases_compute_keeps_one_set_of_cells() -> None:
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
    assert 3 == len(memory.cells) == cache.pool.cached_cells


def test_salt_does_not_match_the_prefixes_of_another_salt() -> None:
    cache, memory = new_cache()
    cache_prefix(cache, memory, [1, 2, 3], "a")
    assert (2, 0) == (cache.match_length("a", [1, 2, 3]), cache.match_length("b", [1, 2, 3]))


def test_fully_cached_prompt_misses_a_cell_for_its_last_token() -> None:
    cache, memory = new_cache()
    cache_prefix(cache, memory, [1, 2, 3])
    assert [1, 2] == [cache.missing_cells("", tokens) for tokens in ([1, 2, 3], [1, 2, 3, 4, 5])]


def test_missing_cells_include_those_of_offloaded_nodes() -> None:
    cache, memory = new_cache(n_cells=6, n_host_cells=12)
    for tokens in ([1, 1, 1, 1], [2, 2, 2, 2]):
        cache_prefix(cache, memory, tokens)
    assert [5, 1, 1] == [cache.missing_cells("", tokens) for tokens in ([1, 1, 1, 1, 5], [2, 2, 2, 2, 5], [3])]


def test_missing_cells_of_an_offloaded_node_are_its_matching_ones() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 4)
    cache.offloading.offload_excess()
    assert 2 + 1 == cache.missing_cells("", [1, 1, 9])


def test_reserved_cells_are_free_again_after_the_release() -> None:
    cache, _ = new_cache(n_cells=6)
    lease = cache.acquire("", [1, 2])
    assert lease is not None
    assert cache.reserve(lease, 5)
    assert (1, 5) == (cache.pool.free_cells, cache.pool.owned_cells)
    cache.release(lease, [])
    assert (6, 0) == (cache.pool.free_cells, cache.pool.owned_cells)


def test_filling_more_cells_than_reserved_fails_an_assertion() -> None:
    cache, _ = new_cache()
    lease = cache.acquire("", [1, 2])
    assert lease is not None
    with pytest.raises(AssertionError):
        cache.fill(lease, 1)


def test_acquire_without_a_free_sequence_id_returns_none_and_changes_nothing() -> None:
    cache, memory = new_cache(n_seq_ids=1)
    lease = cache.acquire("", [1, 2])
    assert lease is not None
    assert cache.acquire("other", [1, 2]) is None
    assert_agrees(cache, memory, {lease: []})


def test_without_an_id_for_the_cut_the_shared_prefix_ends_at_a_node() -> None:
    cache, memory = new_cache(n_seq_ids=2)
    cache_prefix(cache, memory, [1, 1, 1, 1])
    lease = cache.acquire("", [1, 1, 2, 2])
    assert lease is not None
    assert 0 == lease.length
    assert_agrees(cache, memory, {lease: []})


def test_prefix_is_restored_node_by_node_while_cells_last() -> None:
    cache, memory = new_cache(n_cells=8, n_host_cells=16)
    cache_prefix(cache, memory, [1, 1, 1, 1])
    cache_prefix(cache, memory, [1, 1, 2, 2])
    other = run_prompt(cache, memory, [7] * 6)
    lease = cache.acquire("", [1, 1, 2, 2, 2])
    assert lease is not None
    assert 2 == lease.length
    assert_agrees(cache, memory, {other: [7] * 6, lease: [1, 1]})


def test_prefix_is_not_restored_without_a_sequence_id_for_it() -> None:
    cache, memory = new_cache(n_seq_ids=3, n_host_cells=64)
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 4)
    cache.offloading.offload_excess()
    running = run_prompt(cache, memory, [7] * 2)
    lease = cache.acquire("", [1, 1, 1, 1, 5])
    assert lease is not None
    assert 0 == lease.length
    assert_agrees(cache, memory, {running: [7] * 2, lease: []})


def test_failed_restore_gives_its_sequence_id_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 3)
    cache.offloading.offload_excess()
    monkeypatch.setattr(memory, "restore", lambda _seq_id, _copy: False)
    lease = cache.acquire("", [1, 1, 1, 5])
    assert lease is not None
    assert 0 == lease.length
    assert_agrees(cache, memory, {lease: []})


def test_lease_shares_all_nodes_that_others_committed_for_its_tokens_meanwhile() -> None:
    cache, memory = new_cache()
    late = cache.acquire("", [1, 2, 3, 4, 5])
    assert late is not None
    for tokens in ([1, 2, 3, 4], [1, 2, 9]):
        cache_prefix(cache, memory, tokens)
    assert cache.reserve(late, 4)
    cache.fill(late, 4)
    compute(memory, late, [1, 2, 3, 4])
    cache.commit(late, [1, 2, 3, 4])
    assert (5, 5, 4, 0) == (len(memory.cells), cache.pool.cached_cells, late.shared, late.owned)
    assert_agrees(cache, memory, {late: [1, 2, 3, 4]})


def test_lease_shares_the_first_part_of_a_node_that_another_committed_meanwhile() -> None:
    cache, memory = new_cache()
    late = cache.acquire("", [1, 2, 9, 5])
    assert late is not None
    cache_prefix(cache, memory, [1, 2, 3, 4])
    assert cache.reserve(late, 3)
    cache.fill(late, 3)
    compute(memory, late, [1, 2, 9])
    cache.commit(late, [1, 2, 9])
    assert (5, 5, 3, 0) == (len(memory.cells), cache.pool.cached_cells, late.shared, late.owned)


def test_last_cell_of_a_node_counts_the_cells_of_running_sequences() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells = 4
    long = cache.acquire("", [9] * 31)
    assert long is not None
    assert cache.reserve(long, 30)
    cache.fill(long, 30)
    compute(memory, long, [9] * 30)
    short = run_prompt(cache, memory, [1, 2, 3])
    assert 33 == short.node.last_cell


def test_extended_node_keeps_its_last_cell_when_the_memory_has_emptied() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells = 4
    long = run_prompt(cache, memory, list(range(100, 130)))
    short = run_prompt(cache, memory, [1, 2, 3])
    cache.release(long, list(range(100, 130)))
    cache.offloading.offload_excess()
    assert 3 == cache.pool.cached_cells
    assert cache.reserve(short, 1)
    cache.fill(short, 1)
    compute(memory, short, [1, 2, 3, 4])
    cache.release(short, [1, 2, 3, 4])
    assert 4 == cache.pool.cached_cells == cache.pool.evictable_cells
    cache.offloading.offload_excess()
    assert (0, 3) == (cache.pool.cached_cells, cache.match_length("", [1, 2, 3, 4]))


def test_long_node_with_a_copy_is_continued_in_a_child() -> None:
    cache, memory = new_cache(n_cells=8, n_host_cells=16)
    cache.offloading.min_kept_copy = 4
    cache_prefix(cache, memory, [1] * 4)
    cache_prefix(cache, memory, [2] * 8)
    cache_prefix(cache, memory, [1] * 6)
    assert [[1] * 4, [1] * 2] == [node.tokens for node in cache.pool.tree.match("", [1] * 6, 6)[0]]


def test_short_node_with_a_copy_is_extended() -> None:
    cache, memory = new_cache(n_cells=8, n_host_cells=16)
    cache_prefix(cache, memory, [1] * 4)
    cache_prefix(cache, memory, [2] * 8)
    cache_prefix(cache, memory, [1] * 6)
    assert [[1] * 6] == [node.tokens for node in cache.pool.tree.match("", [1] * 6, 6)[0]]


def test_sequence_that_starts_alone_finds_only_its_own_prefix_in_the_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    for i in (1, 2):
        cache_prefix(cache, memory, [i] * 3)
    lease = cache.acquire("", [1, 1, 1, 5])
    assert lease is not None
    assert (3, 3) == (lease.length, cache.pool.cached_cells)


def test_prefix_of_a_lone_sequence_is_restored_into_an_empty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, memory = new_cache(n_host_cells=64)
    for i in (1, 2):
        cache_prefix(cache, memory, [i] * 3)
    used_cells: list[int] = []
    restore = memory.restore

    def record_restore(seq_id: int, copy: object) -> bool:
        used_cells.append(len(memory.cells))
        return restore(seq_id, copy)

    monkeypatch.setattr(memory, "restore", record_restore)
    assert cache.acquire("", [1, 1, 1, 5]) is not None
    assert [0] == used_cells


def test_rest_of_the_node_that_a_lone_sequence_shares_in_part_is_offloaded() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache_prefix(cache, memory, [1, 2, 3, 4])
    lease = cache.acquire("", [1, 2, 5])
    assert lease is not None
    assert (2, 2) == (lease.length, cache.pool.cached_cells)


def test_sequence_that_starts_beside_others_offloads_nothing() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache_prefix(cache, memory, [1] * 3)
    held = run_prompt(cache, memory, [2] * 3)
    cache_prefix(cache, memory, [3] * 3)
    before = cache.pool.cached_cells
    assert cache.acquire("", [4, 5]) is not None
    assert before == cache.pool.cached_cells
    cache.release(held, [2] * 3)
