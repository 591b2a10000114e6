"""The difference of two shapes as alternatives, and refusals that name the keyword."""

from fractions import Fraction

import pytest

from antiphon.constraints.json_schema.difference import MAX_UNROLLED_ITEMS, subtract_shape
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Contains, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, conjunction, negation

A, B, C = (Location((name,)) for name in "abc")


def difference(shape: Shape, other: Shape) -> list[Shape]:
    return [piece for piece in subtract_shape(shape, other) if piece is not None]


def test_difference_of_booleans_is_the_other_value() -> None:
    assert [Boolean(frozenset({True}))] == difference(Boolean(), Boolean(frozenset({False})))
    assert [] == difference(Boolean(frozenset({False})), Boolean())


def test_difference_of_numbers_lies_below_and_above() -> None:
    other = Number(lower=(Fraction(1), False), upper=(Fraction(2), True))
    assert [Number(upper=(Fraction(1), True)), Number(lower=(Fraction(2), False))] == difference(Number(), other)


def test_difference_of_strings_violates_a_length_or_excludes_texts() -> None:
    assert [String(values=("a",)), String(max_length=1), String(min_length=4)] == difference(
        String(), String(excluded=frozenset("a"), min_length=2, max_length=3)
    )
    assert [String(excluded=frozenset("ab"))] == difference(String(excluded=frozenset("a")), String(values=("b",)))


def test_difference_of_arrays_violates_a_length_or_an_item() -> None:
    other = Array(prefix=(A,), min_items=1, max_items=2)
    longer, differing = Array(min_items=3), Array(prefix=(negation(A),), min_items=1)
    assert [Array(items=NEVER), longer, differing] == difference(Array(), other)


def test_any_item_of_an_unbounded_array_may_violate_items() -> None:
    assert [Array(contains=(Contains(negation(A)),))] == difference(Array(), Array(items=A))
    first = Array((conjunction(A, negation(C)), B), NEVER, 1)
    second = Array((A, conjunction(B, negation(C))), NEVER, 2)
    assert [first, second] == difference(Array((A, B), NEVER), Array(items=C))


def test_short_array_has_an_alternative_for_each_position() -> None:
    few, many = Array(max_items=MAX_UNROLLED_ITEMS), Array(max_items=MAX_UNROLLED_ITEMS + 1)
    assert MAX_UNROLLED_ITEMS == len(difference(few, Array(items=A)))
    contained = Array(max_items=MAX_UNROLLED_ITEMS + 1, contains=(Contains(negation(A)),))
    assert [contained] == difference(many, Array(items=A))
    after_the_first = difference(many, Array(prefix=(ANY,), items=A))
    lengths = [array.min_items for array in after_the_first if isinstance(array, Array)]
    assert [*range(2, MAX_UNROLLED_ITEMS + 2)] == lengths


def test_difference_from_an_array_without_further_items_has_longer_arrays() -> None:
    differing, longer = Array((negation(A),), min_items=1), Array(min_items=2)
    assert [differing, longer] == difference(Array(), Array((A,), NEVER))


def test_arrays_of_unique_items_without_arrays_of_unique_items_are_empty() -> None:
    assert [] == difference(Array(unique=True), Array(unique=True))


def test_negated_contains_excludes_the_item_everywhere() -> None:
    assert [Array(items=negation(A))] == difference(Array(), Array(contains=(Contains(A),)))


def test_difference_of_objects_lacks_or_violates_a_property() -> None:
    other = Object((("x", A),), required=("x",))
    missing, differing = Object((("x", NEVER),)), Object((("x", negation(A)),), required=("x",))
    assert [missing, differing] == difference(Object(), other)


def test_difference_of_closed_objects_violates_a_named_property() -> None:
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
def test_refusal_names_the_keyword_that_cannot_be_negated(keyword: str, shape: Shape, other: Shape) -> None:
    with pytest.raises(SchemaRefusedError, match=f"'{keyword}'"):
        difference(shape, other)


def point(value: str) -> Number:
    number = Fraction(value)
    return Number(integer=number.denominator == 1, lower=(number, False), upper=(number, False))


def test_single_number_remains_unless_it_is_a_multiple() -> None:
    even = Number(integer=True, multiple_of=Fraction(2))
    assert [[point("3")], []] == [difference(point(value), even) for value in ("3", "4")]
    assert [[point("1.5")], []] == [difference(point(value), Number(integer=True)) for value in ("1.5", "1")]


def test_multiples_without_multiples_of_a_divisor_are_empty() -> None:
    multiples = [Number(integer=True, multiple_of=Fraction(step)) for step in (2, 4)]
    assert [] == difference(multiples[1], multiples[0])
    assert [] == difference(multiples[0], Number(integer=True))


def test_difference_from_a_single_number_excludes_it() -> None:
    below, above = Number(upper=(Fraction(3), True)), Number(lower=(Fraction(3), True))
    assert [below, above] == difference(Number(), point("3"))


def test_listed_texts_without_a_match_remain() -> None:
    assert [String(values=("b",))] == difference(String(values=("ab", "b")), String(patterns=("a",)))


def test_difference_of_objects_violates_a_count_of_properties() -> None:
    fewer, more = Object(max_properties=1), Object(min_properties=4)
    assert [fewer, more] == difference(Object(), Object(min_properties=2, max_properties=3))


def test_required_property_of_both_or_of_any_value_cannot_be_violated() -> None:
    one, other = Object((("x", A),), required=("x",)), Object((("x", ANY),), required=("x",))
    assert [] == difference(one, other)
    assert [Object((("x", NEVER),))] == difference(Object(), other)


def test_equal_schemas_of_unnamed_properties_cannot_be_violated() -> None:
    one, other = Object(additional=A), Object((("x", B),), additional=A)
    assert [Object((("x", conjunction(A, negation(B))),), additional=A, required=("x",))] == difference(one, other)
