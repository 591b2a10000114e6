"""Parsers and bounds of numbers; tests/cli/test_options.py checks that each option has them."""

import pytest
from cyclopts import Parameter, Token

from antiphon.cli.numeric_options import MAX_COUNT, MAX_SECONDS, count, duration, whole


@pytest.mark.parametrize(("expected", "text"), [(0, "0"), (-1, "-1"), (7, "+007"), (5, " 5 "), (10**19, f"{10**19}")])
def test_whole_number_is_parsed(expected: int, text: str) -> None:
    assert expected == whole(int, [Token(value=text)])


@pytest.mark.parametrize("text", ["", "5.0", "5.5", "1e3", "0x10", "1_0", "\uff15", "inf", "nan", "1 2", "9" * 5000])
def test_other_text_is_not_a_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        whole(int, [Token(value=text)])


def allowed(numbers: list[float], option: Parameter) -> list[float]:
    """Give those of the numbers that an option's validator lets through."""
    assert isinstance(option.validator, tuple)
    (bounds,) = option.validator
    assert callable(bounds)
    taken = []
    for number in numbers:
        try:
            bounds(float, number)
        except ValueError:
            continue
        taken.append(number)
    return taken


def test_a_count_has_both_bounds() -> None:
    assert [1, MAX_COUNT] == allowed([0, 1, MAX_COUNT, MAX_COUNT + 1], count(1))
    assert [-1, 5] == allowed([-2, -1, 5, 6], count(-1, 5))


def test_duration_is_finite_and_0_only_unless_positive() -> None:
    numbers = [float("nan"), float("-inf"), -0.1, 0.0, 0.1, MAX_SECONDS, MAX_SECONDS + 1, float("inf")]
    assert [0.1, MAX_SECONDS] == allowed(numbers, duration())
    assert [0.0, 0.1, MAX_SECONDS] == allowed(numbers, duration(positive=False))
