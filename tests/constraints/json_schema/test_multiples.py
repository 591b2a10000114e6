"""Limits on multiples, and lists of few multiples between bounds."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.multiples import (
    MAX_BOUNDED_MULTIPLE,
    MAX_LISTED_MULTIPLES,
    MAX_MULTIPLE,
    check_multiples,
    listed_multiples,
)
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Null, Number


def multiples(step: str, low: int | None = None, high: int | None = None) -> Number:
    of = Fraction(step)
    bounds = [None if bound is None else (Fraction(bound), False) for bound in (low, high)]
    return Number(integer=of.denominator == 1, lower=bounds[0], upper=bounds[1], multiple_of=of)


def refused(*shapes: Number) -> str:
    with pytest.raises(SchemaRefusedError) as caught:
        check_multiples(shapes)
    return caught.value.reason


@pytest.mark.parametrize(
    "shape",
    [
        multiples(str(MAX_MULTIPLE)),
        multiples(str(MAX_MULTIPLE), low=0),
        multiples(str(MAX_MULTIPLE), high=-MAX_MULTIPLE),
        multiples(str(MAX_BOUNDED_MULTIPLE), low=10**6, high=10**15),
        multiples("1000", low=10**6, high=10**15),
        multiples("0.01", low=3),
        multiples("2.5"),
        multiples("0.125"),
    ],
)
def test_multiple_within_the_limits_is_accepted(shape: Number) -> None:
    check_multiples([Null(), shape, Number(integer=True)])


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        ("'multipleOf' 99999989 exceeds the limit of 10000", multiples("99999989")),
        ("'multipleOf' 10001 exceeds the limit of 10000", multiples("10001")),
        ("'multipleOf' 251 exceeds the limit of 250 beside bounds or decimals", multiples("251", low=252)),
        ("'multipleOf' 251 exceeds the limit of 250 beside bounds or decimals", multiples("251", low=0, high=10**6)),
        ("'multipleOf' 2.51 exceeds the limit of 250 beside bounds or decimals", multiples("2.51")),
        ("'multipleOf' of many digits exceeds the limit of 10000", multiples("1" + "0" * 30)),
        ("'multipleOf' of many digits exceeds the limit of 10000", multiples("1" + "0" * 15)),
        ("'multipleOf' 999999999999999 exceeds the limit of 10000", multiples("9" * 15)),
        ("'multipleOf' 3.0625 exceeds the limit of 250 beside bounds or decimals", multiples("3.0625")),
        ("'multipleOf' 251 exceeds the limit of 250 beside bounds or decimals", multiples("251", low=-251, high=251)),
    ],
)
def test_multiple_beyond_a_limit_is_refused_by_name(expected: str, shape: Number) -> None:
    assert expected == refused(shape)


def test_alternative_multiples_count_as_their_least_common_multiple() -> None:
    check_multiples([multiples("3"), multiples("5"), multiples("15")])
    assert "'multipleOf' 101 exceeds the limit of 5000 for 2" in refused(multiples("97"), multiples("101"))
    check_multiples([multiples("50"), multiples("99")])
    check_multiples([multiples("50", low=60), multiples("25", low=60)])
    bounded = refused(multiples("97", low=1000), multiples("3"))
    assert "'multipleOf' 97 exceeds the limit of 250 beside bounds or decimals for 2 alternatives together" == bounded


def test_several_divisors_of_a_thousand_are_refused() -> None:
    divisors = [str(number) for number in range(1, 1001) if 1000 % number == 0]
    assert "limit of 625 for 16 alternatives" in refused(*map(multiples, divisors))
    assert "limit of 250 beside" in refused(multiples("8", low=1000), multiples("125", low=1000))


def test_numbers_without_multiples_are_accepted() -> None:
    shape = Number(integer=True, lower=(Fraction(5), False))
    check_multiples([Null(), shape])
    check_multiples([multiples(str(MAX_MULTIPLE)), shape])


def test_few_multiples_between_bounds_are_listed() -> None:
    shape = multiples("99999989", low=-99999989, high=2 * 99999989)
    points = [(Fraction(value), False) for value in (-99999989, 0, 99999989, 199999978)]
    assert [Number(integer=True, lower=point, upper=point) for point in points] == listed_multiples(shape)


@pytest.mark.parametrize(
    "shape",
    [
        Number(),
        multiples("251"),
        multiples("251", low=0),
        multiples("251", high=0),
        multiples("249", low=0, high=1000),
        multiples("251.5", low=0, high=1000),
        Number(integer=True, lower=(Fraction(0), False), upper=(Fraction(9), False)),
        multiples("250", low=0, high=1000),
        multiples("1000", low=0, high=10**6),
        multiples("2.51", low=0, high=10),
        multiples("251", low=0, high=251 * MAX_LISTED_MULTIPLES),
    ],
)
def test_other_numbers_are_not_listed(shape: Number) -> None:
    assert [shape] == listed_multiples(shape)


def test_multiples_up_to_the_limit_are_listed() -> None:
    assert MAX_LISTED_MULTIPLES == len(listed_multiples(multiples("251", low=1, high=251 * MAX_LISTED_MULTIPLES)))
