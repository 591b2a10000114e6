import json
from typing import Any

import pytest

from antiphon.chat_formats.chat_format import HERMES
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.protocol.requests import CreateChatCompletion, decode_request
from antiphon.rendering.server_text import split_server_text
from antiphon.rendering.tool_use import ToolUse, customs_text, format_text, functions_text, template_tools, tool_use

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "It rains?", "parameters": SCHEMA}}
TIME = {"type": "function", "function": {"name": "time"}}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
SHELL = {"type": "custom", "custom": {"name": "shell", "description": "Runs it.", "format": GRAMMAR}}
NOTE = {"type": "custom", "custom": {"name": "note"}}
TOOLS = [WEATHER, SHELL, TIME, NOTE]


def request(**fields: Any) -> CreateChatCompletion:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return decode_request(json.dumps(body).encode())


def used(**fields: Any) -> ToolUse:  # noqa: ANN401 (JSON)
    use = tool_use(request(**fields))
    assert use is not None
    return use


def allowed(mode: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


def read(text: str) -> str:
    return "".join(split_server_text(text))


def test_request_without_tools_has_no_tool_use() -> None:
    assert tool_use(request()) is None
    assert tool_use(request(tool_choice="none")) is None


def test_tools_have_their_paths_in_the_request() -> None:
    use = used(tools=TOOLS)
    assert [("weather", "tools[0].function"), ("time", "tools[2].function")] == [
        (tool.definition.name, tool.path) for tool in use.functions
    ]
    assert [("shell", "tools[1]"), ("note", "tools[3]")] == [(tool.definition.name, tool.path) for tool in use.customs]


NAMES = {"weather", "shell", "time", "note"}
NAMED_TIME = {"type": "function", "function": {"name": "time"}}
NAMED_NOTE = {"type": "custom", "custom": {"name": "note"}}


@pytest.mark.parametrize(
    ("choice", "mode", "names", "named"),
    [
        (None, "auto", NAMES, False),
        ("auto", "auto", NAMES, False),
        ("none", "none", NAMES, False),
        ("required", "required", NAMES, False),
        (NAMED_TIME, "required", {"time"}, True),
        (NAMED_NOTE, "required", {"note"}, True),
        (allowed("auto", NAMED_TIME, NAMED_NOTE), "auto", {"time", "note"}, False),
        (allowed("required", NAMED_TIME), "required", {"time"}, False),
    ],
)
def test_tool_choice_sets_mode_and_allowed_tools(choice: object, mode: str, names: set[str], named: bool) -> None:  # noqa: FBT001 (a table's column)
    use = used(tools=TOOLS, tool_choice=choice)
    assert (mode, names, named, not named) == (use.mode, set(use.allowed), use.named, use.parallel)


def test_parallel_tool_calls_can_be_turned_off() -> None:
    assert not used(tools=TOOLS, parallel_tool_calls=False).parallel
    assert used(tools=TOOLS, parallel_tool_calls=True).parallel


@pytest.mark.parametrize(
    ("call", "mode", "names", "named"),
    [
        (None, "auto", {"f", "g"}, False),
        ("auto", "auto", {"f", "g"}, False),
        ("none", "none", {"f", "g"}, False),
        ({"name": "g"}, "required", {"g"}, True),
    ],
)
def test_deprecated_functions_set_mode_and_allowed_tools(call: object, mode: str, names: set[str], named: bool) -> None:  # noqa: FBT001
    use = used(functions=[{"name": "f", "description": "F."}, {"name": "g", "parameters": SCHEMA}], function_call=call)
    assert (mode, names, named) == (use.mode, set(use.allowed), use.named)
    assert (True, False) == (use.legacy, use.parallel)
    assert ["functions[0]", "functions[1]"] == [tool.path for tool in use.functions]
    assert ["F.", None] == [tool.definition.description for tool in use.functions]


def test_template_tools_have_description_and_parameters() -> None:
    empty = {"type": "object", "properties": {}}
    assert [
        {"type": "function", "function": {"name": "weather", "description": "It rains?", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "time", "description": "", "parameters": empty}},
    ] == template_tools(used(tools=TOOLS))


def test_functions_text_describes_functions_and_the_form_of_a_call() -> None:
    assert (
        "You can call these functions:\n"
        '{"name":"weather","description":"It rains?",'
        '"parameters":{"type":"object","properties":{"city":{"type":"string"}}}}\n'
        "To call a function, write:\n"
        '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call>'
    ) == read(functions_text(used(tools=[WEATHER]), HERMES))


@pytest.mark.parametrize(
    ("expected", "family"),
    [
        ('{"name": NAME, "parameters": ARGUMENTS}', "llama"),
        ("[TOOL_CALLS]NAME[ARGS]ARGUMENTS", "mistral-args"),
        ("```tool_code\nNAME(KEY=VALUE)\n```", "gemma"),
        (
            "<tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n</tool_call>",
            "qwen3-coder",
        ),
    ],
)
def test_example_of_a_call_is_in_the_familys_notation(expected: str, family: str) -> None:
    text = read(functions_text(used(tools=[TIME]), TOOL_NOTATIONS[family]))
    assert expected == text.partition("write:\n")[2]


def test_customs_text_describes_custom_tools_and_the_form_of_a_call() -> None:
    assert (
        "You can use these tools:\n"
        '{"name":"shell","description":"Runs it.","input":{"regex":"a+"}}\n'
        '{"name":"note"}\n'
        "To use a tool, end your answer with:\n"
        '<custom_tool_call name="NAME">\nINPUT'
    ) == read(customs_text(used(tools=TOOLS)))


@pytest.mark.parametrize("response_format", [None, {"type": "text"}, {"type": "json_object"}])
def test_formats_without_a_schema_have_no_text(response_format: object) -> None:
    assert "" == format_text(request(response_format=response_format).response_format)


def test_format_text_holds_name_description_and_schema() -> None:
    form = {"name": "weather", "description": "In short.", "schema": {"type": "object"}}
    told = format_text(request(response_format={"type": "json_schema", "json_schema": form}).response_format)
    assert 'Answer in JSON that follows this schema (weather: In short.):\n{"type":"object"}' == told
    del form["schema"]
    assert "" == format_text(request(response_format={"type": "json_schema", "json_schema": form}).response_format)


def test_example_of_a_call_is_marked_as_server_text() -> None:
    use = used(tools=TOOLS)
    example = '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call>'
    assert [example] == split_server_text(functions_text(use, HERMES))[1::2]
    assert ['<custom_tool_call name="NAME">\nINPUT'] == split_server_text(customs_text(use))[1::2]
