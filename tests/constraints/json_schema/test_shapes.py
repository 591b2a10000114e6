"""Unions of shapes, and the members and items of a shape."""

from fractions import Fraction

from antiphon.constraints.json_schema.shapes import Array, Boolean, Evaluated, Null, Number, Object, String, union
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, conjunction

A, B = Location(("a",)), Location(("b",))


def test_union_has_equal_shapes_once() -> None:
    assert (Null(), Array(min_items=1)) == union([Null(), Array(min_items=1), Null()])


def test_union_joins_finite_sets() -> None:
    texts = String(values=("a", "b"))
    assert (Boolean(), texts) == union(
        [String(values=("a",)), Boolean(frozenset({True})), texts, Boolean(frozenset({False}))]
    )


def test_unbounded_shape_replaces_others_of_its_type() -> None:
    assert (String(),) == union([String(values=("a",)), String(), String(min_length=2)])


def test_union_keeps_objects_with_evaluated_properties() -> None:
    seen = Object(evaluated=Evaluated(names=frozenset({"a"})))
    assert (Object(), seen) == union([Object(), seen])


def test_items_beyond_the_prefix_have_the_common_term() -> None:
    assert [A, B, B] == [Array(prefix=(A,), items=B).item(index) for index in range(3)]


def test_required_items_have_each_term_of_the_prefix_and_the_common_term_once() -> None:
    assert [] == Array(prefix=(A,), items=B).required_terms
    assert [A] == Array(prefix=(A, A), items=B, min_items=1).required_terms
    assert [A, B] == Array(prefix=(A,), items=B, min_items=9).required_terms


def test_member_has_the_term_of_its_name_its_patterns_or_the_additional_one() -> None:
    shape = Object(properties=(("x", A),), patterns=(("^y", B),), additional=NEVER)
    assert [A, B, NEVER] == [shape.member(name) for name in ("x", "yes", "z")]
    assert conjunction(A, B) == Object(patterns=(("^y", A), ("s$", B))).member("ys")


def test_object_lists_its_optional_properties_and_whether_it_is_closed() -> None:
    shape = Object(properties=(("x", A), ("y", B), ("z", NEVER)), required=("x",))
    assert ("y",) == shape.optional
    assert not shape.is_closed
    assert Object(patterns=(("y", NEVER),), additional=NEVER).is_closed
    assert not Object(patterns=(("y", ANY),), additional=NEVER).is_closed


def test_the_only_number_between_bounds_is_a_point() -> None:
    two, three = (Fraction(2), False), (Fraction(3), False)
    assert Fraction(2) == Number(lower=two, upper=two).point
    others = [Number(), Number(lower=two), Number(upper=two), Number(lower=two, upper=three)]
    assert [None] * 4 == [number.point for number in others]


def test_an_object_is_closed_when_all_its_patterns_admit_nothing() -> None:
    assert Object(additional=NEVER).is_closed
    assert not Object(patterns=(("x", NEVER), ("y", A)), additional=NEVER).is_closed
