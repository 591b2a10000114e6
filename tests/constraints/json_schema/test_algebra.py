"""Intersection and difference of unions, checked on values."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.constraints.json_schema.algebra import exactly_one, intersect, subtract
from antiphon.constraints.json_schema.keywords import constant
from antiphon.constraints.json_schema.normalise import normalise
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, Budget, SchemaRefusedError
from antiphon.constraints.json_schema.shapes import (
    EVERYTHING,
    Array,
    Boolean,
    Null,
    Number,
    Object,
    Shape,
    String,
    Union,
    union,
)
from antiphon.constraints.json_schema.terms import ANY, NEVER, Constant, Location, conjunction, negation

A, B = Location(("a",)), Location(("b",))
bounds = st.none() | st.tuples(st.integers(-3, 3).map(Fraction), st.booleans())
numbers = st.builds(Number, st.booleans(), bounds, bounds, st.sampled_from((None, Fraction(2), Fraction(3)))).filter(
    lambda shape: normalise(shape) == shape
)
texts = st.lists(st.sampled_from(("", "a", "ab", "b")), min_size=1, unique=True).map(tuple)
lengths = st.none() | st.integers(0, 2)
strings = st.builds(
    String,
    st.none() | texts,
    st.frozensets(st.sampled_from(("", "ab")), max_size=1),
    st.just(()),
    st.integers(0, 2),
    lengths,
).filter(lambda shape: normalise(shape) == shape)


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


def is_possible(_: Shape) -> bool:
    return True


@given(numbers, numbers, st.fractions(-4, 4, max_denominator=2))
def test_numbers_are_intersected_and_subtracted_exactly(left: Number, right: Number, value: Fraction) -> None:
    common = holds(left, value) and holds(right, value)
    assert common == any(holds(shape, value) for shape in intersect((left,), (right,), Budget()))
    try:
        rest = subtract((left,), (right,), is_possible, Budget())
    except SchemaRefusedError:
        return
    assert (holds(left, value) and not common) == any(holds(shape, value) for shape in rest)


@given(strings, strings, st.sampled_from(("", "a", "ab", "b", "abc")))
def test_strings_are_intersected_and_subtracted_exactly(left: String, right: String, value: str) -> None:
    common = holds(left, value) and holds(right, value)
    assert common == any(holds(shape, value) for shape in intersect((left,), (right,), Budget()))
    rest = subtract((left,), (right,), is_possible, Budget())
    assert (holds(left, value) and not common) == any(holds(shape, value) for shape in rest)


def test_shapes_of_different_types_are_disjoint() -> None:
    assert () == intersect((Null(),), (Boolean(),), Budget())
    assert (Null(), Boolean(frozenset({True}))) == subtract(
        (Null(), Boolean()), (Boolean(frozenset({False})),), is_possible, Budget()
    )
    assert () == subtract(EVERYTHING, EVERYTHING, is_possible, Budget())


VALUES = [None, True, 0, 1.5, "a", "b", [1], [2], {"x": 1}, {"x": 2}]


def values(found: list[Any]) -> Union:
    return union(map(constant, found))


def test_listed_values_are_intersected_by_value() -> None:
    others = [True, 1.50, "b", "c", [2], [3], {"x": 1}, 7]
    assert values([True, 1.5, "b", [2], {"x": 1}]) == intersect(values(VALUES), values(others), Budget())


def test_listed_values_are_intersected_with_other_shapes() -> None:
    shapes: Union = (Number(integer=True), String(min_length=2), Array(), Boolean(frozenset({False})))
    assert values([0, [1], [2]]) == intersect(values(VALUES), shapes, Budget())


def test_listed_values_are_subtracted_by_value() -> None:
    others = [None, True, 1.5, "a", [1.0], {"x": 1}]
    assert values([0, "b", [2], {"x": 2}]) == subtract(values(VALUES), values(others), is_possible, Budget())


def test_listed_numbers_and_texts_leave_intervals_and_exclusions() -> None:
    below, above = Number(upper=(Fraction(1), True)), Number(lower=(Fraction(1), True))
    rest = subtract((Number(), String()), values([1, "a", "b"]), is_possible, Budget())
    assert (below, above, String(excluded=frozenset("ab"))) == rest


def test_only_texts_of_the_shape_are_excluded_from_it() -> None:
    assert (String(min_length=2),) == subtract((String(min_length=2),), values(["a"]), is_possible, Budget())


def test_a_listed_array_is_subtracted_from_other_arrays() -> None:
    shorter, longer = Array(items=NEVER), Array(items=A, min_items=2)
    differing = Array(prefix=(conjunction(A, negation(Constant("1"))),), items=A, min_items=1)
    assert {shorter, longer, differing} == {*subtract((Array(items=A),), values([[1]]), is_possible, Budget())}


def test_value_of_two_options_is_not_in_exactly_one() -> None:
    options = [values([0, 1, "a", [1]]), values([1, 2, "b", [1]]), values(["b", 3, {"x": 1}])]
    assert {*values([0, 2, 3, "a", {"x": 1}])} == {*exactly_one(options, options, is_possible, Budget())}


def test_unlisted_option_excludes_its_values_from_the_others() -> None:
    options: list[Union] = [values([1, 1.5]), (Number(integer=True),)]
    below, above = Number(integer=True, upper=(Fraction(0), False)), Number(integer=True, lower=(Fraction(2), False))
    assert (constant(1.5), below, above) == exactly_one(options, options, is_possible, Budget())


def test_exactly_one_keeps_only_the_narrowed_part_of_an_option() -> None:
    options: list[Union] = [(Number(),), values([2, 3])]
    narrowed = [values([1, 2]), values([2])]
    assert values([1]) == exactly_one(narrowed, options, is_possible, Budget())


def spent(operation: str, count: int) -> int:
    """Return the cost of an operation on ``count`` values of all types, in comparisons."""
    found = [value for n in range(count // 5) for value in (n, n + 0.5, f"w{n}", {"x": n}, [n])]
    budget = Budget()
    before = budget.left
    if operation == "intersect":
        intersect(values(found), values(found), budget)
    elif operation == "subtract":
        subtract((Number(), String(), *values(found)), values(found), is_possible, budget)
    else:
        options = [values([value]) for value in found]
        exactly_one(options, options, is_possible, budget)
    return before - budget.left


@pytest.mark.parametrize("operation", ["intersect", "subtract", "exactly_one"])
def test_cost_of_listed_values_grows_linearly(operation: str) -> None:
    assert 0 < spent(operation, 2000) <= 2 * spent(operation, 1000) + COMPARISONS


@pytest.mark.parametrize("count", [300, 3000])
def test_pairs_of_unlisted_shapes_cost_budget(count: int) -> None:
    left = tuple(Number(lower=(Fraction(n), False)) for n in range(count))
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        intersect(left, left, Budget(count))
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        subtract(left, left, is_possible, Budget(count // 2))
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        exactly_one([(shape,) for shape in left], [(shape,) for shape in left], is_possible, Budget(count))


def test_each_piece_costs_budget_before_the_next_is_made() -> None:
    names = tuple(f"p{n}" for n in range(900))
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        subtract(
            (Object(tuple((name, ANY) for name in names), required=names),),
            (Object(tuple((name, A) for name in names)),),
            is_possible,
            Budget(900),
        )


def test_subtraction_leaves_shapes_of_another_type_unchanged() -> None:
    texts, arrays = String(min_length=1), Array(min_items=1)
    assert (texts,) == subtract((texts, arrays), (arrays,), is_possible, Budget())


def test_subtraction_of_a_superset_leaves_nothing() -> None:
    assert () == subtract((String(min_length=2),), (String(min_length=1),), is_possible, Budget())


def test_impossible_intersection_leaves_the_shape_unchanged() -> None:
    def impossible(_: Shape) -> bool:
        return False

    left = Object((("a", A),), required=("a",))
    assert (left,) == subtract((left,), (Object(additional=NEVER),), impossible, Budget())


def test_listed_values_leave_shapes_without_them_unchanged() -> None:
    below, above = Number(upper=(Fraction(1), True)), Number(lower=(Fraction(1), True))
    assert (Array(), below, above) == subtract((Array(), Number()), values([1]), is_possible, Budget())


def test_matching_listed_texts_costs_budget() -> None:
    listed = values([f"w{n}" for n in range(100)])
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        subtract((String(patterns=("w",)),), listed, is_possible, Budget(50))


def test_empty_options_cost_budget() -> None:
    options: list[Union] = [(String(min_length=1),), *[()] * 1000]
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        exactly_one(options, options, is_possible, Budget(1500 // COMPARISONS))


def test_shapes_of_two_types_cost_two_comparisons() -> None:
    budget = Budget()
    before = budget.left
    subtract((String(patterns=("a",) * 100),), (Number(integer=True),), is_possible, budget)
    assert 2 == before - budget.left


def test_a_remainder_without_a_value_is_dropped() -> None:
    left, right = Object((("a", A),), required=("a",)), Object((("a", B),))
    remainder = Object((("a", conjunction(A, negation(B))),), required=("a",))
    assert (remainder,) == subtract((left,), (right,), is_possible, Budget())
    assert () == subtract((left,), (right,), lambda shape: shape != remainder, Budget())
