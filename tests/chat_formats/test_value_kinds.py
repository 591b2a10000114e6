from typing import Any

import pytest

from antiphon.chat_formats.value_kinds import JSONType, json_type, parameter_types, value_kind

LINKED: dict[str, Any] = {"$defs": {"a/b": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}}


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("null", None), ("boolean", True), ("number", 1), ("number", 1.5), ("string", ""), ("array", []),
        ("object", {}),
    ],
)  # fmt: skip
def test_json_type_of_every_kind_of_value(expected: JSONType, value: object) -> None:
    assert expected == json_type(value)


@pytest.mark.parametrize(
    ("expected", "schema"),
    [
        ({"string"}, {"type": "string"}),
        ({"number"}, {"type": "integer", "minimum": 1}),
        ({"string", "null"}, {"type": ["string", "null"]}),
        ({"string", "null"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (set(), {"anyOf": [{"type": "string"}, {}]}),
        ({"string"}, {"anyOf": [{"type": "string"}, {"type": "null"}], "type": ["string", "array"]}),
        ({"string", "number"}, {"enum": ["a", 1]}),
        ({"boolean"}, {"const": True}),
        ({"number"}, {"allOf": [{"type": "number"}, {"description": "x"}]}),
        ({"string"}, {"$ref": "#/$defs/a~1b"}),
        (set(), {"$ref": "#/$defs/loop"}),
        (set(), {"$ref": "#/nowhere"}),
        (set(), {"$ref": "https://example.invalid/schema"}),
        (set(), {"type": "unheard-of"}),
        (set(), {}),
        (set(), True),
        (set(), {"anyOf": "x", "allOf": [1], "enum": 3}),
    ],
)
def test_types_of_a_parameter_follow_its_schema(expected: set[str], schema: object) -> None:
    assert expected == parameter_types({**LINKED, "properties": {"x": schema}}, "x")


@pytest.mark.parametrize(
    ("expected", "parameters"),
    [
        ({"number"}, {"additionalProperties": {"type": "number"}}),
        ({"number"}, {"$defs": {"o": {"properties": {"x": {"type": "number"}}}}, "$ref": "#/$defs/o"}),
        ({"number"}, {"allOf": [{"properties": {"x": {"type": "number"}}}, {"properties": {"y": {}}}]}),
        (
            {"number", "null"},
            {"oneOf": [{"properties": {"x": {"type": "number"}}}, {"properties": {"x": {"type": "null"}}}]},
        ),
        (set(), {"properties": {"y": {"type": "number"}}}),
        (set(), {"properties": []}),
    ],
)
def test_declaration_of_a_parameter_is_found_in_subschemas(expected: set[str], parameters: dict[str, Any]) -> None:
    assert expected == parameter_types(parameters, "x")


def test_each_subschema_of_a_recursive_schema_is_read_once() -> None:
    branches = [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}]
    loop = {"anyOf": branches, "allOf": branches, "oneOf": branches}
    assert frozenset() == parameter_types({"$defs": {"x": loop}, "properties": {"x": loop}}, "x")


@pytest.mark.parametrize(
    ("expected", "types"),
    [
        ("string", set()), ("string", {"string"}), ("json", {"number", "null"}), ("either", {"string", "null"}),
    ],
)  # fmt: skip
def test_value_kind_follows_the_types(expected: str, types: set[JSONType]) -> None:
    assert expected == value_kind(frozenset(types))
