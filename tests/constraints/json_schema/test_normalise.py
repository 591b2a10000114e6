"""Normalised shapes have no redundant bound; a shape without a value becomes None."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.normalise import least_common_multiple, normalise
from antiphon.constraints.json_schema.shapes import Array, Null, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location

A, B = Location(("a",)), Location(("b",))


def bound(value: str, *, excluded: bool = False) -> tuple[Fraction, bool]:
    return Fraction(value), excluded


def test_least_common_multiple_of_fractions() -> None:
    assert Fraction(3, 2) == least_common_multiple(Fraction(1, 2), Fraction(3, 4))


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        (Null(), Null()),
        (
            Number(integer=True, lower=bound("2"), upper=bound("4")),
            Number(integer=True, lower=bound("1", excluded=True), upper=bound("4.5")),
        ),
        (Number(integer=True), Number(multiple_of=Fraction(1))),
        (Number(integer=True, multiple_of=Fraction(3)), Number(multiple_of=Fraction(3))),
        (Number(integer=True, multiple_of=Fraction(3)), Number(integer=True, multiple_of=Fraction(3, 2))),
        (
            Number(integer=True, lower=bound("7"), upper=bound("7")),
            Number(lower=bound("5"), upper=bound("10"), multiple_of=Fraction(7)),
        ),
        (Number(lower=bound("0.5"), upper=bound("0.5")), Number(lower=bound("0.5"), upper=bound("0.5"))),
        (None, Number(integer=True, lower=bound("1", excluded=True), upper=bound("2", excluded=True))),
        (Number(lower=bound("0.5")), Number(lower=bound("0.5"))),
        (Number(upper=bound("0.5", excluded=True)), Number(upper=bound("0.5", excluded=True))),
        (Number(multiple_of=Fraction(1, 2)), Number(multiple_of=Fraction(1, 2))),
        (Number(lower=bound("1"), upper=bound("2")), Number(lower=bound("1"), upper=bound("2"))),
        (
            Number(integer=True, lower=bound("1"), upper=bound("2")),
            Number(integer=True, lower=bound("0.5", excluded=True), upper=bound("2.5", excluded=True)),
        ),
        (
            Number(integer=True, lower=bound("1"), upper=bound("3")),
            Number(integer=True, lower=bound("1"), upper=bound("4", excluded=True)),
        ),
        (
            Number(integer=True, lower=bound("6"), upper=bound("12"), multiple_of=Fraction(3)),
            Number(
                integer=True, lower=bound("3", excluded=True), upper=bound("15", excluded=True), multiple_of=Fraction(3)
            ),
        ),
        (
            Number(integer=True, lower=bound("6"), upper=bound("12"), multiple_of=Fraction(3)),
            Number(integer=True, lower=bound("4"), upper=bound("13"), multiple_of=Fraction(3)),
        ),
        (
            Number(lower=bound("0.5"), upper=bound("1.5"), multiple_of=Fraction(1, 2)),
            Number(lower=bound("0", excluded=True), upper=bound("1.7"), multiple_of=Fraction(1, 2)),
        ),
        (
            Number(integer=True, lower=bound("1"), upper=bound("1")),
            Number(integer=True, lower=bound("0.5"), upper=bound("1.5")),
        ),
        (None, Number(lower=bound("2"), upper=bound("1"))),
        (None, Number(lower=bound("1", excluded=True), upper=bound("1"))),
        (None, Number(lower=bound("1", excluded=True), upper=bound("1", excluded=True))),
        (None, Number(lower=bound("1"), upper=bound("1", excluded=True))),
        (None, Number(lower=bound("1"), upper=bound("2"), multiple_of=Fraction(5))),
    ],
)
def test_number_is_normalised(expected: Shape | None, shape: Number) -> None:
    assert expected == normalise(shape)


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        (String(values=("ab",)), String(values=("ab", "b", "abc", "ab"), patterns=("^a",), max_length=2)),
        (String(values=("",)), String(max_length=0)),
        (None, String(values=("a",), excluded=frozenset("a"))),
        (None, String(min_length=2, max_length=1)),
        (String(min_length=1, max_length=1), String(min_length=1, max_length=1)),
        (String(patterns=("^a",)), String(patterns=("^a",))),
        (String(patterns=("^a",), max_length=1), String(patterns=("^a",), max_length=1)),
        (None, String(patterns=("^ab$",), max_length=1)),
        (String(values=("ab",)), String(values=("a", "ab"), min_length=2)),
        (String(values=("ab", "b")), String(values=("ab", "b", "c"), excluded=frozenset("c"))),
        (None, String(patterns=("a",), max_length=0)),
        (None, String(patterns=("^a$",), min_length=2)),
        (String(values=("😀",)), String(values=("😀",), max_length=1)),
    ],
)
def test_string_is_normalised(expected: Shape | None, shape: String) -> None:
    assert expected == normalise(shape)


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        (Array(prefix=(A,), items=NEVER), Array(prefix=(A, NEVER), items=B)),
        (Array(prefix=(A,), items=NEVER), Array(prefix=(A, B), items=B, max_items=1)),
        (Array(items=A, max_items=3), Array(prefix=(A, A), items=A, max_items=3)),
        (Array(items=NEVER), Array(max_items=0)),
        (Array(max_items=1), Array(max_items=1, unique=True)),
        (None, Array(prefix=(A,), items=NEVER, min_items=2)),
        (Array(unique=True), Array(unique=True)),
        (Array(max_items=2, unique=True), Array(max_items=2, unique=True)),
        (Array(prefix=(A,), items=NEVER), Array(prefix=(A,), items=NEVER, unique=True)),
        (Array(prefix=(A, B), items=NEVER, unique=True), Array(prefix=(A, B), items=NEVER, unique=True)),
        (Array(prefix=(A,), items=B, unique=True), Array(prefix=(A,), items=B, unique=True)),
        (Array(prefix=(A,), items=B, max_items=2), Array(prefix=(A,), items=B, max_items=2)),
        (Array(prefix=(A, B), items=NEVER), Array(prefix=(A, B, B), items=B, max_items=2)),
        (Array(prefix=(A,), items=NEVER), Array(prefix=(A, NEVER), items=B, max_items=3)),
        (Array(items=NEVER), Array(prefix=(A, NEVER), items=B, max_items=0)),
        (Array(prefix=(B,), items=A, max_items=4), Array(prefix=(B, A, A), items=A, max_items=4)),
        (Array(prefix=(B,), items=A), Array(prefix=(B, A), items=A)),
        (Array(prefix=(A,), items=NEVER, min_items=1), Array(prefix=(A,), items=NEVER, min_items=1)),
        (Array(min_items=1, max_items=1), Array(min_items=1, max_items=1)),
        (None, Array(min_items=2, max_items=1)),
    ],
)
def test_array_is_normalised(expected: Shape | None, shape: Array) -> None:
    assert expected == normalise(shape)


@pytest.mark.parametrize(
    ("expected", "shape"),
    [
        (Object((("a", A),), required=("a",)), Object((("a", A),), required=("a",), min_properties=1)),
        (Object((("a", A),), additional=NEVER), Object((("a", A),), additional=NEVER, max_properties=1)),
        (
            Object((("a", A), ("b", B)), additional=NEVER, required=("a", "b")),
            Object((("a", A), ("b", B)), additional=NEVER, min_properties=2),
        ),
        (Object((("a", A),), (), NEVER, ("a",)), Object((("a", A), ("b", B)), (("x", A),), ANY, ("a",), 0, 1)),
        (None, Object((("a", NEVER),), required=("a",))),
        (
            Object((("a", A), ("b", B)), additional=NEVER, max_properties=1),
            Object((("a", A), ("b", B)), additional=NEVER, max_properties=1),
        ),
        (Object((("a", A),), additional=B, max_properties=1), Object((("a", A),), additional=B, max_properties=1)),
        (Object(min_properties=2, max_properties=2), Object(min_properties=2, max_properties=2)),
        (
            Object((("a", A), ("b", B)), additional=NEVER, min_properties=1),
            Object((("a", A), ("b", B)), additional=NEVER, min_properties=1),
        ),
        (
            Object((("a", A), ("b", B), ("c", NEVER)), additional=NEVER, required=("b", "a")),
            Object((("a", A), ("b", B), ("c", NEVER)), additional=NEVER, required=("b",), min_properties=2),
        ),
        (
            Object((("a", A), ("b", B)), additional=NEVER, required=("a",)),
            Object((("a", A), ("b", B)), additional=NEVER, required=("a",), min_properties=1, max_properties=2),
        ),
        (
            Object((("a", A), ("b", B)), required=("a",), min_properties=2),
            Object((("a", A), ("b", B)), required=("a",), min_properties=2),
        ),
        (None, Object((("a", A),), additional=NEVER, min_properties=2, max_properties=3)),
        (None, Object(min_properties=3, max_properties=2)),
        (None, Object((("a", A), ("b", A)), required=("a", "b"), max_properties=1)),
        (None, Object((("a", A),), additional=NEVER, min_properties=2)),
    ],
)
def test_object_is_normalised(expected: Shape | None, shape: Object) -> None:
    assert expected == normalise(shape)
