from typing import Any

import pytest

from antiphon.protocol.tool_rules import allowed_tool_names, tool_name
from antiphon.protocol.tools import AllowedTools, CustomTool, CustomToolDefinition, FunctionDefinition, FunctionTool
from tests.protocol.bodies import accepted, error, place

FUNCTION = {"type": "function", "function": {"name": "weather"}}
CUSTOM = {"type": "custom", "custom": {"name": "shell"}}
TOOLS = [FUNCTION, CUSTOM]


def allowed(*tools: dict[str, Any], mode: str = "auto") -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": TOOLS},
        {"tools": TOOLS, "parallel_tool_calls": False},
        {"tools": TOOLS, "tool_choice": "none"},
        {"tools": TOOLS, "tool_choice": "auto"},
        {"tools": TOOLS, "tool_choice": "required"},
        {"tools": TOOLS, "tool_choice": FUNCTION},
        {"tools": TOOLS, "tool_choice": CUSTOM},
        {"tools": TOOLS, "tool_choice": allowed(CUSTOM)},
        {"tools": TOOLS, "tool_choice": allowed(FUNCTION, CUSTOM, mode="required")},
        {"tools": TOOLS, "tool_choice": allowed(FUNCTION | {"custom": None})},
        {"functions": [{"name": "f"}]},
        {"functions": [{"name": "f"}], "function_call": "auto"},
        {"functions": [{"name": "f"}, {"name": "g"}], "function_call": {"name": "g"}},
        {"tool_choice": "none"},
        {"function_call": "none"},
        {"tool_choice": "auto"},
        {"tool_choice": "auto", "tools": []},
        {"tool_choice": "auto", "functions": [{"name": "f"}]},
        {"tool_choice": "none", "parallel_tool_calls": True, "tools": []},
        {"parallel_tool_calls": True},
        {"parallel_tool_calls": False},
        {"function_call": "auto"},
        {"function_call": "auto", "functions": []},
        {"functions": [], "tools": TOOLS},
    ],
)
def test_fitting_tools_and_choice_are_accepted(fields: dict[str, Any]) -> None:
    assert "tiny" == accepted(**fields).model


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("tool_choice", {"tool_choice": "required"}),
        ("tool_choice", {"tool_choice": "required", "tools": []}),
        ("tool_choice", {"tool_choice": FUNCTION}),
        ("tool_choice", {"tool_choice": "required", "functions": [{"name": "f"}]}),
        ("tools[1].function.name", {"tools": [FUNCTION, FUNCTION]}),
        ("tools[1].custom.name", {"tools": [FUNCTION, {"type": "custom", "custom": {"name": "weather"}}]}),
        ("tool_choice", {"tools": [CUSTOM], "tool_choice": FUNCTION}),
        ("tool_choice", {"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "weather"}}}),
        ("tool_choice", {"tools": [FUNCTION], "tool_choice": allowed(FUNCTION, CUSTOM)}),
        ("function_call", {"function_call": {"name": "f"}, "functions": []}),
        ("function_call", {"function_call": {"name": "f"}, "tools": TOOLS}),
        ("functions", {"functions": [{"name": "f"}], "tools": TOOLS}),
        ("functions[1].name", {"functions": [{"name": "f"}, {"name": "f"}]}),
        ("function_call", {"functions": [{"name": "f"}], "function_call": {"name": "g"}}),
    ],
)
def test_conflicting_tools_and_choice_are_refused(param: str, fields: dict[str, Any]) -> None:
    assert (param, "invalid_value") == place(**fields)


@pytest.mark.parametrize(
    ("entry", "param", "code"),
    [
        ({}, "tool_choice.allowed_tools.tools[0].type", "missing_required_parameter"),
        ({"type": "web"}, "tool_choice.allowed_tools.tools[0].type", "invalid_value"),
        ({"type": "function", "name": "f"}, "tool_choice.allowed_tools.tools[0].name", "unknown_parameter"),
        ({"type": "custom"}, "tool_choice.allowed_tools.tools[0].custom", "missing_required_parameter"),
        (
            {"type": "function", "function": {"name": ""}},
            "tool_choice.allowed_tools.tools[0].function.name",
            "invalid_value",
        ),
    ],
)
def test_malformed_entry_of_allowed_tools_is_refused(entry: dict[str, Any], param: str, code: str) -> None:
    assert (param, code) == place(tools=TOOLS, tool_choice=allowed(entry))


SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def form(**fields: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, **fields}}


FORCING: list[dict[str, Any]] = [
    {"tools": TOOLS, "tool_choice": "required"},
    {"tools": TOOLS, "tool_choice": FUNCTION},
    {"tools": TOOLS, "tool_choice": CUSTOM},
    {"tools": TOOLS, "tool_choice": allowed(FUNCTION, mode="required")},
    {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
]


@pytest.mark.parametrize("fields", FORCING)
def test_forced_call_and_a_strict_schema_cannot_both_hold(fields: dict[str, Any]) -> None:
    message, param, code = error(**fields, response_format=form(strict=True))
    assert ("response_format", "invalid_value") == (param, code)
    assert ("'tool_choice'" if "tools" in fields else "'function_call'") in message
    assert "the answer has calls and no content" in message


@pytest.mark.parametrize("fields", FORCING)
def test_forced_call_and_a_format_that_is_not_strict_are_accepted(fields: dict[str, Any]) -> None:
    for response_format in (form(), form(strict=False), {"type": "json_object"}):
        assert "tiny" == accepted(**fields, response_format=response_format).model


@pytest.mark.parametrize("choice", [None, "auto", "none", allowed(FUNCTION)])
def test_strict_schema_holds_beside_a_free_choice(choice: object) -> None:
    assert "tiny" == accepted(tools=TOOLS, tool_choice=choice, response_format=form(strict=True)).model


def test_error_names_the_missing_tool_or_field() -> None:
    assert (
        "Invalid value for 'tool_choice': the function tool 'weather' is not among 'tools'."
        == error(tools=[CUSTOM], tool_choice=FUNCTION)[0]
    )
    assert (
        "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        == error(tool_choice="required")[0]
    )


def test_error_names_every_missing_or_repeated_tool() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    message, _, _ = error(tools=[FUNCTION, FUNCTION, CUSTOM, CUSTOM])
    assert [True, True] == [f"'{path}'" in message for path in ("tools[1].function.name", "tools[3].custom.name")]
    message, _, _ = error(tools=[FUNCTION], tool_choice=allowed(CUSTOM, other))
    assert [True, True] == [f"'{name}'" in message for name in ("shell", "other")]


def test_tools_are_named_by_type_and_name() -> None:
    assert ("function", "f") == tool_name(FunctionTool(function=FunctionDefinition(name="f")))
    assert ("custom", "c") == tool_name(CustomTool(custom=CustomToolDefinition(name="c")))
    assert [("custom", "shell"), ("function", "weather")] == allowed_tool_names(
        AllowedTools(mode="auto", tools=[CUSTOM, FUNCTION])
    )
