"""Tests of the counts that a sequence derives from its tokens and its lease."""

import pytest

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.sequence import Sequence
from tests.engine.engine_trial import request
from tests.engine.fake_model import FakeMemory, media


def test_new_sequence_has_computed_and_generated_no_tokens() -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    assert (0, 3, 0, 3) == (
        sequence.num_computed_tokens,
        sequence.num_uncomputed_tokens,
        sequence.num_generated_tokens,
        sequence.num_prompt_tokens,
    )
    assert sequence.num_cached_tokens is None


def test_choices_of_a_request_do_not_share_their_lists_of_tokens() -> None:
    asked = request("a", [7, 8, 9], n=2)
    first, second = (Sequence(asked, index, 1, 0.0) for index in range(2))
    first.tokens.append(5)
    assert ([7, 8, 9], [7, 8, 9], 1) == (second.tokens, asked.prompt_ids, first.num_generated_tokens)


def test_tokens_in_flight_are_not_computed() -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    cache = KVCache(FakeMemory(8), 8, 4)
    sequence.lease = cache.acquire("", sequence.tokens)
    assert sequence.lease is not None
    assert cache.reserve(sequence.lease, 3)
    cache.fill(sequence.lease, 2)
    sequence.num_in_flight_tokens = 2
    assert (0, 3) == (sequence.num_computed_tokens, sequence.num_uncomputed_tokens)
    sequence.num_in_flight_tokens = 0
    assert (2, 1) == (sequence.num_computed_tokens, sequence.num_uncomputed_tokens)


def test_order_is_priority_then_arrival_then_choice() -> None:
    keys = [(0.0, 2, 0), (1.0, 1, 0), (1.0, 2, 0), (1.0, 2, 1)]
    sequences = [Sequence(request("a", [1]), index, arrival, priority) for priority, arrival, index in keys]
    shuffled = [sequences[i] for i in (2, 0, 3, 1)]
    assert keys == [sequence.order for sequence in sorted(shuffled, key=lambda each: each.order)]


@pytest.mark.parametrize(
    ("is_generating", "filled", "reserved"), [(False, 2, 0), (True, 3, 0), (False, 3, 1), (True, 4, 0), (True, 4, 1)]
)
def test_sequence_generates_after_its_prompt_without_reserved_cells_or_with_one_missing_token(
    filled: int, reserved: int, *, is_generating: bool
) -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    sequence.tokens += [5, 6]
    cache = KVCache(FakeMemory(8), 8, 4)
    sequence.lease = cache.acquire("", sequence.tokens)
    assert sequence.lease is not None
    assert cache.reserve(sequence.lease, filled + reserved)
    cache.fill(sequence.lease, filled)
    assert (is_generating, 2) == (sequence.is_generating, sequence.num_generated_tokens)


@pytest.mark.parametrize(
    ("is_scoring", "index", "asked", "scored"), [(True, 0, 0, 0), (True, 0, 2, 1), (False, 0, 0, 2), (False, 1, 0, 0)]
)
def test_first_choice_scores_the_prompt_until_its_last_token(
    index: int, asked: int, scored: int, *, is_scoring: bool
) -> None:
    sequence = Sequence(request("a", [7, 8, 9], prompt_logprobs=asked), index, 1, 0.0)
    sequence.num_scored_rows = scored
    assert is_scoring == sequence.is_scoring


def test_sequence_scores_no_prompt_unless_its_request_asks_for_it() -> None:
    assert not Sequence(request("a", [7, 8, 9]), 0, 1, 0.0).is_scoring


def test_waiting_sequence_of_one_token_is_generating() -> None:
    assert [True, False] == [Sequence(request("a", prompt), 0, 1, 0.0).is_generating for prompt in ([7], [7, 8])]


def test_run_ends_where_tokens_and_media_meet_and_with_each_segment_of_media() -> None:
    sequence = Sequence(request("a", [7, 8, 9, 10], pictures=[media(1, 3), media(2, 2)]), 0, 1, 0.0)
    assert [2, 2, 5, 5, 5, 7, 7, 9, 9] == [sequence.run_end(start) for start in range(9)]


def test_run_without_media_ends_with_the_last_token() -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    sequence.tokens.append(5)
    assert [4, 4, 4, 4] == [sequence.run_end(start) for start in range(4)]


def test_media_are_found_by_the_position_of_their_first_rows() -> None:
    first, second = media(1, 3), media(2, 2)
    sequence = Sequence(request("a", [7, 8, 9, 10], pictures=[first, second]), 0, 1, 0.0)
    assert {2: first, 5: second} == sequence.media
