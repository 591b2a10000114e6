"""What one shape has and another has not, as alternatives; what cannot be negated is named."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.differences import without
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Contains, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, both, inverse

A, B = Location(("a",)), Location(("b",))


def difference(shape: Shape, other: Shape) -> list[Shape]:
    return [piece for piece in without(shape, other) if piece is not None]


def test_booleans_differ_in_a_value() -> None:
    assert [Boolean(frozenset({True}))] == difference(Boolean(), Boolean(frozenset({False})))
    assert [] == difference(Boolean(frozenset({False})), Boolean())


def test_numbers_differ_at_both_ends() -> None:
    other = Number(lower=(Fraction(1), False), upper=(Fraction(2), True))
    assert [Number(upper=(Fraction(1), True)), Number(lower=(Fraction(2), False))] == difference(Number(), other)


def test_texts_differ_in_length_or_are_listed() -> None:
    assert [String(values=("a",)), String(max_length=1), String(min_length=4)] == difference(
        String(), String(excluded=frozenset("a"), min_length=2, max_length=3)
    )
    assert [String(excluded=frozenset("ab"))] == difference(String(excluded=frozenset("a")), String(values=("b",)))


def test_arrays_differ_in_length_or_in_an_item() -> None:
    other = Array(prefix=(A,), min_items=1, max_items=2)
    longer, differing = Array(min_items=3), Array(prefix=(inverse(A),), min_items=1)
    assert [Array(items=NEVER), longer, differing] == difference(Array(), other)


def test_an_item_of_any_place_may_differ() -> None:
    assert [Array(contains=(Contains(inverse(A)),))] == difference(Array(), Array(items=A))
    assert 2 == len(difference(Array(max_items=2), Array(items=A)))


def test_what_is_contained_may_be_missing() -> None:
    assert [Array(items=inverse(A))] == difference(Array(), Array(contains=(Contains(A),)))


def test_objects_differ_in_a_property_at_least() -> None:
    other = Object((("x", A),), required=("x",))
    missing, differing = Object((("x", NEVER),)), Object((("x", inverse(A)),), required=("x",))
    assert [missing, differing] == difference(Object(), other)


def test_closed_objects_differ_in_a_known_name() -> None:
    one, other = Object((("x", A), ("y", B)), additional=NEVER), Object((("x", A),), additional=NEVER)
    differing = Object((("x", A), ("y", both(B, ANY))), additional=NEVER, required=("y",))
    assert differing in difference(one, other)


@pytest.mark.parametrize(
    ("keyword", "shape", "other"),
    [
        ("pattern", String(), String(patterns=("a",))),
        ("type", Number(), Number(integer=True)),
        ("multipleOf", Number(integer=True), Number(integer=True, multiple_of=Fraction(2))),
        ("additionalProperties", Object(), Object(additional=A)),
        ("uniqueItems", Array(), Array(unique=True)),
        ("items", Array(), Array(prefix=(A,), items=B)),
        ("contains", Array(), Array(contains=(Contains(A, 2),))),
        ("contains", Array(), Array(contains=(Contains(A, 1, 3),))),
    ],
)
def test_what_cannot_be_negated_is_named(keyword: str, shape: Shape, other: Shape) -> None:
    with pytest.raises(SchemaRefusedError, match=keyword):
        difference(shape, other)
