"""Terms are simplified as they are made."""

from antiphon.constraints.json_schema.terms import (
    ANY,
    NEVER,
    Conjunction,
    Constant,
    Location,
    compact_json,
    conjunction,
    negation,
    origin,
)

A, B = Location(("a",)), Location(("b", 0))


def test_terms_are_joined_in_order_and_once() -> None:
    assert Conjunction((A, B)) == conjunction(A, B, A)
    assert Conjunction((A, B)) == conjunction(conjunction(A, B), A)


def test_anything_adds_nothing() -> None:
    assert A == conjunction(ANY, A, Conjunction(()))
    assert ANY == conjunction()
    assert A == conjunction(A) == conjunction(ANY, A)


def test_contradictions_are_never() -> None:
    assert NEVER == conjunction(A, NEVER)
    assert NEVER == conjunction(A, negation(A))


def test_negating_twice_changes_nothing() -> None:
    assert A == negation(negation(A))
    assert ANY == negation(NEVER)


def test_a_term_knows_the_first_place_that_it_names() -> None:
    assert ("b", 0) == origin(conjunction(Constant("1"), negation(B), A))
    assert origin(conjunction(Constant("1"), Constant("2"))) is None


def test_constants_are_compact_json() -> None:
    assert '{"é":[1,null]}' == compact_json({"é": [1, None]})
