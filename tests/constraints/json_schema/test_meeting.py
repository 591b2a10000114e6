"""Two shapes of one type are joined bound by bound."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.meeting import join_evaluated, meet
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Contains, Evaluated, Null, Number, Object, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, both

A, B = Location(("a",)), Location(("b",))


def test_scalars_are_joined() -> None:
    assert Null() == meet(Null(), Null())
    assert Boolean(frozenset({True})) == meet(Boolean(), Boolean(frozenset({True})))
    assert meet(Boolean(frozenset({False})), Boolean(frozenset({True}))) is None


def test_numbers_are_joined() -> None:
    left = Number(integer=True, lower=(Fraction(1), True), multiple_of=Fraction(4))
    right = Number(lower=(Fraction(1), False), upper=(Fraction(30), False), multiple_of=Fraction(6))
    joined = Number(integer=True, lower=(Fraction(12), False), upper=(Fraction(24), False), multiple_of=Fraction(12))
    assert joined == meet(left, right)


def test_strings_are_joined() -> None:
    assert String(values=("b",)) == meet(String(values=("a", "b", "cc")), String(excluded=frozenset("a"), max_length=1))
    assert String(patterns=("x", "y"), min_length=2, max_length=3) == meet(
        String(patterns=("x",), min_length=2), String(patterns=("y", "x"), max_length=3)
    )


def test_arrays_are_joined_item_by_item() -> None:
    assert Array((both(A, B),), A, 1, 3) == meet(Array(items=A, min_items=1), Array((B,), ANY, 0, 3))


def test_counts_of_items_are_joined() -> None:
    low, high = Contains(A, 2), Contains(B, 1, 3)
    assert Array(contains=(low, high), unique=True) == meet(
        Array(contains=(low,)), Array(contains=(high, low), unique=True)
    )


def test_objects_are_joined_name_by_name() -> None:
    left = Object((("x", A),), additional=NEVER)
    right = Object((("y", B), ("x", B)), required=("x",))
    assert Object((("x", both(A, B)), ("y", NEVER)), additional=NEVER, required=("x",)) == meet(left, right)


def test_what_one_names_the_other_may_match() -> None:
    left, right = Object((("ax", A),)), Object(patterns=(("^a", B),))
    assert Object((("ax", both(A, B)),), patterns=(("^a", B),)) == meet(left, right)


def test_what_one_calls_additional_the_other_may_match() -> None:
    left, right = Object(patterns=(("^a", A),), additional=NEVER), Object(additional=B)
    assert Object(patterns=(("^a", both(A, B)),), additional=NEVER) == meet(left, right)


def test_overlapping_patterns_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="patternProperties"):
        meet(Object(patterns=(("a", A),)), Object(patterns=(("b", B),)))


def test_what_either_has_looked_at_is_evaluated() -> None:
    left, right = Evaluated(frozenset("a"), frozenset("b")), Evaluated(frozenset("c"), everything=True)
    assert Evaluated(frozenset("ac"), frozenset("b"), everything=True) == join_evaluated(left, right)
