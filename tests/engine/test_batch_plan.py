"""Which parts of a step are decoded together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.batch_plan import LEAST_ROWS, NEW_BATCH, TILE, AttentionCosts, Batch, Load, plan_batches

COSTS = AttentionCosts(row_cell=1 / 500, tile_cell=TILE / 2500, padding_id=255)
"""Of the bundled model, roundly."""
LOADS = st.lists(st.builds(Load, rows=st.integers(1, 200), cells=st.integers(1, 8000)), min_size=1, max_size=40)


def plan(loads: list[Load], costs: AttentionCosts | None = COSTS, *, shared: int = 0) -> list[Batch]:
    """Plan for sequences of which all share their first ``shared`` cells."""
    return plan_batches(
        loads, costs, lambda places: shared + sum(max(0, loads[place].cells - shared) for place in places)
    )


@given(
    LOADS,
    st.none() | st.builds(AttentionCosts, row_cell=st.floats(0, 1), tile_cell=st.floats(0, 9), padding_id=st.just(1)),
)
def test_every_sequence_is_in_exactly_one_batch(loads: list[Load], costs: AttentionCosts | None) -> None:
    assert list(range(len(loads))) == sorted(place for batch in plan(loads, costs) for place in batch.places)


@given(LOADS)
def test_padding_fills_exactly_one_tile(loads: list[Load]) -> None:
    for batch in plan(loads):
        assert batch.padding == 0 or sum(loads[place].rows for place in batch.places) + batch.padding == TILE


@given(LOADS)
def test_no_batch_is_empty(loads: list[Load]) -> None:
    assert all(batch.places for batch in plan(loads))


def test_without_costs_everything_is_one_batch() -> None:
    assert [Batch([0, 1])] == plan([Load(1, 8000), Load(4000, 4000)], None)


def test_few_rows_are_one_batch() -> None:
    assert [Batch(list(range(LEAST_ROWS - 1)))] == plan([Load(1, 100_000)] * (LEAST_ROWS - 1))


def test_newest_tokens_below_a_tile_are_one_batch() -> None:
    assert [Batch(list(range(TILE - 1)))] == plan([Load(1, 300)] * (TILE - 1))


@pytest.mark.parametrize(
    ("sequences", "sizes"), [(64, [32, 32]), (126, [63, 63]), (127, [43, 43, 41]), (192, [48] * 4)]
)
def test_newest_tokens_of_many_conversations_are_decoded_below_the_size_of_a_tile(
    sequences: int, sizes: list[int]
) -> None:
    assert sizes == [len(batch.places) for batch in plan([Load(1, 300)] * sequences)]


def test_newest_tokens_behind_one_long_prefix_stay_together() -> None:
    assert [Batch(list(range(64)))] == plan([Load(1, 1600)] * 64, shared=1550)


def test_a_few_newest_tokens_behind_one_long_prefix_are_filled_up() -> None:
    assert [Batch(list(range(40)), 24)] == plan([Load(1, 3050)] * 40, shared=3000)


def test_a_prompt_is_decoded_beside_the_newest_tokens_of_long_conversations() -> None:
    assert [Batch([0, 1, 2, 3]), Batch([4])] == plan([*[Load(1, 4000)] * 4, Load(256, 256)])


def test_a_prompt_is_decoded_with_the_newest_tokens_of_short_conversations() -> None:
    assert [Batch([0, 1, 2, 3, 4])] == plan([*[Load(1, 50)] * 4, Load(256, 256)])


def test_the_end_of_a_prompt_behind_a_long_cached_one_is_filled_up() -> None:
    assert [Batch([0], 24)] == plan([Load(40, 1540)])


def test_the_end_of_a_short_prompt_is_not_filled_up() -> None:
    assert [Batch([0])] == plan([Load(40, 240)])


def test_a_batch_more_must_be_worth_its_cost() -> None:
    rows = 1 + NEW_BATCH / (COSTS.tile_cell - COSTS.row_cell)
    assert [1, 2] == [len(plan([Load(1, cells), Load(64, 64)])) for cells in (int(rows) - 10, int(rows) + 10)]
