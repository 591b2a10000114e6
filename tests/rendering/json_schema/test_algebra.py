"""Intersection and difference, checked on values: what both admit, what one admits and the other does not."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.rendering.json_schema.algebra import intersect, subtract
from antiphon.rendering.json_schema.errors import SchemaRefusedError
from antiphon.rendering.json_schema.normal import normal
from antiphon.rendering.json_schema.shapes import EVERYTHING, Array, Boolean, Null, Number, Object, Shape, String, Union
from antiphon.rendering.json_schema.terms import ANY, NEVER, Location, both, inverse

A, B = Location(("a",)), Location(("b",))
bounds = st.none() | st.tuples(st.integers(-3, 3).map(Fraction), st.booleans())
numbers = st.builds(Number, st.booleans(), bounds, bounds, st.sampled_from((None, Fraction(2), Fraction(3))))
texts = st.lists(st.sampled_from(("", "a", "ab", "b")), min_size=1, unique=True).map(tuple)
lengths = st.none() | st.integers(0, 2)
strings = st.builds(
    String,
    st.none() | texts,
    st.frozensets(st.sampled_from(("", "ab")), max_size=1),
    st.just(()),
    st.integers(0, 2),
    lengths,
).filter(lambda shape: normal(shape) == shape)


def holds(shape: Shape, value: Fraction | str) -> bool:
    if isinstance(shape, Number) and isinstance(value, Fraction):
        step = shape.multiple_of or (Fraction(1) if shape.integer else None)
        return (
            (shape.lower is None or value > shape.lower[0] or (value == shape.lower[0] and not shape.lower[1]))
            and (shape.upper is None or value < shape.upper[0] or (value == shape.upper[0] and not shape.upper[1]))
            and (step is None or value % step == 0)
            and (not shape.integer or value.denominator == 1)
        )
    if isinstance(shape, String) and isinstance(value, str):
        return (
            (shape.values is None or value in shape.values)
            and value not in shape.excluded
            and shape.min_length <= len(value)
            and (shape.max_length is None or len(value) <= shape.max_length)
        )
    return False


def possible(_: Shape) -> bool:
    return True


@given(numbers, numbers, st.fractions(-4, 4, max_denominator=2))
def test_numbers(left: Number, right: Number, value: Fraction) -> None:
    common = holds(left, value) and holds(right, value)
    assert common == any(holds(shape, value) for shape in intersect((left,), (right,)))
    try:
        rest = subtract((left,), (right,), possible)
    except SchemaRefusedError:
        return
    assert (holds(left, value) and not common) == any(holds(shape, value) for shape in rest)


@given(strings, strings, st.sampled_from(("", "a", "ab", "b", "abc")))
def test_strings(left: String, right: String, value: str) -> None:
    common = holds(left, value) and holds(right, value)
    assert common == any(holds(shape, value) for shape in intersect((left,), (right,)))
    rest = subtract((left,), (right,), possible)
    assert (holds(left, value) and not common) == any(holds(shape, value) for shape in rest)


def test_types_exclude_each_other() -> None:
    assert () == intersect((Null(),), (Boolean(),))
    assert (Null(), Boolean(frozenset({True}))) == subtract(
        (Null(), Boolean()), (Boolean(frozenset({False})),), possible
    )
    assert () == subtract(EVERYTHING, EVERYTHING, possible)


def test_arrays_are_joined_item_by_item() -> None:
    assert (Array((both(A, B),), A, 1, 3),) == intersect((Array(items=A, min_items=1),), (Array((B,), ANY, 0, 3),))


def test_objects_are_joined_name_by_name() -> None:
    left = Object((("x", A),), additional=NEVER)
    right = Object((("y", B), ("x", B)), required=("x",))
    assert (Object((("x", both(A, B)), ("y", NEVER)), additional=NEVER, required=("x",)),) == intersect(
        (left,), (right,)
    )


def test_what_one_calls_additional_the_other_may_match() -> None:
    left, right = Object(patterns=(("^a", A),), additional=NEVER), Object(additional=B)
    assert (Object(patterns=(("^a", both(A, B)),), additional=NEVER),) == intersect((left,), (right,))


def test_overlapping_patterns_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="patternProperties"):
        intersect((Object(patterns=(("a", A),)),), (Object(patterns=(("b", B),)),))


def test_objects_differ_in_a_property_at_least() -> None:
    other = Object((("x", A),), required=("x",))
    assert (Object((("x", NEVER),)), Object((("x", inverse(A)),), required=("x",))) == subtract(
        (Object(),), (other,), possible
    )


def test_closed_objects_differ_in_a_known_name() -> None:
    one, other = Object((("x", A), ("y", B)), additional=NEVER), Object((("x", A),), additional=NEVER)
    differing = Object((("x", A), ("y", both(B, ANY))), additional=NEVER, required=("y",))
    assert differing in subtract((one,), (other,), possible)


def refused(left: Union, right: Union) -> str:
    with pytest.raises(SchemaRefusedError) as caught:
        subtract(left, right, possible)
    return caught.value.reason


def test_what_cannot_be_negated_is_named() -> None:
    assert "pattern" in refused((String(),), (String(patterns=("a",)),))
    assert "type" in refused((Number(),), (Number(integer=True),))
    assert "multipleOf" in refused((Number(integer=True),), (Number(integer=True, multiple_of=Fraction(2)),))
    assert "additionalProperties" in refused((Object(),), (Object(additional=A),))
    assert "uniqueItems" in refused((Array(),), (Array(unique=True),))
