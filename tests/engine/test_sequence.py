"""The counts that a sequence derives from its tokens and its lease."""

import pytest

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.sequence import Sequence
from tests.engine.engine_trial import request
from tests.engine.fake_model import FakeMemory


def test_a_new_sequence_has_everything_to_compute_and_nothing_generated() -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    assert (0, 3, 0, 3) == (sequence.computed, sequence.uncomputed, sequence.generated, sequence.prompt_len)
    assert sequence.cached_tokens is None


def test_tokens_are_the_sequences_own() -> None:
    asked = request("a", [7, 8, 9], n=2)
    first, second = (Sequence(asked, index, 1, 0.0) for index in range(2))
    first.tokens.append(5)
    assert ([7, 8, 9], [7, 8, 9], 1) == (second.tokens, asked.prompt_ids, first.generated)


def test_tokens_in_flight_are_not_computed_yet() -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    cache = KVCache(FakeMemory(8), 8, 4)
    sequence.lease = cache.acquire("", sequence.tokens)
    assert sequence.lease is not None
    assert cache.reserve(sequence.lease, 3)
    cache.fill(sequence.lease, 2)
    sequence.in_flight = 2
    assert (0, 3) == (sequence.computed, sequence.uncomputed)
    sequence.in_flight = 0
    assert (2, 1) == (sequence.computed, sequence.uncomputed)


def test_order_is_priority_then_arrival_then_choice() -> None:
    keys = [(0.0, 2, 0), (1.0, 1, 0), (1.0, 2, 0), (1.0, 2, 1)]
    sequences = [Sequence(request("a", [1]), index, arrival, priority) for priority, arrival, index in keys]
    shuffled = [sequences[i] for i in (2, 0, 3, 1)]
    assert keys == [sequence.order for sequence in sorted(shuffled, key=lambda each: each.order)]


@pytest.mark.parametrize(
    ("generates", "filled", "reserved"), [(False, 2, 0), (True, 3, 0), (False, 3, 1), (True, 4, 0), (True, 4, 1)]
)
def test_who_has_its_prompt_and_set_no_cells_aside_generates_and_so_does_who_lacks_one_token(
    filled: int, reserved: int, *, generates: bool
) -> None:
    sequence = Sequence(request("a", [7, 8, 9]), 0, 1, 0.0)
    sequence.tokens += [5, 6]
    cache = KVCache(FakeMemory(8), 8, 4)
    sequence.lease = cache.acquire("", sequence.tokens)
    assert sequence.lease is not None
    assert cache.reserve(sequence.lease, filled + reserved)
    cache.fill(sequence.lease, filled)
    assert (generates, 2) == (sequence.generates, sequence.generated)


def test_a_waiting_sequence_of_one_token_generates() -> None:
    assert [True, False] == [Sequence(request("a", prompt), 0, 1, 0.0).generates for prompt in ([7], [7, 8])]
