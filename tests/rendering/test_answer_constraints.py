import json
from typing import Any

import pytest

from antiphon.chat_formats.chat_format import HERMES
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.errors import InvalidRequestError
from antiphon.protocol.requests import decode_request
from antiphon.rendering.answer_constraints import AnswerConstraints, answer_constraints
from antiphon.rendering.unenforced import NOTHING

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}
BARE = {"type": "function", "function": {"name": "g"}}
CUSTOM = {"type": "custom", "custom": {"name": "c"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def required(family: str = "hermes", **fields: Any) -> AnswerConstraints:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return answer_constraints(decode_request(json.dumps(body).encode()), TOOL_NOTATIONS[family])


def refusal(**fields: Any) -> InvalidRequestError:  # noqa: ANN401 (JSON)
    with pytest.raises(InvalidRequestError) as caught:
        required(**fields)
    return caught.value


def test_text_format_without_tools_has_no_constraints() -> None:
    for response_format in (None, {"type": "text"}):
        found = required(response_format=response_format)
        assert (None, None, None) == (found.use, found.calls, found.schema)


@pytest.mark.parametrize(
    "response_format",
    [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x"}}],
)
def test_json_object_format_requires_an_object(response_format: dict[str, Any]) -> None:
    assert '"type":"object"' in (required(response_format=response_format).schema or "")


def test_tools_become_call_constraints() -> None:
    calls = required(tools=[FUNCTION, BARE, CUSTOM], parallel_tool_calls=False).calls
    assert calls is not None
    assert ("auto", False) == (calls.mode, calls.parallel)
    assert [("f", False), ("g", True)] == [(function.name, function.schema is None) for function in calls.functions]
    assert ["c"] == [custom.name for custom in calls.customs]


def test_allowed_tools_limit_the_calls() -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [BARE, CUSTOM]}}
    calls = required(tools=[FUNCTION, BARE, CUSTOM], tool_choice=allowed).calls
    assert calls is not None
    assert "required" == calls.mode
    assert [["g"], ["c"]] == [[f.name for f in calls.functions], [c.name for c in calls.customs]]


def test_parameters_without_a_type_are_an_object() -> None:
    calls = required(tools=[FUNCTION]).calls
    assert calls is not None
    assert '"type":"object"' in (calls.functions[0].schema or "")


def test_generic_notation_replaces_a_leading_only_one_beside_a_json_schema() -> None:
    assert HERMES == required("llama", tools=[FUNCTION], response_format=FORMAT).notation
    for fields in ({"response_format": FORMAT}, {"tools": [FUNCTION]}):
        assert TOOL_NOTATIONS["llama"] == required("llama", **fields).notation
    forced = required("llama", tools=[FUNCTION], response_format=FORMAT, tool_choice="required")
    assert TOOL_NOTATIONS["llama"] == forced.notation


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
LOOK_BEHIND = {"type": "string", "pattern": "(?<=a)b"}
OUTSIDE = {"properties": {"a": LOOK_BEHIND}}
STRICT = {"name": "f", "strict": True}


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        (
            "response_format.json_schema.schema",
            {"response_format": {"type": "json_schema", "json_schema": {**STRICT, "schema": LOOK_BEHIND}}},
        ),
        (
            "tools[1].function.parameters",
            {"tools": [BARE, {"type": "function", "function": {**STRICT, "parameters": OUTSIDE}}]},
        ),
        (
            "tools[0].function.parameters",
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}],
                "tool_choice": "none",
            },
        ),
        ("functions[0].parameters", {"functions": [{"name": "f", "parameters": {"properties": 1}}]}),
        (
            "tools[1].custom.format.grammar.definition",
            {
                "tools": [
                    BARE,
                    {
                        "type": "custom",
                        "custom": {
                            "name": "c",
                            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                        },
                    },
                ],
            },
        ),
    ],
)
def test_unenforceable_constraint_is_refused_with_its_path(param: str, fields: dict[str, Any]) -> None:
    assert param == refusal(**fields).param


def test_error_messages_name_function_and_cause() -> None:
    error = refusal(tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}])
    assert "invalid_function_parameters" == error.code
    assert "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'." in error.message
    error = refusal(tools=[{"type": "function", "function": {**STRICT, "parameters": OUTSIDE}}])
    assert "function 'f'" in error.message
    assert "'properties', 'a'" in error.message


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("response_format", {"response_format": FORMAT}),
        ("tools", {"response_format": FORMAT, "tools": [BARE]}),
        ("functions", {"functions": [{"name": "f"}]}),
    ],
)
def test_param_of_a_grammar_error_is_the_field_of_its_constraints(param: str, fields: dict[str, Any]) -> None:
    assert param == required(**fields).param


def test_keywords_of_other_schemas_that_cannot_be_enforced_are_left_out_and_named() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": LOOK_BEHIND}}
    tools = [BARE, {"type": "function", "function": {"name": "f", "parameters": OUTSIDE}}]
    found = required(response_format=form, tools=tools).unenforced
    assert (
        "response_format.json_schema.schema.pattern",
        "tools[1].function.parameters.properties.a.pattern",
    ) == found.paths
    assert (LOOK_BEHIND, {"f": {"type": "object", **OUTSIDE}}) == (found.content, found.functions)


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("response_format.schema", {"response_format": {"type": "json_object", "schema": LOOK_BEHIND}}),
        ("guided_json", {"guided_json": LOOK_BEHIND}),
        ("structured_outputs.json", {"structured_outputs": {"json": json.dumps(LOOK_BEHIND)}}),
    ],
)
def test_schemas_of_extensions_are_enforced_as_far_as_they_can_be(param: str, fields: dict[str, Any]) -> None:
    found = required(**fields)
    assert ((f"{param}.pattern",), LOOK_BEHIND) == (found.unenforced.paths, found.unenforced.content)


def test_enforced_schemas_have_nothing_to_name() -> None:
    assert NOTHING == required(tools=[FUNCTION], response_format=FORMAT).unenforced


def test_strict_takes_a_schema_outside_the_reference_s_subset_unless_that_is_asked_for() -> None:
    form = {"type": "json_schema", "json_schema": {**STRICT, "schema": OPEN}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": form}
    request = decode_request(json.dumps(body).encode())
    assert answer_constraints(request, HERMES).schema is not None
    with pytest.raises(InvalidRequestError, match="'additionalProperties' is required to be supplied"):
        answer_constraints(request, HERMES, "reference")


def test_error_names_the_schemas_of_every_tool_that_cannot_be_followed() -> None:
    def bad(name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": {"type": "string"}}}

    message = refusal(tools=[bad("one"), FUNCTION, bad("two")]).message
    assert [True, True] == [f"function '{name}'" in message for name in ("one", "two")]
