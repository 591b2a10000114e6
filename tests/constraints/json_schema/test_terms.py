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


def test_conjunction_has_each_term_once_and_in_order() -> None:
    assert Conjunction((A, B)) == conjunction(A, B, A)
    assert Conjunction((A, B)) == conjunction(conjunction(A, B), A)


def test_any_is_dropped_from_a_conjunction() -> None:
    assert A == conjunction(ANY, A, Conjunction(()))
    assert ANY == conjunction()
    assert A == conjunction(A) == conjunction(ANY, A)


def test_conjunction_of_a_term_and_its_negation_is_never() -> None:
    assert NEVER == conjunction(A, NEVER)
    assert NEVER == conjunction(A, negation(A))


def test_double_negation_is_the_term() -> None:
    assert A == negation(negation(A))
    assert ANY == negation(NEVER)


def test_origin_is_the_first_place_that_a_term_names() -> None:
    assert ("b", 0) == origin(conjunction(Constant("1"), negation(B), A))
    assert origin(conjunction(Constant("1"), Constant("2"))) is None


def test_compact_json_has_no_spaces() -> None:
    assert '{"é":[1,null]}' == compact_json({"é": [1, None]})
