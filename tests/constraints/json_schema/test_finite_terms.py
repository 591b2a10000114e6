"""A term is finite if one of its shapes requires only finite terms."""

from itertools import pairwise

from antiphon.constraints.json_schema.finite_terms import finite_terms, required_groups
from antiphon.constraints.json_schema.shapes import Array, Null, Object, Shape
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, Term

A, B, C, D = (Location((name,)) for name in "abcd")
DEEP = 50_000


def requires(*terms: Term) -> Object:
    names = [f"p{index}" for index in range(len(terms))]
    return Object(properties=tuple(zip(names, terms, strict=True)), required=tuple(names))


def test_scalar_is_finite_and_term_that_requires_itself_is_not() -> None:
    assert {ANY, A} == finite_terms({A: [Null()], B: [requires(B)]})


def test_one_finite_alternative_is_enough() -> None:
    assert {ANY, A} == finite_terms({A: [requires(A), Array(items=A)]})


def test_every_required_property_must_be_finite() -> None:
    shapes: dict[Term, list[Shape]] = {A: [requires(B, C, ANY)], B: [Null()], C: [requires(D)], D: [requires(C)]}
    assert {ANY, B} == finite_terms(shapes)
    assert {ANY, A, B, C, D} == finite_terms({**shapes, D: [Array()]})


def test_term_of_two_required_properties_counts_once() -> None:
    assert {ANY, A, B} == finite_terms({A: [requires(B, B)], B: [Null()]})


def test_required_items_must_be_finite() -> None:
    shapes: dict[Term, list[Shape]] = {A: [Array(prefix=(B,), items=C, min_items=2)], B: [Null()], C: [Array(items=C)]}
    assert {ANY, A, B, C} == finite_terms(shapes)
    assert {ANY, B} == finite_terms({**shapes, C: [Array(items=C, min_items=1)]})


def test_one_finite_kind_of_unnamed_property_is_enough() -> None:
    shape = Object(patterns=(("^a", B),), additional=C, min_properties=1)
    assert [{B, C}] == required_groups(shape)
    assert {ANY, A, C} == finite_terms({A: [shape], B: [requires(B)], C: [Null()]})
    assert {ANY} == finite_terms({A: [shape], B: [requires(B)], C: []})


def test_never_is_not_finite() -> None:
    assert {ANY} == finite_terms({A: [requires(NEVER)]})


def test_a_long_chain_is_followed_to_its_end() -> None:
    links = [Location((index,)) for index in range(DEEP)]
    shapes: dict[Term, list[Shape]] = {one: [requires(next_one)] for one, next_one in pairwise(links)}
    assert {ANY, *links} == finite_terms({**shapes, links[-1]: [Null()]})


def test_object_needs_no_properties_beyond_the_required_ones() -> None:
    assert [] == required_groups(Object(additional=NEVER))
    assert [{A}] == required_groups(Object((("a", A),), additional=NEVER, required=("a",), min_properties=1))


def test_two_terms_of_one_need_do_not_satisfy_another() -> None:
    shape = Object((("a", D),), patterns=(("^b", B),), additional=C, required=("a",), min_properties=2)
    assert {ANY, B, C} == finite_terms({A: [shape], B: [Null()], C: [Null()], D: [requires(D)]})
