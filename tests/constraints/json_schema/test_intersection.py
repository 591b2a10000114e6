"""Two shapes of one type are intersected bound by bound."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.intersection import intersect_shapes, join_evaluated
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import (
    Array,
    Boolean,
    Contains,
    Evaluated,
    Null,
    Number,
    Object,
    Shape,
    String,
)
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, conjunction

A, B = Location(("a",)), Location(("b",))


def test_scalars_are_intersected() -> None:
    assert Null() == intersect_shapes(Null(), Null())
    assert Boolean(frozenset({True})) == intersect_shapes(Boolean(), Boolean(frozenset({True})))
    assert intersect_shapes(Boolean(frozenset({False})), Boolean(frozenset({True}))) is None


def test_numbers_are_intersected_bound_by_bound() -> None:
    left = Number(integer=True, lower=(Fraction(1), True), multiple_of=Fraction(4))
    right = Number(lower=(Fraction(1), False), upper=(Fraction(30), False), multiple_of=Fraction(6))
    joined = Number(integer=True, lower=(Fraction(12), False), upper=(Fraction(24), False), multiple_of=Fraction(12))
    assert joined == intersect_shapes(left, right)


def test_strings_are_intersected_bound_by_bound() -> None:
    values, bounds = String(values=("a", "b", "cc")), String(excluded=frozenset("a"), max_length=1)
    assert String(values=("b",)) == intersect_shapes(values, bounds)
    assert String(patterns=("x", "y"), min_length=2, max_length=3) == intersect_shapes(
        String(patterns=("x",), min_length=2), String(patterns=("y", "x"), max_length=3)
    )


def test_arrays_are_intersected_item_by_item() -> None:
    assert Array((conjunction(A, B),), A, 1, 3) == intersect_shapes(Array(items=A, min_items=1), Array((B,), ANY, 0, 3))


def test_counts_of_items_are_intersected() -> None:
    low, high = Contains(A, 2), Contains(B, 1, 3)
    assert Array(contains=(low, high), unique=True) == intersect_shapes(
        Array(contains=(low,)), Array(contains=(high, low), unique=True)
    )


def test_objects_are_intersected_name_by_name() -> None:
    left = Object((("x", A),), additional=NEVER)
    right = Object((("y", B), ("x", B)), required=("x",))
    assert Object((("x", conjunction(A, B)), ("y", NEVER)), additional=NEVER, required=("x",)) == intersect_shapes(
        left, right
    )


def test_named_property_satisfies_the_matching_pattern_of_the_other() -> None:
    left, right = Object((("ax", A),)), Object(patterns=(("^a", B),))
    assert Object((("ax", conjunction(A, B)),), patterns=(("^a", B),)) == intersect_shapes(left, right)


def test_pattern_satisfies_the_additional_schema_of_the_other() -> None:
    left, right = Object(patterns=(("^a", A),), additional=NEVER), Object(additional=B)
    assert Object(patterns=(("^a", conjunction(A, B)),), additional=NEVER) == intersect_shapes(left, right)


def test_overlapping_patterns_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="patternProperties"):
        intersect_shapes(Object(patterns=(("a", A),)), Object(patterns=(("b", B),)))


def test_evaluated_names_and_patterns_are_joined() -> None:
    left, right = Evaluated(frozenset("a"), frozenset("b")), Evaluated(frozenset("c"), is_complete=True)
    assert Evaluated(frozenset("ac"), frozenset("b"), is_complete=True) == join_evaluated(left, right)


@pytest.mark.parametrize(
    ("expected", "one", "other"),
    [
        (Number(integer=True), Number(integer=True), Number()),
        (Number(integer=True, multiple_of=Fraction(3)), Number(integer=True, multiple_of=Fraction(3)), Number()),
        (Number(lower=(Fraction(2), False)), Number(lower=(Fraction(1), True)), Number(lower=(Fraction(2), False))),
        (Number(lower=(Fraction(2), True)), Number(lower=(Fraction(2), True)), Number(lower=(Fraction(2), False))),
        (Number(upper=(Fraction(1), True)), Number(upper=(Fraction(1), True)), Number(upper=(Fraction(2), False))),
        (Number(upper=(Fraction(2), True)), Number(upper=(Fraction(2), True)), Number(upper=(Fraction(2), False))),
        (String(values=("b",)), String(values=("a", "b")), String(values=("b", "c"))),
        (String(values=("a",)), String(values=("a", "bb")), String(max_length=1)),
        (String(max_length=3), String(max_length=3), String(max_length=4)),
        (Array(unique=True), Array(unique=True), Array()),
        (Array(max_items=3), Array(max_items=3), Array(max_items=4)),
        (Array(min_items=4), Array(min_items=3), Array(min_items=4)),
        (
            Object(min_properties=2, max_properties=3),
            Object(max_properties=3),
            Object(min_properties=2, max_properties=4),
        ),
        (None, Object((("a", A),), required=("a",)), Object((("a", NEVER),))),
    ],
)
def test_the_narrower_bound_holds_whichever_comes_first(expected: Shape | None, one: Shape, other: Shape) -> None:
    assert [expected] * 2 == [intersect_shapes(one, other), intersect_shapes(other, one)]


def test_patterns_of_both_are_kept_and_equal_ones_joined() -> None:
    left, right = Object(patterns=(("^a", A), ("^b", A))), Object(patterns=(("^a", B),))
    assert Object(patterns=(("^a", conjunction(A, B)), ("^b", A))) == intersect_shapes(left, right)


def test_disjoint_patterns_stand_together() -> None:
    left, right = Object(patterns=(("^a", A),)), Object(patterns=(("^b", B),))
    assert Object(patterns=(("^a", A), ("^b", B))) == intersect_shapes(left, right)


def test_patterns_may_overlap_if_they_equal_the_additional_schema() -> None:
    left, right = Object(patterns=(("a", A),), additional=A), Object(patterns=(("b", B),), additional=B)
    patterns = (("a", conjunction(A, B)), ("b", conjunction(B, A)))
    assert Object(patterns=patterns, additional=conjunction(A, B)) == intersect_shapes(left, right)


def test_complete_evaluation_of_one_is_complete() -> None:
    assert [Evaluated(is_complete=True)] * 2 == [
        join_evaluated(*pair)
        for pair in ((Evaluated(is_complete=True), Evaluated()), (Evaluated(), Evaluated(is_complete=True)))
    ]
