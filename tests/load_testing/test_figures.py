import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.load_testing.figures import Aim, Figure, cells, format_value, percentile, quotient


def figure(measured: list[float], baseline: list[float], aim: Aim | None = None) -> Figure:
    return Figure("work", "ms", "peer" if baseline else "", aim, measured, baseline)


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = figure([10, 40, 90], [10, 20, 30])
    assert (2, 2) == (found.ratio, found.value / found.baseline_value)
    skewed = figure([10, 40, 30], [20, 10, 30])
    assert (1, 1.5) == (skewed.ratio, skewed.value / skewed.baseline_value)


def test_figure_without_a_baseline_has_no_ratio() -> None:
    assert figure([1], []).ratio is None


def test_quotient_by_0_is_infinite() -> None:
    assert math.inf == quotient(1, 0)


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        (None, None),
        (Aim(">=", 0.5), True),
        (Aim(">=", 0.51), False),
        (Aim("<=", 0.5), True),
        (Aim("<=", 0.49), False),
        (Aim("<=", 10, "figure"), True),
        (Aim(">=", 11, "figure"), False),
    ],
)
def test_aim_bounds_the_ratio_or_the_figure(aim: Aim | None, met: bool | None) -> None:  # noqa: FBT001 (expected)
    assert met is figure([10], [20], aim).met


def test_aim_of_the_ratio_is_open_without_a_baseline() -> None:
    assert figure([10], [], Aim(">=", 1)).met is None


def test_aim_is_open_without_rounds() -> None:
    assert figure([], [], Aim(">=", 1)).met is None


def test_round_needs_a_baseline_value_exactly_when_the_figure_has_a_baseline() -> None:
    with pytest.raises(AssertionError):
        Figure("work", "ms", "peer").add(1)
    with pytest.raises(AssertionError):
        Figure("work", "ms").add(1, 2)


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_percentile_is_the_nearest_rank(share: float, value: float) -> None:
    assert value == percentile([4, 2, 3, 1], share)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_share_of_the_values_is_at_most_the_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234.5, "ms", "1,234 ms"),
        (12.34, "ms", "12 ms"),
        (3.0, "s", "3 s"),
        (0.256, "s", "0.26 s"),
        (4.0, "x", "4.00 x"),
        (0.0312, "%", "3.1 %"),
    ],
)
def test_figure_is_formatted_with_its_significant_digits(value: float, unit: str, text: str) -> None:
    assert text == format_value(value, unit)


def test_cells_show_value_baseline_ratio_and_aim() -> None:
    met = figure([10], [20], Aim("<=", 0.5))
    assert ("work", "10 ms", "peer: 20 ms", "0.50", "≤ 0.5", "met") == cells(met)
    missed = figure([10], [20], Aim(">=", 2000, "figure"))
    assert ("work", "10 ms", "peer: 20 ms", "0.50", "≥ 2,000 ms", "missed") == cells(missed)
    alone = figure([10], [])
    assert ("work", "10 ms", "", "", "", "") == cells(alone)


def test_cells_of_a_failed_line_show_the_error() -> None:
    failed = figure([], [], Aim("<=", 0.5))
    assert "not measured" == cells(failed)[-1]
    failed.failure = "no answer"
    assert ("work", "", "", "", "≤ 0.5", "failed: no answer") == cells(failed)
