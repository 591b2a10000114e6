"""Large shapes cost more than small ones, and patterns cost most."""

from fractions import Fraction

from antiphon.constraints.json_schema.costs import intersection, matching, size
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, COMPILED_PATTERN
from antiphon.constraints.json_schema.shapes import Array, Contains, Null, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Constant, Location, conjunction, negation

A, B = Location(("a",)), Location(("b",))
MANY = 100


def test_a_small_shape_costs_one_comparison() -> None:
    assert [1] * 5 == [size(shape) for shape in (Null(), Number(), String(), Array(), Object())]
    assert 1 == size(Object((("a", A),)))


def test_each_part_of_a_shape_adds_cost() -> None:
    names = tuple(f"p{index}" for index in range(MANY))
    shapes: list[Shape] = [
        Object(properties=tuple((name, A) for name in names)),
        Object(required=names),
        Object(patterns=tuple((name, A) for name in names)),
        Array(prefix=(A,) * MANY),
        Array(prefix=(Constant("x" * 32),) * MANY),
        Array(prefix=(conjunction(A, B),) * MANY),
        Array(contains=(Contains(A),) * MANY),
        String(values=names),
        String(excluded=frozenset(names)),
        String(patterns=names),
    ]
    assert [51] * 10 == [size(shape) for shape in shapes]


def test_large_terms_cost_more() -> None:
    joined = conjunction(*(Location((index,)) for index in range(MANY)))
    assert [8, 8, 33, 2] == [
        size(Array(prefix=(term,))) for term in (joined, negation(joined), Constant("x" * 4000), NEVER)
    ]


def test_numbers_of_many_digits_cost_more() -> None:
    assert 1 + 4 == size(Number(multiple_of=Fraction(2**1024 + 1)))
    assert 1 + 4 == size(Number(multiple_of=Fraction(1, 2**1024 + 1)))


def test_intersection_costs_the_size_of_both_shapes() -> None:
    assert size(String(values=("a",) * 9)) + 1 == intersection(String(values=("a",) * 9), String())


def test_intersection_with_listed_texts_costs_their_matching() -> None:
    assert matching(1, 2, 64) + 3 == intersection(String(values=("x" * 32, "y" * 32)), String(patterns=("a",)))
    assert matching(1, 2, 64) + 3 == intersection(String(patterns=("a",)), String(values=("x" * 32, "y" * 32)))
    assert 2 * (2 * COMPARISONS + 4) == matching(2, 2, 64)
    assert COMPARISONS == matching(1, 1, 15)


def test_intersection_of_patterns_costs_their_compilation() -> None:
    assert 2 * COMPILED_PATTERN * COMPARISONS + 2 == intersection(String(patterns=("a",)), String(patterns=("b",)))
    assert 2 == intersection(String(), String(patterns=("b",)))


def test_intersection_of_objects_costs_pairs_of_patterns_and_matching_of_names() -> None:
    left, right = Object(patterns=(("a", A), ("b", A))), Object(patterns=(("c", A), ("d", B)), properties=(("e", ANY),))
    pairs, names = 4 * COMPILED_PATTERN * COMPARISONS, matching(2, 1, 1)
    assert pairs + names + size(left) + size(right) == intersection(left, right)
