"""The division of a step into batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.models.batch_plan import NEW_BATCH, TILE, AttentionCosts, Batch, SequenceRows, plan_batches


def newest(cells: int, rows: int = 1) -> SequenceRows:
    return SequenceRows(rows, cells, generates=True)


COSTS = AttentionCosts(row_cell=1 / 500, tile_cell=TILE / 2500, padding_id=255)
"""The costs of the bundled model, rounded."""
LOADS = st.lists(
    st.builds(SequenceRows, rows=st.integers(1, 200), cells=st.integers(1, 8000))
    | st.builds(newest, st.integers(1, 8000), st.integers(1, TILE - 1)),
    min_size=1,
    max_size=40,
)
ANY_COSTS = st.builds(AttentionCosts, row_cell=st.floats(0, 1), tile_cell=st.floats(0, 9), padding_id=st.just(1))


def rows(batch: Batch, loads: list[SequenceRows]) -> int:
    return sum(loads[place].rows for place in batch.places) + batch.padding


@given(LOADS, st.none() | ANY_COSTS)
def test_every_sequence_is_in_exactly_one_batch(loads: list[SequenceRows], costs: AttentionCosts | None) -> None:
    assert list(range(len(loads))) == sorted(place for batch in plan_batches(loads, costs) for place in batch.places)


@given(LOADS, ANY_COSTS)
def test_newest_tokens_and_drafts_are_never_in_a_tile(loads: list[SequenceRows], costs: AttentionCosts) -> None:
    for batch in plan_batches(loads, costs):
        assert rows(batch, loads) < TILE or not any(loads[place].generates for place in batch.places)


@given(LOADS)
def test_padding_fills_exactly_one_tile(loads: list[SequenceRows]) -> None:
    assert all(batch.padding == 0 or TILE == rows(batch, loads) for batch in plan_batches(loads, COSTS))


@given(LOADS)
def test_no_batch_is_empty(loads: list[SequenceRows]) -> None:
    assert all(batch.places for batch in plan_batches(loads, COSTS))


def test_step_without_attention_costs_is_one_batch() -> None:
    assert [Batch([0, 1])] == plan_batches([newest(8000), SequenceRows(4000, 4000)], None)


@pytest.mark.parametrize(
    ("sequences", "sizes"), [(63, [63]), (64, [32, 32]), (126, [63, 63]), (127, [43, 43, 41]), (192, [48] * 4)]
)
def test_newest_tokens_are_divided_into_equal_batches_smaller_than_a_tile(sequences: int, sizes: list[int]) -> None:
    assert sizes == [len(batch.places) for batch in plan_batches([newest(300)] * sequences, COSTS)]


def test_drafts_that_would_fill_a_tile_together_are_decoded_apart() -> None:
    assert [Batch([0]), Batch([1])] == plan_batches([newest(300, 33)] * 2, COSTS)


def test_prompt_has_a_batch_apart_from_newest_tokens() -> None:
    assert [Batch([0, 1]), Batch([2])] == plan_batches([newest(50), newest(70), SequenceRows(256, 256)], COSTS)


def test_short_end_of_a_prompt_shares_the_batch_of_newest_tokens() -> None:
    assert [Batch([0, 1])] == plan_batches([newest(50), SequenceRows(20, 120)], COSTS)


def test_single_row_of_a_prompt_stays_out_of_the_tiles_of_others() -> None:
    assert [Batch([0]), Batch([1])] == plan_batches([SequenceRows(1, 900), SequenceRows(256, 256)], COSTS)


def test_end_of_a_prompt_after_a_long_cached_prefix_is_padded() -> None:
    assert [Batch([0], 24)] == plan_batches([SequenceRows(40, 1540)], COSTS)


def test_end_of_a_short_prompt_is_not_padded() -> None:
    assert [Batch([0])] == plan_batches([SequenceRows(40, 240)], COSTS)


ROUND = AttentionCosts(row_cell=0.1, tile_cell=1.0, padding_id=255)
"""A tile pays for more than 10 rows. Padding pays where the rows' cells cost more than a tile and a batch."""


@pytest.mark.parametrize(("rows", "batches"), [(10, [Batch([0, 1])]), (11, [Batch([0]), Batch([1], 53)])])
def test_tile_is_used_from_the_number_of_rows_on_that_pays(rows: int, batches: list[Batch]) -> None:
    assert batches == plan_batches([newest(1), SequenceRows(rows, 1000)], ROUND)


@pytest.mark.parametrize(("cells", "batches"), [(52, [Batch([0])]), (53, [Batch([0], 44)])])
def test_padding_is_used_from_the_number_of_cells_on_that_pays(cells: int, batches: list[Batch]) -> None:
    assert TILE + NEW_BATCH + 52 == 20 * (1 + 0.1 * 52)
    assert batches == plan_batches([SequenceRows(20, cells)], ROUND)


@pytest.mark.parametrize(("cells", "batches"), [(16, [Batch([0, 1])]), (17, [Batch([0, 1], 24)])])
def test_rows_and_cells_of_all_prompts_decide_on_padding(cells: int, batches: list[Batch]) -> None:
    assert TILE + NEW_BATCH + 16 + 16 == 2 * 20 * (1 + 0.1 * 16)
    assert batches == plan_batches([SequenceRows(20, 16), SequenceRows(20, cells)], ROUND)


def test_whole_tile_needs_no_padding_and_is_the_last_batch() -> None:
    assert [Batch([1]), Batch([0])] == plan_batches([SequenceRows(TILE, 1), newest(1)], ROUND)


def test_several_prompts_fill_one_tile() -> None:
    assert [Batch([1]), Batch([0, 2])] == plan_batches([SequenceRows(40, 1), newest(1), SequenceRows(30, 1)], ROUND)


@pytest.mark.parametrize(("rows", "batches"), [(10, [Batch([1]), Batch([0])]), (11, [Batch([0, 1])])])
def test_few_rows_join_the_tiles_of_others_only_where_a_tile_pays(rows: int, batches: list[Batch]) -> None:
    assert batches == plan_batches([SequenceRows(TILE, 1), SequenceRows(rows, 1)], ROUND)


def test_long_prompt_is_its_own_batch_where_tiles_never_pay() -> None:
    costs = AttentionCosts(row_cell=0.0, tile_cell=1.0, padding_id=255)
    assert [Batch([0]), Batch([1])] == plan_batches([SequenceRows(200, 10), newest(1)], costs)
