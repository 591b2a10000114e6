import json
from typing import Any

import pytest

from antiphon.constraints.json_schema import compile_schema
from antiphon.constraints.tool_parameters import CallableFunction, Property, parameter_lists, raw_string
from antiphon.errors import InvalidRequestError
from tests.rendering.grammar_walk import Walker

END = "</p>"


def function(schema: dict[str, Any]) -> CallableFunction:
    compiled = compile_schema({"type": "object", **schema}, strict=False, param="p")
    return CallableFunction(name="f", schema=compiled, parameters=schema, param="tools[0].function.parameters")


def only(schema: Any) -> Property:  # noqa: ANN401 (JSON)
    ((item,),) = parameter_lists(function({"properties": {"a": schema}}))
    return item


def admitted(schema: Any, *texts: str) -> list[bool]:  # noqa: ANN401 (JSON)
    grammar = f"start: TEXT\nTEXT: {raw_string(only(schema), END)}\n"
    return [Walker().admits(grammar, text) for text in texts]


def test_function_without_schema_has_no_parameters() -> None:
    assert [[]] == parameter_lists(CallableFunction(name="f", schema=None, parameters={}, param="p"))


def test_parameters_keep_their_order() -> None:
    schema = {"properties": {"b": {"type": "string"}, "a": {"type": ["integer", "null"]}}, "required": ["a", "c"]}
    ((b, a, c),) = parameter_lists(function(schema))
    assert [("b", False), ("a", True), ("c", True)] == [(item.key, item.required) for item in (b, a, c)]
    assert [{"string"}, {"number", "null"}, set()] == [set(item.types) for item in (b, a, c)]


def test_rules_between_parameters_are_alternative_lists() -> None:
    schema = {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    lists = parameter_lists(function(schema))
    assert [["a"], ["b"]] == [[item.key for item in items if item.required] for items in lists]


def test_schema_of_a_parameter_is_a_whole_document() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}, "additionalProperties": False}
    schema = {"properties": {"a": {"$ref": "#/$defs/tree"}, "b": {}}, "$defs": {"tree": tree}}
    ((item, _),) = parameter_lists(function(schema))
    walker = Walker()
    assert walker.admits(f"start: %json {item.document}", '{"left": {"left": {}}}')
    assert not walker.admits(f"start: %json {item.document}", '{"right": {}}')
    assert "x-guidance" in json.loads(item.document)


def test_number_of_parameters_becomes_alternative_lists() -> None:
    properties: dict[str, Any] = {"properties": {"a": {}, "b": {}}}
    least = parameter_lists(function({**properties, "minProperties": 1}))
    assert [["a"], ["b"]] == [[item.key for item in items if item.required] for items in least]
    most = parameter_lists(function({**properties, "maxProperties": 1}))
    assert [["a"], ["b"]] == [[item.key for item in items] for items in most]


def test_required_unnamed_parameters_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="a number of properties cannot be enforced") as caught:
        parameter_lists(function({"minProperties": 1}))
    assert ("tools[0].function.parameters", "invalid_value") == (caught.value.param, caught.value.code)


def test_parameter_name_that_a_parser_would_misread_is_refused() -> None:
    only({}).check_key(">")
    for key in ("a>b", " a", ""):
        ((item,),) = parameter_lists(function({"properties": {key: {}}}))
        with pytest.raises(InvalidRequestError, match="cannot be enforced"):
            item.check_key(">")


@pytest.mark.parametrize(
    ("expected", "schema"),
    [
        ([True, True, True], {"type": "string"}),
        ([True, True, True], {}),
        ([False, True, False], {"type": "string", "minLength": 1, "maxLength": 2}),
        ([False, True, False], {"enum": ["x/", "y"]}),
        ([False, True, False], {"type": "string", "pattern": "^x"}),
        ([False, True, True], {"type": "string", "pattern": "/"}),
        ([True, False, True], {"type": "string", "pattern": "^$|c/$"}),
        ([False, True, False], {"allOf": [{"pattern": "/"}, {"pattern": "^x"}], "type": "string"}),
        ([True, False, True], {"anyOf": [{"enum": [""]}, {"type": "string", "minLength": 3}]}),
        ([False, True, True], {"type": "string", "not": {"const": ""}}),
    ],
)
def test_raw_string_follows_its_schema(expected: list[bool], schema: dict[str, Any]) -> None:
    assert expected == admitted(schema, "", "x/", "abc/")


def test_a_raw_string_never_holds_its_end() -> None:
    assert [True, False] == admitted({}, "</p", "a</p>b")
    assert [True] == admitted({"enum": ["a", "</p>"]}, "a")
    with pytest.raises(InvalidRequestError, match="cannot be enforced"):
        admitted({"enum": ["</p>"]}, "a")


def test_an_anchor_inside_a_pattern_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="an anchor inside"):
        admitted({"type": "string", "pattern": "(^a|b)c"}, "ac")
