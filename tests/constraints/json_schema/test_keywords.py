"""The keywords of one subschema become the shapes of its types."""

from fractions import Fraction
from typing import Any

import pytest

from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.formats import FORMATS
from antiphon.constraints.json_schema.keywords import bounds, constant
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
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
)
from antiphon.constraints.json_schema.terms import NEVER, Constant, Location, both


def shapes(schema: dict[str, Any]) -> Union:
    return bounds(Document(schema), ())


def only(schema: dict[str, Any]) -> Shape:
    (shape,) = shapes(schema)
    return shape


def place(*path: str | int) -> Location:
    return Location(path)


def test_constants() -> None:
    one = (Fraction(1), False)
    assert Number(integer=True, lower=one, upper=one) == constant(1.0) == constant(1)
    assert [Null(), Boolean(frozenset({True})), String(values=("a",))] == [
        constant(value) for value in (None, True, "a")
    ]
    assert Array((Constant("1"),), NEVER, 1) == constant([1])
    assert Object((("a", Constant("null")),), (), NEVER, ("a",)) == constant({"a": None})


def test_keywords_bound_their_own_types_only() -> None:
    assert EVERYTHING == shapes({"title": "anything", "nullable": True})
    others = tuple(shape for shape in EVERYTHING if shape != String())
    assert {*others, String(min_length=3)} == {*shapes({"minLength": 3})}


def test_types_are_a_union() -> None:
    assert (Null(), Number()) == shapes({"type": ["null", "integer", "number"]})
    assert Number(integer=True) == only({"type": "integer"})


def test_limits_of_draft_4_and_later() -> None:
    excluded = Number(lower=(Fraction(1), True))
    assert excluded == only({"type": "number", "exclusiveMinimum": 1})
    assert excluded == only({"type": "number", "minimum": 1, "exclusiveMinimum": True})
    assert excluded == only({"type": "number", "minimum": 1, "exclusiveMinimum": 1})


def test_formats_are_patterns_and_unknown_ones_annotations() -> None:
    assert String(patterns=(FORMATS["hostname"].pattern,), max_length=253) == only(
        {"type": "string", "format": "hostname"}
    )
    assert String() == only({"type": "string", "format": "colour", "pattern": ""})


def test_items_of_every_draft() -> None:
    expected = Array((place("prefixItems", 0),), place("items"))
    assert expected == only({"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "string"}})
    legacy = {"type": "array", "items": [{"type": "null"}], "additionalItems": False}
    assert Array((place("items", 0),), NEVER) == only(legacy)
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "prefixItems": [False]}
    assert Array() == only(draft_7)


def test_named_properties_keep_to_the_patterns_that_match() -> None:
    schema = {"type": "object", "properties": {"ab": {"type": "null"}}, "patternProperties": {"^a": {"type": "string"}}}
    expected = both(place("properties", "ab"), place("patternProperties", "^a"))
    shape = only({**schema, "required": ["c", "aa"], "additionalProperties": {"type": "array"}})
    assert isinstance(shape, Object)
    assert expected == shape.member("ab")
    assert place("patternProperties", "^a") == shape.member("aa")
    assert place("additionalProperties") == shape.member("c") == shape.additional


def test_a_pattern_that_matches_everything_leaves_nothing_additional() -> None:
    for pattern in (".*", "", "^[a-z]*"):
        shape = only(
            {"type": "object", "patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
        )
        assert Object(additional=place("patternProperties", pattern)) == shape


def test_patterns_with_one_schema_are_joined() -> None:
    shape = only({"type": "object", "patternProperties": {"^a": {"type": "null"}, "b$": {"type": "null"}}})
    assert Object(patterns=(("^a|b$", place("patternProperties", "^a")),)) == shape


def test_overlapping_patterns_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="overlapping"):
        shapes({"patternProperties": {"^a": {"type": "null"}, "b$": {"type": "string"}}})
