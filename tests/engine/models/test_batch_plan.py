"""Which parts of a step are decoded together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.models.batch_plan import NEW_BATCH, TILE, AttentionCosts, Batch, Load, plan_batches


def newest(cells: int, rows: int = 1) -> Load:
    return Load(rows, cells, generates=True)


COSTS = AttentionCosts(row_cell=1 / 500, tile_cell=TILE / 2500, padding_id=255)
"""Of the bundled model, roundly."""
LOADS = st.lists(
    st.builds(Load, rows=st.integers(1, 200), cells=st.integers(1, 8000))
    | st.builds(newest, st.integers(1, 8000), st.integers(1, TILE - 1)),
    min_size=1,
    max_size=40,
)
ANY_COSTS = st.builds(AttentionCosts, row_cell=st.floats(0, 1), tile_cell=st.floats(0, 9), padding_id=st.just(1))


def rows(batch: Batch, loads: list[Load]) -> int:
    return sum(loads[place].rows for place in batch.places) + batch.padding


@given(LOADS, st.none() | ANY_COSTS)
def test_every_sequence_is_in_exactly_one_batch(loads: list[Load], costs: AttentionCosts | None) -> None:
    assert list(range(len(loads))) == sorted(place for batch in plan_batches(loads, costs) for place in batch.places)


@given(LOADS, ANY_COSTS)
def test_what_is_generated_is_never_in_a_tile(loads: list[Load], costs: AttentionCosts) -> None:
    for batch in plan_batches(loads, costs):
        assert rows(batch, loads) < TILE or not any(loads[place].generates for place in batch.places)


@given(LOADS)
def test_padding_fills_exactly_one_tile(loads: list[Load]) -> None:
    assert all(batch.padding == 0 or TILE == rows(batch, loads) for batch in plan_batches(loads, COSTS))


@given(LOADS)
def test_no_batch_is_empty(loads: list[Load]) -> None:
    assert all(batch.places for batch in plan_batches(loads, COSTS))


def test_without_costs_everything_is_one_batch() -> None:
    assert [Batch([0, 1])] == plan_batches([newest(8000), Load(4000, 4000)], None)


@pytest.mark.parametrize(
    ("sequences", "sizes"), [(63, [63]), (64, [32, 32]), (126, [63, 63]), (127, [43, 43, 41]), (192, [48] * 4)]
)
def test_newest_tokens_are_decoded_in_equal_batches_below_the_size_of_a_tile(sequences: int, sizes: list[int]) -> None:
    assert sizes == [len(batch.places) for batch in plan_batches([newest(300)] * sequences, COSTS)]


def test_drafts_that_do_not_fit_together_are_decoded_apart() -> None:
    assert [Batch([0]), Batch([1])] == plan_batches([newest(300, 33)] * 2, COSTS)


def test_a_prompt_is_decoded_beside_newest_tokens_not_with_them() -> None:
    assert [Batch([0, 1]), Batch([2])] == plan_batches([newest(50), newest(70), Load(256, 256)], COSTS)


def test_the_short_end_of_a_prompt_is_decoded_with_newest_tokens() -> None:
    assert [Batch([0, 1])] == plan_batches([newest(50), Load(20, 120)], COSTS)


def test_single_rows_of_prompts_do_not_go_into_the_tiles_of_others() -> None:
    assert [Batch([0]), Batch([1])] == plan_batches([Load(1, 900), Load(256, 256)], COSTS)


def test_the_end_of_a_prompt_behind_a_long_cached_one_is_filled_up() -> None:
    assert [Batch([0], 24)] == plan_batches([Load(40, 1540)], COSTS)


def test_the_end_of_a_short_prompt_is_not_filled_up() -> None:
    assert [Batch([0])] == plan_batches([Load(40, 240)], COSTS)


ROUND = AttentionCosts(row_cell=0.1, tile_cell=1.0, padding_id=255)
"""A tile pays for more than 10 rows; padding pays when the rows' cells cost more than a whole tile and a batch."""


@pytest.mark.parametrize(("rows", "batches"), [(10, [Batch([0, 1])]), (11, [Batch([0]), Batch([1], 53)])])
def test_a_tile_pays_from_a_number_of_rows_on(rows: int, batches: list[Batch]) -> None:
    assert batches == plan_batches([newest(1), Load(rows, 1000)], ROUND)


@pytest.mark.parametrize(("cells", "batches"), [(52, [Batch([0])]), (53, [Batch([0], 44)])])
def test_padding_pays_from_a_number_of_cells_on(cells: int, batches: list[Batch]) -> None:
    assert TILE + NEW_BATCH + 52 == 20 * (1 + 0.1 * 52)
    assert batches == plan_batches([Load(20, cells)], ROUND)


@pytest.mark.parametrize(("cells", "batches"), [(16, [Batch([0, 1])]), (17, [Batch([0, 1], 24)])])
def test_padding_pays_by_the_rows_and_cells_of_all_prompts(cells: int, batches: list[Batch]) -> None:
    assert TILE + NEW_BATCH + 16 + 16 == 2 * 20 * (1 + 0.1 * 16)
    assert batches == plan_batches([Load(20, 16), Load(20, cells)], ROUND)


def test_a_whole_tile_needs_no_padding_and_comes_last() -> None:
    assert [Batch([1]), Batch([0])] == plan_batches([Load(TILE, 1), newest(1)], ROUND)


def test_several_prompts_fill_a_tile_together() -> None:
    assert [Batch([1]), Batch([0, 2])] == plan_batches([Load(40, 1), newest(1), Load(30, 1)], ROUND)


@pytest.mark.parametrize(("rows", "batches"), [(10, [Batch([1]), Batch([0])]), (11, [Batch([0, 1])])])
def test_few_rows_join_the_tiles_of_others_only_where_a_tile_pays(rows: int, batches: list[Batch]) -> None:
    assert batches == plan_batches([Load(TILE, 1), Load(rows, 1)], ROUND)


def test_where_tiles_never_pay_a_long_prompt_is_a_batch_of_its_own() -> None:
    costs = AttentionCosts(row_cell=0.0, tile_cell=1.0, padding_id=255)
    assert [Batch([0]), Batch([1])] == plan_batches([Load(200, 10), newest(1)], costs)
