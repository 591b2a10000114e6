import json
from typing import Any

import msgspec
import pytest

from antiphon.protocol.tools import (
    AllowedToolChoice,
    AllowedTools,
    CustomTool,
    CustomToolChoice,
    CustomToolDefinition,
    FunctionDefinition,
    FunctionTool,
    FunctionToolChoice,
    Grammar,
    GrammarFormat,
    JSONSchemaFormat,
    NamedTool,
    ResponseFormat,
    ResponseFormatJSONObject,
    ResponseFormatJSONSchema,
    ResponseFormatText,
    TextFormat,
    Tool,
    ToolChoice,
)
from tests.protocol.bodies import place


def decode(value: object, model: Any) -> Any:  # noqa: ANN401 (any member of a union)
    return msgspec.json.decode(json.dumps(value), type=model)


def test_function_tool_is_decoded() -> None:
    schema = {"type": "object", "properties": {}}
    value = {"type": "function", "function": {"name": "weather", "parameters": schema, "strict": True}}
    assert FunctionTool(function=FunctionDefinition(name="weather", parameters=schema, strict=True)) == decode(
        value, Tool
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"type": "text"}, TextFormat()),
        (
            {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}},
            GrammarFormat(grammar=Grammar(syntax="regex", definition="a+")),
        ),
    ],
)
def test_custom_tool_is_decoded_with_its_format(value: object, expected: TextFormat | GrammarFormat | None) -> None:
    tool = decode({"type": "custom", "custom": {"name": "shell", "format": value}}, Tool)
    assert CustomTool(custom=CustomToolDefinition(name="shell", format=expected)) == tool


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, FunctionToolChoice(function=NamedTool(name="f"))),
        ({"type": "custom", "custom": {"name": "f"}}, CustomToolChoice(custom=NamedTool(name="f"))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}},
            AllowedToolChoice(allowed_tools=AllowedTools(mode="auto", tools=[{"type": "function"}])),
        ),
    ],
)
def test_tool_choice_is_decoded(value: object, expected: object) -> None:
    assert expected == decode(value, ToolChoice)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "text"}, ResponseFormatText()),
        ({"type": "json_object"}, ResponseFormatJSONObject()),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": None}},
            ResponseFormatJSONSchema(json_schema=JSONSchemaFormat(name="x", schema={})),
        ),
    ],
)
def test_response_format_is_decoded(value: object, expected: object) -> None:
    assert expected == decode(value, ResponseFormat)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}] * 129}, "tools", "array_above_max_length"),
        ({"tools": [{"function": {"name": "x"}}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [{"type": "function", "function": {"name": "ab\n"}}]}, "tools[0].function.name", "invalid_value"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": []}}]},
            "tools[0].function.parameters",
            "invalid_type",
        ),
        ({"tool_choice": "maybe"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "missing_required_parameter"),
        ({"functions": [{"name": "x", "strict": True}]}, "functions[0].strict", "unknown_parameter"),
        ({"function_call": {"name": ""}}, "function_call.name", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
    ],
)
def test_malformed_tool_or_format_is_refused_with_its_path(fields: dict[str, Any], param: str, code: str) -> None:
    assert (param, code) == place(**fields)
