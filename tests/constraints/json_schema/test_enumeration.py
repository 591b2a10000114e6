"""Keys of listed values: equal for equal values only."""

from fractions import Fraction
from typing import Any

import pytest

from antiphon.constraints.json_schema.enumeration import exclude_keys, exclude_points, exclude_texts, value_keys
from antiphon.constraints.json_schema.keywords import constant
from antiphon.constraints.json_schema.shapes import Array, Boolean, Contains, Null, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Constant

EQUAL = [
    (1, 1.0),
    ([1], [1.0]),
    ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}),
    ({"a": {"b": 0.5}}, {"a": {"b": 5e-1}}),
    ([10**23], [1e23]),
]
DIFFERENT = [
    (1, True),
    (0, False),
    (None, False),
    ("1", 1),
    ([1], [True]),
    ([], {}),
    ({"a": 1}, {"b": 1}),
    ([1], [[1]]),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_values_have_equal_keys(one: Any, other: Any) -> None:  # noqa: ANN401 (JSON)
    assert value_keys(constant(one)) == value_keys(constant(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_have_different_keys(one: Any, other: Any) -> None:  # noqa: ANN401 (JSON)
    assert value_keys(constant(one)) != value_keys(constant(other))


@pytest.mark.parametrize(
    "shape",
    [
        Number(),
        Number(lower=(Fraction(1), False)),
        String(excluded=frozenset("a")),
        Array(prefix=(Constant("1"),), min_items=1),
        Array(prefix=(Constant("1"),), items=NEVER),
        Array(prefix=(ANY,), items=NEVER, min_items=1),
        Object(properties=(("a", Constant("1")),), required=("a",)),
        Object(properties=(("a", Constant("1")),), additional=NEVER),
        Object(properties=(("a", ANY),), additional=NEVER, required=("a",)),
        Object(patterns=(("^a", ANY),), additional=NEVER),
        Array(prefix=(Constant("1"), ANY), items=NEVER, min_items=2, unique=True),
        Array(prefix=(Constant("1"), Constant("2")), items=NEVER, min_items=2, unique=True),
        Array(prefix=(Constant("1"),), items=NEVER, min_items=1, contains=(Contains(ANY),)),
    ],
)
def test_shape_that_does_not_list_its_values_has_no_keys(shape: Shape) -> None:
    assert value_keys(shape) is None


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        (None, Null()),
        (Boolean(frozenset({False})), Boolean()),
        (None, Boolean(frozenset({True}))),
        (String(values=("b",)), String(values=("a", "b"))),
        (None, String(values=("a",))),
        (None, constant(5)),
        (constant(6), constant(6)),
        (None, constant({"x": 5})),
        (Number(), Number()),
    ],
)
def test_values_are_excluded_by_their_keys(expected: Shape | None, shape: Shape) -> None:
    taken = [value_keys(constant(value)) or () for value in (None, True, "a", 5, {"x": 5.0})]
    assert expected == exclude_keys(shape, frozenset(key for keys in taken for key in keys))


def whole(low: int | None, high: int | None) -> Number:
    bounds = [None if bound is None else (Fraction(bound), False) for bound in (low, high)]
    return Number(integer=True, lower=bounds[0], upper=bounds[1])


def test_an_interval_is_cut_at_points() -> None:
    points = [Fraction(value) for value in (-1, 3, 4, 7)]
    assert [whole(0, 2), whole(5, 6), whole(8, 9)] == exclude_points(whole(0, 9), points)
    assert [whole(None, -2), whole(0, 2), whole(5, 6), whole(8, None)] == exclude_points(whole(None, None), points)


def test_points_that_are_not_values_cut_nothing() -> None:
    even = Number(integer=True, multiple_of=Fraction(2), lower=(Fraction(0), False))
    assert [even] == exclude_points(even, [Fraction(-2), Fraction(3), Fraction(7, 2)])
    assert [whole(None, None)] == exclude_points(whole(None, None), [Fraction(7, 2)])


def test_points_beyond_the_bounds_cut_nothing() -> None:
    points = [Fraction(value) for value in (1, 3, 5, 9, 11)]
    assert [whole(4, 4), whole(6, 8)] == exclude_points(whole(4, 8), points)


def test_bound_at_a_point_becomes_excluded() -> None:
    two, three = Fraction(2), Fraction(3)
    for excluded in (False, True):
        shape = Number(lower=(two, excluded), upper=(three, excluded))
        assert [Number(lower=(two, True), upper=(three, True))] == exclude_points(shape, [two, three])


def test_interval_of_integers_is_cut_between_integers() -> None:
    half = Fraction(7, 2)
    assert [Number(upper=(half, True)), Number(lower=(half, True))] == exclude_points(Number(), [half])


def test_texts_are_excluded_from_a_shape_that_lists_none() -> None:
    assert String(excluded=frozenset({"a", "b", "c"})) == exclude_texts(String(excluded=frozenset({"a"})), ("b", "c"))
