"""Keywords that apply subschemas to the same value, checked on instances of the compiled schema."""

from typing import Any

import pytest

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.schema_errors import CircularReferenceError
from antiphon.constraints.json_schema.shapes import EVERYTHING, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Location, both, inverse
from antiphon.errors import InvalidRequestError
from tests.constraints.json_schema.random_schemas import admits

Schema = dict[str, Any]
HAS_A: Schema = {"required": ["a"]}
KIND: Schema = {"type": "object", "properties": {"kind": {"enum": ["x", "y"]}}}
TREE: Schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}

CASES: list[tuple[Schema, list[Any], list[Any]]] = [
    ({"enum": [1, "a", {"b": [None]}, 1.0]}, [1, "a", {"b": [None]}], [2, "b", {}, {"b": []}]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], [1, "b"]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2, "a"], [0, 3]),
    ({"allOf": [{"pattern": "^a"}, {"pattern": "b$"}, {"maxLength": 3}]}, ["ab", "acb"], ["a", "accb"]),
    ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, ["a", 5, None], [4]),
    ({"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}], "type": "integer", "enum": [3, 5, 15, 7]}, [3, 5], [15, 7]),
    ({"oneOf": [HAS_A, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}], [{}, {"a": 1, "b": 2}, 1]),
    ({"oneOf": [{"type": "number"}, {"type": "string"}, {"minimum": 2}]}, [1, None], [3, "a"]),
    ({"not": {"type": ["object", "array"]}}, [1, "a", None], [{}, []]),
    ({"not": HAS_A}, [{}, {"b": 1}], [{"a": 1}, 1]),
    ({"not": {"minLength": 2}}, ["a", ""], ["ab", 1]),
    ({"type": "string", "not": {"enum": ["a", ""]}}, ["b", "aa"], ["a", ""]),
    ({"not": {"items": {"type": "string"}}, "maxItems": 2}, [[1], ["a", 1]], [[], ["a"], 1]),
    (
        {**KIND, "if": {"properties": {"kind": {"const": "x"}}, "required": ["kind"]}, "then": HAS_A},
        [{"kind": "x", "a": 1}, {"kind": "y"}, {}],
        [{"kind": "x"}],
    ),
    ({"if": {"type": "string"}, "else": {"const": 1}}, ["a", 1], [2, None]),
    ({"if": {"maximum": 0}, "then": {"const": -1}}, [-1, 5], [0, -2]),
    ({"dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}, 1], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"maxProperties": 1}}}, [{"a": 1}, {"b": 1, "c": 1}], [{"a": 1, "b": 1}]),
    ({"dependencies": {"a": ["b"], "b": False}}, [{}, {"c": 1}], [{"a": 1}, {"b": 1}, {"a": 1, "b": 1}]),
    ({"propertyNames": {"pattern": "^a"}}, [{}, {"a": 1, "ab": 2}, 1], [{"b": 1}]),
    (
        {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
        [{"a": None}],
        [{"a": 1}, {"c": None}],
    ),
    ({"propertyNames": {"maxLength": 1}, "properties": {"ab": {}}}, [{"a": 1}], [{"ab": 1}]),
    ({"propertyNames": False}, [{}], [{"a": 1}]),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, [{"a": 1}], [{"b": 1}]),
    (
        {
            "allOf": [{"properties": {"a": {}}}],
            "anyOf": [{"properties": {"b": {"const": 1}}}, {"properties": {"c": {}}}],
            "unevaluatedProperties": False,
        },
        [{"a": 1, "b": 1, "c": 1}, {"c": 1}],
        [{"b": 2, "a": 1}, {"d": 1}],
    ),
    ({"$ref": "#/$defs/a", "maximum": 5, "$defs": {"a": {"minimum": 2}}}, [2, 5], [1, 6]),
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {"x": {"$ref": "#/definitions/a", "maximum": 5}},
            "definitions": {"a": {"minimum": 2}},
        },
        [{"x": 6}],
        [{"x": 1}],
    ),
    (
        {"allOf": [TREE, {"properties": {"next": {"maxProperties": 0}}}]},
        [{}, {"next": {}}],
        [{"next": {"next": {}}}, {"x": 1}],
    ),
    (
        {
            "$dynamicRef": "#node",
            "$defs": {"n": {"$dynamicAnchor": "node", "type": "array", "items": {"$dynamicRef": "#node"}}},
        },
        [[], [[], [[]]]],
        [1, [1]],
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES, ids=[str(case[0])[:60] for case in CASES])
def test_keywords(schema: Schema, valid: list[Any], invalid: list[Any]) -> None:
    compiled = compile_schema(schema, strict=False, param="p")
    assert [] == [value for value in valid if not admits(compiled, value)]
    assert [] == [value for value in invalid if admits(compiled, value)]


def test_terms_expand_once_and_by_their_parts() -> None:
    expander = Expander(Document({"$defs": {"a": {"minLength": 2}, "b": {"type": "string"}}}))
    a, b = Location(("$defs", "a")), Location(("$defs", "b"))
    assert EVERYTHING == expander.expand(ANY)
    assert () == expander.expand(NEVER)
    assert (String(min_length=2),) == expander.expand(both(a, b))
    assert (String(max_length=1),) == expander.expand(both(b, inverse(a)))
    assert expander.expand(a) is expander.expand(a)


def test_recursion_in_place_is_refused() -> None:
    with pytest.raises(CircularReferenceError):
        Expander(Document({"anyOf": [{"$ref": "#"}, {"type": "null"}]})).expand(Location(()))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"not": {"pattern": "a"}}, "'not' is not supported here: 'pattern' and 'format' cannot be negated"),
        ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "'oneOf' is not supported here"),
        ({"propertyNames": {"pattern": "a", "minLength": 2}}, "'propertyNames' is not supported here: several bounds"),
        ({"unevaluatedItems": False, "allOf": [{}]}, "'unevaluatedItems' beside other applicators"),
        (
            {"anyOf": [{"title": str(n), "type": "null"} for n in range(6)], "unevaluatedProperties": False},
            "'anyOf' is not",
        ),
    ],
)
def test_what_is_refused_is_named(schema: Schema, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        compile_schema(schema, strict=False, param="p")


def test_alternatives_without_end_are_refused_in_time() -> None:
    options = [{"properties": {f"p{i}{j}": {"const": j} for i in range(12)}} for j in range(12)]
    with pytest.raises(InvalidRequestError, match="too many combinations"):
        compile_schema({"oneOf": options}, strict=False, param="p")
