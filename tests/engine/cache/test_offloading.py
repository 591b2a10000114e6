"""Tests of which unused prefixes are offloaded or copied, when, and up to which limits."""

import pytest

from antiphon.engine.cache.radix_tree import Node
from tests.engine.cache.cache_trial import cache_prefix, new_cache, run_prompt


def test_few_unused_cells_stay_filled() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells, cache.offloading.copied_at_once = 4, 0
    for i in (1, 2, 3):
        cache_prefix(cache, memory, [i] * 2)
    counts = []
    for _ in range(3):
        cache.offloading.offload_excess(1)
        counts.append((cache.pool.cached_cells, cache.pool.host_cells))
    assert [(5, 1), (4, 2), (4, 2)] == counts


def test_prefix_after_many_free_cells_is_offloaded() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells = 4
    long = run_prompt(cache, memory, list(range(100, 130)))
    short = run_prompt(cache, memory, [1, 2, 3])
    cache.release(short, [1, 2, 3])
    cache.offloading.offload_excess()
    assert 33 == cache.pool.cached_cells
    cache.release(long, list(range(100, 130)))
    cache.offloading.offload_excess()
    assert (0, 33) == (cache.pool.cached_cells, cache.pool.host_cells)


def test_restored_prefix_has_the_last_cell_of_its_new_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells, cache.offloading.copied_at_once = 4, 0
    lease = run_prompt(cache, memory, [1, 2, 3])
    lease.node.last_cell = 60
    cache.release(lease, [1, 2, 3])
    cache.offloading.offload_excess()
    again = run_prompt(cache, memory, [1, 2, 3])
    cache.release(again, [1, 2, 3])
    cache.offloading.offload_excess()
    assert 3 == cache.pool.cached_cells


def test_one_step_offloads_several_prefixes_up_to_its_limit() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells, cache.offloading.copied_at_once = 0, 0
    for i in (1, 2, 3):
        cache_prefix(cache, memory, [i] * 3)
    counts = []
    for max_tokens in (0, 5, 4):
        cache.offloading.offload_excess(max_tokens)
        counts.append(cache.pool.cached_cells)
    assert [9, 4, 0] == counts


def test_long_prefix_is_offloaded_piece_by_piece_from_its_end() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells = 1
    cache.offloading.offloaded_per_step = 4
    cache_prefix(cache, memory, [1] * 10)
    counts = []
    for _ in range(4):
        cache.offloading.offload_excess()
        counts.append(cache.pool.cached_cells)
    assert [6, 2, 0, 0] == counts
    assert 9 == cache.match_length("", [1] * 10)


def test_nothing_is_offloaded_without_host_memory() -> None:
    cache, memory = new_cache()
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 4)
    cache.offloading.offload_excess()
    assert 4 == cache.pool.cached_cells


def test_prefix_with_a_copy_is_offloaded_whole_whatever_its_length() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.max_unused_cells, cache.offloading.offloaded_per_step = 1, 4
    cache_prefix(cache, memory, [1] * 10)
    assert cache.offloading.copy_unused_prefix()
    cache.offloading.offload_excess()
    assert (0, 10) == (cache.pool.cached_cells, cache.pool.host_cells)


def test_unused_prefix_is_copied_piece_by_piece_and_stays_in_its_cells() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.copied_at_once = 4
    cache_prefix(cache, memory, [1] * 10)
    copied = [(cache.offloading.copy_unused_prefix(), cache.pool.host_cells, cache.pool.cached_cells) for _ in range(4)]
    assert [(True, 4, 10), (True, 8, 10), (True, 10, 10), (False, 10, 10)] == copied


def test_end_of_a_prefix_is_copied_first_when_it_is_one_token_too_long() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.copied_at_once = 2
    cache_prefix(cache, memory, [1] * 3)
    copied = []
    while cache.offloading.copy_unused_prefix():
        copied.append(cache.pool.host_cells)
    assert [2, 3] == copied


def test_prefix_that_just_fits_into_host_memory_is_copied() -> None:
    for room, copied in ((3, True), (2, False)):
        cache, memory = new_cache(n_host_cells=room)
        cache_prefix(cache, memory, [1] * 3)
        assert (copied, 3 * copied) == (cache.offloading.copy_unused_prefix(), cache.pool.host_cells)


def test_prefix_larger_than_host_memory_is_not_copied() -> None:
    cache, memory = new_cache(n_host_cells=5)
    cache_prefix(cache, memory, [1] * 6)
    assert (False, 0) == (cache.offloading.copy_unused_prefix(), cache.pool.host_cells)


def test_prefix_whose_end_is_larger_than_host_memory_is_not_cut() -> None:
    cache, memory = new_cache(n_host_cells=3)
    cache.offloading.copied_at_once = 4
    cache_prefix(cache, memory, [1] * 10)
    assert not cache.offloading.copy_unused_prefix()
    assert [10] == [len(node.tokens) for node in cache.pool.tree.nodes()]


def test_prefix_is_not_cut_for_a_copy_without_a_free_id() -> None:
    cache, memory = new_cache(n_seq_ids=2, n_host_cells=64)
    cache.offloading.copied_at_once = 4
    cache_prefix(cache, memory, [1] * 10)
    seq_id = cache.pool.free_ids.pop()
    assert not cache.offloading.copy_unused_prefix()
    cache.pool.free_ids.append(seq_id)
    assert cache.offloading.copy_unused_prefix()


def test_no_prefix_is_evicted_for_the_id_of_a_copied_piece() -> None:
    cache, memory = new_cache(n_seq_ids=2, n_host_cells=64)
    cache.offloading.copied_at_once = 2
    cache_prefix(cache, memory, [1] * 5)
    assert [True, False] == [cache.offloading.copy_unused_prefix(), cache.offloading.copy_unused_prefix()]
    assert (5, 2) == (cache.pool.cached_cells, cache.pool.host_cells)


def test_prefix_in_use_is_not_copied() -> None:
    cache, memory = new_cache(n_host_cells=64)
    run_prompt(cache, memory, [1] * 3)
    assert not cache.offloading.copy_unused_prefix()


def test_copied_prefix_is_offloaded_whole_before_a_sequence_starts_alone() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.copied_at_once = 4
    cache_prefix(cache, memory, [1] * 10)
    while cache.offloading.copy_unused_prefix():
        pass
    cache.offloading.copied_at_once = 0
    assert cache.acquire("", [2] * 3) is not None
    assert (0, 9) == (cache.pool.cached_cells, cache.match_length("", [1] * 10))


def test_prefix_longer_than_the_limit_stays_when_a_sequence_starts_alone() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.copied_at_once = 2
    cache_prefix(cache, memory, [1] * 3)
    assert cache.acquire("", [2, 3]) is not None
    assert 3 == cache.pool.cached_cells


def test_limit_of_copied_tokens_holds_for_all_prefixes_of_one_clearing() -> None:
    cache, memory = new_cache(n_host_cells=64)
    cache.offloading.copied_at_once = 0
    for i in (1, 2, 3):
        cache_prefix(cache, memory, [i] * 3)
    cache.offloading.copied_at_once = 5
    assert cache.acquire("", [4, 4]) is not None
    assert (3, 6) == (cache.pool.cached_cells, cache.pool.host_cells), "one prefix in each of the two clearings"


def test_prefix_stays_when_it_is_larger_than_host_memory() -> None:
    cache, memory = new_cache(n_host_cells=2)
    cache_prefix(cache, memory, [1] * 3)
    assert cache.acquire("", [2, 3]) is not None
    assert 3 == cache.pool.cached_cells


def test_prefix_stays_when_host_memory_is_full() -> None:
    cache, memory = new_cache(n_host_cells=4)
    cache.offloading.max_unused_cells = 0
    cache_prefix(cache, memory, [1] * 3)
    cache.offloading.offload_excess()
    cache_prefix(cache, memory, [2] * 3)
    assert cache.acquire("", [3, 3]) is not None
    assert (3, 3) == (cache.pool.cached_cells, cache.pool.host_cells)
    assert [2, 2] == [cache.match_length("", [i] * 3) for i in (1, 2)]


@pytest.mark.parametrize(
    ("expected", "length", "copied"),
    [(True, 8, True), (True, 9, True), (False, 7, True), (False, 8, False), (False, 7, False)],
)
def test_copy_is_kept_from_the_least_length_on(expected: bool, length: int, copied: bool) -> None:  # noqa: FBT001
    cache, _ = new_cache(n_host_cells=64)
    cache.offloading.min_kept_copy = 8
    node = Node(None, 0, [1] * length, None)
    node.copy = b"state" if copied else None
    assert expected is cache.offloading.keeps_copy(node)
