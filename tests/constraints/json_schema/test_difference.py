"""What one shape has and another has not, as alternatives; what cannot be negated is named."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.difference import MAX_UNROLLED_ITEMS, subtract_shape
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Contains, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, conjunction, negation

A, B, C = (Location((name,)) for name in "abc")


def difference(shape: Shape, other: Shape) -> list[Shape]:
    return [piece for piece in subtract_shape(shape, other) if piece is not None]


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
    longer, differing = Array(min_items=3), Array(prefix=(negation(A),), min_items=1)
    assert [Array(items=NEVER), longer, differing] == difference(Array(), other)


def test_an_item_of_any_place_may_differ() -> None:
    assert [Array(contains=(Contains(negation(A)),))] == difference(Array(), Array(items=A))
    first = Array((conjunction(A, negation(C)), B), NEVER, 1)
    second = Array((A, conjunction(B, negation(C))), NEVER, 2)
    assert [first, second] == difference(Array((A, B), NEVER), Array(items=C))


def test_places_are_told_apart_where_an_array_has_few() -> None:
    few, many = Array(max_items=MAX_UNROLLED_ITEMS), Array(max_items=MAX_UNROLLED_ITEMS + 1)
    assert MAX_UNROLLED_ITEMS == len(difference(few, Array(items=A)))
    contained = Array(max_items=MAX_UNROLLED_ITEMS + 1, contains=(Contains(negation(A)),))
    assert [contained] == difference(many, Array(items=A))
    after_the_first = difference(many, Array(prefix=(ANY,), items=A))
    lengths = [array.min_items for array in after_the_first if isinstance(array, Array)]
    assert [*range(2, MAX_UNROLLED_ITEMS + 2)] == lengths


def test_an_array_without_further_items_differs_from_longer_ones() -> None:
    differing, longer = Array((negation(A),), min_items=1), Array(min_items=2)
    assert [differing, longer] == difference(Array(), Array((A,), NEVER))


def test_an_array_of_different_items_has_nothing_that_one_of_any_items_has_not() -> None:
    assert [] == difference(Array(unique=True), Array(unique=True))


def test_what_is_contained_may_be_missing() -> None:
    assert [Array(items=negation(A))] == difference(Array(), Array(contains=(Contains(A),)))


def test_objects_differ_in_a_property_at_least() -> None:
    other = Object((("x", A),), required=("x",))
    missing, differing = Object((("x", NEVER),)), Object((("x", negation(A)),), required=("x",))
    assert [missing, differing] == difference(Object(), other)


def test_closed_objects_differ_in_a_known_name() -> None:
    one, other = Object((("x", A), ("y", B)), additional=NEVER), Object((("x", A),), additional=NEVER)
    assert [Object((("x", A), ("y", B)), additional=NEVER, required=("y",))] == difference(one, other)
    differing = conjunction(B, negation(C))
    assert [Object((("x", A), ("y", differing)), additional=NEVER, required=("y",))] == difference(
        one, Object((("x", A),), additional=C)
    )


@pytest.mark.parametrize(
    ("keyword", "shape", "other"),
    [
        ("pattern", String(), String(patterns=("a",))),
        ("type", Number(), Number(integer=True)),
        ("multipleOf", Number(integer=True), Number(integer=True, multiple_of=Fraction(2))),
        ("additionalProperties", Object(), Object(additional=A)),
        ("patternProperties", Object(), Object(patterns=(("^a", A),))),
        ("patternProperties", Object(additional=A), Object(patterns=(("^a", B),), additional=A)),
        ("pattern", String(patterns=("a",)), String(patterns=("a", "b"))),
        ("uniqueItems", Array(), Array(unique=True)),
        ("items", Array(), Array(prefix=(A,), items=B)),
        ("contains", Array(), Array(contains=(Contains(A, 2),))),
        ("contains", Array(), Array(contains=(Contains(A, 1, 3),))),
    ],
)
def test_what_cannot_be_negated_is_named(keyword: str, shape: Shape, other: Shape) -> None:
    with pytest.raises(SchemaRefusedError, match=f"'{keyword}'"):
        difference(shape, other)


def point(value: str) -> Number:
    number = Fraction(value)
    return Number(integer=number.denominator == 1, lower=(number, False), upper=(number, False))


def test_a_number_alone_differs_when_it_is_no_multiple() -> None:
    even = Number(integer=True, multiple_of=Fraction(2))
    assert [[point("3")], []] == [difference(point(value), even) for value in ("3", "4")]
    assert [[point("1.5")], []] == [difference(point(value), Number(integer=True)) for value in ("1.5", "1")]


def test_multiples_are_among_those_of_a_divisor() -> None:
    multiples = [Number(integer=True, multiple_of=Fraction(step)) for step in (2, 4)]
    assert [] == difference(multiples[1], multiples[0])
    assert [] == difference(multiples[0], Number(integer=True))


def test_a_number_is_taken_out_of_those_around_it() -> None:
    below, above = Number(upper=(Fraction(3), True)), Number(lower=(Fraction(3), True))
    assert [below, above] == difference(Number(), point("3"))


def test_listed_texts_differ_where_a_pattern_does_not_find_them() -> None:
    assert [String(values=("b",))] == difference(String(values=("ab", "b")), String(patterns=("a",)))


def test_objects_differ_in_the_number_of_their_properties() -> None:
    fewer, more = Object(max_properties=1), Object(min_properties=4)
    assert [fewer, more] == difference(Object(), Object(min_properties=2, max_properties=3))


def test_a_property_that_both_require_or_that_may_be_anything_makes_no_difference() -> None:
    one, other = Object((("x", A),), required=("x",)), Object((("x", ANY),), required=("x",))
    assert [] == difference(one, other)
    assert [Object((("x", NEVER),))] == difference(Object(), other)


def test_what_neither_names_makes_no_difference_where_both_say_the_same_of_it() -> None:
    one, other = Object(additional=A), Object((("x", B),), additional=A)
    assert [Object((("x", conjunction(A, negation(B))),), additional=A, required=("x",))] == difference(one, other)
