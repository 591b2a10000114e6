"""The keywords of a subschema become a shape for each of its types."""

from fractions import Fraction
from typing import Any

import pytest

from antiphon.constraints.json_schema.costs import matching
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.formats import FORMATS
from antiphon.constraints.json_schema.keywords import bounds, constant
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, COMPILED_PATTERN, SchemaRefusedError
from antiphon.constraints.json_schema.shapes import (
    EVERYTHING,
    Array,
    Boolean,
    Contains,
    Evaluated,
    Null,
    Number,
    Object,
    Others,
    Shape,
    String,
    Union,
)
from antiphon.constraints.json_schema.terms import ANY, NEVER, Constant, Location, conjunction


def shapes(schema: dict[str, Any]) -> Union:
    return bounds(Document(schema), ())


def only(schema: dict[str, Any]) -> Shape:
    (shape,) = shapes(schema)
    return shape


def place(*path: str | int) -> Location:
    return Location(path)


def test_constant_is_a_shape_of_one_value() -> None:
    one = (Fraction(1), False)
    assert Number(integer=True, lower=one, upper=one) == constant(1.0) == constant(1)
    assert [Null(), Boolean(frozenset({True})), String(values=("a",))] == [
        constant(value) for value in (None, True, "a")
    ]
    assert Array((Constant("1"),), NEVER, 1) == constant([1])
    assert Object((("a", Constant("null")),), (), NEVER, ("a",)) == constant({"a": None})


def test_keyword_bounds_only_values_of_its_type() -> None:
    assert EVERYTHING == shapes({"title": "anything", "nullable": True})
    others = tuple(shape for shape in EVERYTHING if shape != String())
    assert {*others, String(min_length=3)} == {*shapes({"minLength": 3})}


def test_several_types_become_a_union() -> None:
    assert (Null(), Number()) == shapes({"type": ["null", "integer", "number"]})
    assert Number(integer=True) == only({"type": "integer"})


def test_exclusive_limits_follow_the_draft() -> None:
    excluded = Number(lower=(Fraction(1), True))
    assert excluded == only({"type": "number", "exclusiveMinimum": 1})
    assert excluded == only({"type": "number", "minimum": 1, "exclusiveMinimum": True})
    assert excluded == only({"type": "number", "minimum": 1, "exclusiveMinimum": 1})


def test_known_format_is_a_pattern_and_unknown_one_an_annotation() -> None:
    assert String(patterns=(FORMATS["hostname"].pattern,), max_length=253) == only(
        {"type": "string", "format": "hostname"}
    )
    assert String() == only({"type": "string", "format": "colour", "pattern": ""})


def test_items_follow_the_draft() -> None:
    expected = Array((place("prefixItems", 0),), place("items"))
    assert expected == only({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "string"}})
    legacy = {"type": "array", "items": [{"type": "null"}], "additionalItems": False}
    dialect = {"$schema": "http://json-schema.org/draft-07/schema#"}
    assert Array((place("items", 0),), NEVER) == only(legacy) == only({**dialect, **legacy})
    assert Array() == only({**dialect, "type": "array", "prefixItems": [False]})


def test_named_property_satisfies_the_matching_patterns() -> None:
    schema = {"type": "object", "properties": {"ab": {"type": "null"}}, "patternProperties": {"^a": {"type": "string"}}}
    expected = conjunction(place("properties", "ab"), place("patternProperties", "^a"))
    shape = only({**schema, "required": ["c", "aa"], "additionalProperties": {"type": "array"}})
    assert isinstance(shape, Object)
    assert expected == shape.member("ab")
    assert place("patternProperties", "^a") == shape.member("aa")
    assert place("additionalProperties") == shape.member("c") == shape.additional


def test_pattern_that_matches_every_name_replaces_the_additional_schema() -> None:
    for pattern in (".*", "", "^[a-z]*"):
        shape = only(
            {"type": "object", "patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
        )
        assert Object(additional=place("patternProperties", pattern), others=Others.SPECIFIED) == shape


def test_patterns_with_one_schema_are_joined() -> None:
    shape = only({"type": "object", "patternProperties": {"^a": {"type": "null"}, "b$": {"type": "null"}}})
    assert Object(patterns=(("^a|b$", place("patternProperties", "^a")),)) == shape


def test_overlapping_patterns_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="overlapping"):
        shapes({"patternProperties": {"^a": {"type": "null"}, "b$": {"type": "string"}}})


def test_contains_of_at_least_zero_items_is_no_bound() -> None:
    schema = {"type": "array", "contains": {"type": "null"}}
    assert Array() == only({**schema, "minContains": 0})
    assert Array(contains=(Contains(place("contains"), 0, 2),)) == only({**schema, "minContains": 0, "maxContains": 2})
    assert Array(contains=(Contains(place("contains")),)) == only(schema)


def test_number_has_the_narrower_of_two_limits() -> None:
    limits = {"minimum": 1, "exclusiveMinimum": 0, "maximum": 5, "exclusiveMaximum": 6, "multipleOf": 0.5}
    one, five, step = (Fraction(1), False), (Fraction(5), False), Fraction(1, 2)
    assert Number(lower=one, upper=five, multiple_of=step) == only({"type": "number", **limits})
    above, below = (Fraction(1), True), (Fraction(5), True)
    assert Number(lower=above, upper=below) == only(
        {"type": "number", "minimum": 1, "exclusiveMinimum": 1, "maximum": 5, "exclusiveMaximum": 5}
    )
    assert Number(upper=below) == only({"type": "number", "maximum": 5, "exclusiveMaximum": True})
    assert Number(upper=five) == only({"type": "number", "maximum": 5, "exclusiveMaximum": False})


def test_constant_with_decimals_is_not_an_integer() -> None:
    bound = (Fraction(3, 2), False)
    assert Number(lower=bound, upper=bound) == constant(1.5)


def test_the_shorter_of_two_greatest_lengths_holds() -> None:
    schema = {"type": "string", "format": "hostname", "minLength": 2}
    shapes = [only({**schema, "maxLength": length}) for length in (5, 300)]
    assert [(2, 5), (2, 253)] == [(shape.min_length, shape.max_length) for shape in shapes if isinstance(shape, String)]


def test_a_pattern_is_kept_beside_a_format() -> None:
    assert String(patterns=("1", FORMATS["ipv4"].pattern)) == only({"type": "string", "format": "ipv4", "pattern": "1"})


def test_counts_of_items_and_contains_are_bounds_of_the_array() -> None:
    schema = {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3, "uniqueItems": True}
    assert Array(items=place("items"), min_items=1, max_items=3, unique=True) == only(schema)


def test_unevaluated_items_bound_the_further_items() -> None:
    rest = {"type": "array", "unevaluatedItems": {"type": "null"}}
    assert Array(items=place("unevaluatedItems")) == only(rest)
    assert Array(items=place("items")) == only({**rest, "items": {"type": "string"}})
    contained = only({"type": "array", "contains": {"type": "null"}})
    assert Array(contains=(Contains(place("contains")),)) == contained
    with pytest.raises(SchemaRefusedError, match="'unevaluatedItems' beside other applicators is not supported"):
        shapes({**rest, "allOf": [{}]})


def test_items_without_a_schema_are_of_any_value() -> None:
    assert Array((place("prefixItems", 0),)) == only({"type": "array", "prefixItems": [{"type": "null"}]})
    assert Array((place("items", 0),)) == only({"type": "array", "items": [{"type": "null"}]})


def test_counts_and_required_names_are_bounds_of_the_object() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["b", "a", "b"]}
    a, closed = place("properties", "a"), {"additionalProperties": False}
    assert Object(
        (("a", a), ("b", ANY)), required=("b", "a"), min_properties=3, max_properties=4, others=Others.UNSPECIFIED
    ) == only({**schema, "minProperties": 3, "maxProperties": 4})
    assert Object((("a", a),), additional=NEVER, others=Others.SPECIFIED) == only({**schema, **closed, "required": []})


def test_pattern_with_an_end_anchor_does_not_match_every_name() -> None:
    shape = only({"type": "object", "patternProperties": {"^a*$": {"type": "null"}}})
    assert isinstance(shape, Object)
    assert [place("patternProperties", "^a*$"), ANY] == [shape.member(name) for name in ("aa", "b")]


def test_pattern_that_matches_every_name_is_added_to_the_other_patterns() -> None:
    schema = {
        "properties": {"b": {"type": "array"}},
        "patternProperties": {"": {"type": "null"}, "^a": {"type": "string"}},
    }
    every, a = place("patternProperties", ""), place("patternProperties", "^a")
    named = ("b", conjunction(place("properties", "b"), every))
    expected = Object((named,), (("^a", conjunction(a, every)),), every, others=Others.SPECIFIED)
    assert expected == only({"type": "object", **schema})


def test_disjoint_patterns_are_kept_separately() -> None:
    patterns = {"^a": {"type": "null"}, "^b": {"type": "string"}}
    expected = tuple((pattern, place("patternProperties", pattern)) for pattern in patterns)
    assert Object(patterns=expected) == only({"type": "object", "patternProperties": patterns})


@pytest.mark.parametrize(
    ("evaluated", "schema"),
    [
        (Evaluated(), {}),
        (Evaluated(frozenset("a")), {"properties": {"a": {"type": "null"}}}),
        (Evaluated(patterns=frozenset({"^a"})), {"patternProperties": {"^a": {"type": "null"}}}),
        (Evaluated(is_complete=True), {"patternProperties": {"": {"type": "null"}}}),
        (Evaluated(is_complete=True), {"additionalProperties": {"type": "null"}}),
    ],
)
def test_properties_of_a_keyword_are_evaluated(evaluated: Evaluated, schema: dict[str, Any]) -> None:
    shape = only({"type": "object", **schema, "unevaluatedProperties": False})
    assert isinstance(shape, Object)
    assert evaluated == shape.evaluated
    untracked = only({"type": "object", **schema})
    assert isinstance(untracked, Object)
    assert Evaluated() == untracked.evaluated


PATTERN = COMPILED_PATTERN * COMPARISONS
NAMES = {"patternProperties": {"^a": {"type": "null"}}, "required": ["b", "c"]}


@pytest.mark.parametrize(
    ("price", "schema"),
    [
        (0, {"type": "string"}),
        (PATTERN, {"type": "string", "pattern": "a"}),
        (PATTERN + matching(1, 2, 2), {"type": "object", **NAMES}),
        (4 * PATTERN, {"type": "object", "patternProperties": {"^a": {"type": "null"}, "^b": {"type": "string"}}}),
    ],
)
def test_patterns_cost_budget(price: int, schema: dict[str, Any]) -> None:
    document = Document(schema)
    before = document.budget.left
    bounds(document, ())
    assert price == before - document.budget.left


@pytest.mark.parametrize(
    ("keyword", "left", "schema"),
    [
        ("pattern", 0, {"type": "string", "pattern": "a"}),
        ("patternProperties", 0, {"type": "object", **NAMES}),
        ("patternProperties", PATTERN, {"type": "object", **NAMES}),
    ],
)
def test_patterns_beyond_the_budget_are_refused_by_keyword(keyword: str, left: int, schema: dict[str, Any]) -> None:
    document = Document(schema)
    document.budget.left = left
    with pytest.raises(SchemaRefusedError, match=f"'{keyword}' makes too many combinations"):
        bounds(document, ())
