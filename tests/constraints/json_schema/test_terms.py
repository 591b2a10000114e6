"""Terms are simplified as they are made."""

from antiphon.constraints.json_schema.terms import ANY, NEVER, Both, Constant, Location, both, inverse, origin

A, B = Location(("a",)), Location(("b", 0))


def test_terms_are_joined_in_order_and_once() -> None:
    assert Both((A, B)) == both(A, B, A)
    assert Both((A, B)) == both(both(A, B), A)


def test_anything_adds_nothing() -> None:
    assert A == both(ANY, A, Both(()))
    assert ANY == both()
    assert A == both(A) == both(ANY, A)


def test_contradictions_are_never() -> None:
    assert NEVER == both(A, NEVER)
    assert NEVER == both(A, inverse(A))


def test_negating_twice_changes_nothing() -> None:
    assert A == inverse(inverse(A))
    assert ANY == inverse(NEVER)


def test_a_term_knows_the_first_place_that_it_names() -> None:
    assert ("b", 0) == origin(both(Constant("1"), inverse(B), A))
    assert origin(both(Constant("1"), Constant("2"))) is None


def test_constants_are_compact_json() -> None:
    assert '{"é":[1,null]}' == Constant.spell({"é": [1, None]})
