import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import InvalidRequestError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion, StreamOptions, decode_request
from tests.protocol.bodies import CALLER, RESULT, USER, accepted, body, error, place, refused_body

HONOURED: dict[str, Any] = {
    "frequency_penalty": -2.0,
    "presence_penalty": 2.0,
    "temperature": 0.5,
    "top_p": 0.9,
    "logit_bias": {"50256": -100.0, "0": 1.5},
    "logprobs": True,
    "top_logprobs": 20,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "metadata": {"k" * 64: "v" * 512},
    "n": 128,
    "seed": -(2**63),
    "stop": ["a", "b", "c", "d"],
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False, "continuous_usage_stats": True},
    "prediction": {"type": "content", "content": "Hello"},
    "user": "someone",
    "safety_identifier": "s" * 128,
    "prompt_cache_key": "k" * 1024,
    "service_tier": "fast",
    "reasoning_effort": "xhigh",
    "verbosity": "low",
    "top_k": -1,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "add_generation_prompt": False,
    "cache_salt": "s" * 1024,
    "enable_thinking": True,
    "thinking": {"type": "enabled", "budget_tokens": 9},
    "thinking_budget": 9,
    "reasoning": {"effort": "xhigh", "max_tokens": 9, "enabled": True},
    "priority": -(2**63),
    "continue_final_message": False,
    "chat_template_kwargs": {"enable_thinking": False},
}


def test_request_needs_only_model_and_messages() -> None:
    assert CreateChatCompletion(model="tiny", messages=[UserMessage(content="Hello")]) == decode_request(body())


@pytest.mark.parametrize("name", HONOURED)
def test_field_keeps_its_value(name: str) -> None:
    assert HONOURED[name] == msgspec.to_builtins(getattr(accepted(**HONOURED), name))


def test_null_means_absent_for_every_optional_field() -> None:
    optional = [name for name in CreateChatCompletion.__struct_fields__ if name not in {"model", "messages"}]
    assert decode_request(body()) == accepted(**dict.fromkeys(optional))


def test_request_is_immutable() -> None:
    with pytest.raises(AttributeError):
        decode_request(body()).n = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "usage", "obfuscation"),
    [
        ({}, False, True),
        ({"stream": True, "stream_options": {}}, False, True),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ({"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}}, False, False),
    ],
)
def test_stream_options_have_the_defaults_of_the_reference(
    fields: dict[str, Any],
    usage: bool,  # noqa: FBT001 (a table's column)
    obfuscation: bool,  # noqa: FBT001
) -> None:
    request = accepted(**fields)
    assert (usage, obfuscation) == (request.includes_usage, request.includes_obfuscation)


def test_null_stream_options_mean_the_defaults() -> None:
    request = accepted(stream=True, stream_options={"include_usage": None, "include_obfuscation": None})
    assert StreamOptions() == request.stream_options
    assert request.includes_obfuscation


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("temperature", 2.1, "decimal_above_max_value"),
        ("temperature", -0.1, "decimal_below_min_value"),
        ("temperature", "1", "invalid_type"),
        ("temperature", True, "invalid_type"),
        ("top_p", 1.5, "decimal_above_max_value"),
        ("top_p", -1, "decimal_below_min_value"),
        ("frequency_penalty", 2.5, "decimal_above_max_value"),
        ("presence_penalty", -3, "decimal_below_min_value"),
        ("n", 0, "integer_below_min_value"),
        ("n", 129, "integer_above_max_value"),
        ("n", 1.0, "invalid_type"),
        ("n", True, "invalid_type"),
        ("max_tokens", 0, "integer_below_min_value"),
        ("max_completion_tokens", 2**63, "integer_above_max_value"),
        ("seed", 2**63, "integer_above_max_value"),
        ("seed", -(2**63) - 1, "integer_below_min_value"),
        ("seed", 0.5, "invalid_type"),
        ("logprobs", 1, "invalid_type"),
        ("stop", ["a"] * 5, "array_above_max_length"),
        ("stop", "", "empty_string"),
        ("stop", 1, "invalid_type"),
        ("logit_bias", [], "invalid_type"),
        ("logit_bias", {"banana": 1}, "invalid_value"),
        ("logit_bias", {"01": 1}, "invalid_value"),
        ("logit_bias", {"-1": 1}, "invalid_value"),
        ("logit_bias", {"1\n": 1}, "invalid_value"),
        ("metadata", {str(number): "" for number in range(17)}, "object_above_max_properties"),
        ("metadata", {"k" * 65: ""}, "string_above_max_length"),
        ("safety_identifier", "s" * 129, "string_above_max_length"),
        ("prompt_cache_key", "k" * 1025, "string_above_max_length"),
        ("user", 3, "invalid_type"),
        ("service_tier", "vip", "invalid_value"),
        ("reasoning_effort", "huge", "invalid_value"),
        ("verbosity", 1, "invalid_type"),
        ("stream", "yes", "invalid_type"),
        ("stream_options", [], "invalid_type"),
        ("model", "", "empty_string"),
        ("model", None, "invalid_type"),
        ("messages", [], "empty_array"),
        ("messages", "Hello", "invalid_type"),
        ("prompt_cache_retention", "1h", "invalid_value"),
        ("top_k", -2, "integer_below_min_value"),
        ("min_p", 1.1, "decimal_above_max_value"),
        ("repetition_penalty", 0, "decimal_below_min_value"),
        ("chat_template_kwargs", [], "invalid_type"),
        ("temprature", 1, "unknown_parameter"),
    ],
)
def test_value_out_of_bounds_is_refused(name: str, value: object, code: str) -> None:
    assert place(**{name: value}) == (name, code)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"stop": ["a", ""]}, "stop[1]", "empty_string"),
        ({"stop": ["a", 1]}, "stop[1]", "invalid_type"),
        ({"logit_bias": {"50256": 101}}, "logit_bias.50256", "decimal_above_max_value"),
        ({"logit_bias": {"50256": None}}, "logit_bias.50256", "invalid_type"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "unknown_parameter"),
        ({"modalities": ["text", "smell"]}, "modalities[1]", "invalid_value"),
        ({"audio": {"format": "wav"}}, "audio.voice", "missing_required_parameter"),
        ({"audio": {"format": "wav", "voice": {}}}, "audio.voice.id", "missing_required_parameter"),
        ({"moderation": {"model": "m", "policy": {"input": {}}}}, "moderation.policy.input.mode", None),
        ({"prediction": {"type": "content", "content": [{"text": "x"}]}}, "prediction.content[0].type", None),
        ({"web_search_options": {"user_location": {"type": "exact"}}}, "web_search_options.user_location.type", None),
        ({"prompt_cache_options": {"ttl": "1h"}}, "prompt_cache_options.ttl", "invalid_value"),
    ],
)
def test_nested_error_has_its_path(fields: dict[str, Any], param: str, code: str | None) -> None:
    found = place(**fields)
    assert param == found[0]
    assert code in {None, found[1]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"stream_options": {"include_obfuscation": False}},
            "Invalid value for 'stream_options': 'stream_options' is only allowed when 'stream' is enabled.",
        ),
        (
            {"stream": False, "stream_options": {"include_usage": True}},
            "Invalid value for 'stream_options': 'stream_options' is only allowed when 'stream' is enabled.",
        ),
        (
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            (
                "Invalid value for 'stream_options.continuous_usage_stats': 'stream_options.continuous_usage_stats' is "
                "only allowed when 'stream_options.include_usage' is enabled."
            ),
        ),
        (
            {"metadata": {"a": "b"}},
            "Invalid value for 'metadata': 'metadata' is only allowed when 'store' is enabled.",
        ),
        (
            {"top_logprobs": 2},
            "Invalid value for 'top_logprobs': 'top_logprobs' is only allowed when 'logprobs' is enabled.",
        ),
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            "Invalid value for 'max_tokens': it differs from 'max_completion_tokens', which replaces it.",
        ),
    ],
)
def test_field_without_the_field_it_needs_is_refused(fields: dict[str, Any], message: str) -> None:
    assert (message, message.split("'")[1], "invalid_value") == error(**fields)


@pytest.mark.parametrize("name", ["functions", "modalities", "stop", "tools"])
def test_empty_list_counts_as_absent(name: str) -> None:
    assert decode_request(body()) == accepted(**{name: []})


@pytest.mark.parametrize(
    "fields",
    [
        {"top_logprobs": 0},
        {"stream_options": {}},
        {"stream_options": {"include_usage": None}},
        {"metadata": {}},
        {"logit_bias": {}},
    ],
)
def test_field_that_asks_for_nothing_needs_no_other_field(fields: dict[str, Any]) -> None:
    assert "tiny" == accepted(**fields).model


def test_error_names_every_field_that_lacks_another() -> None:
    message, param, code = error(stream_options={"include_usage": True}, metadata={"a": "b"}, audio=SPOKEN)
    assert ("stream_options", "invalid_value") == (param, code)
    assert [True] * 3 == [f"'{name}'" in message for name in ("stream_options", "metadata", "audio")]


def test_error_names_every_bad_key_of_logit_bias() -> None:
    message, param, _ = error(logit_bias={"banana": 1, "5": 1, "cherry": 1})
    assert ("logit_bias", True, True) == (param, "'banana'" in message, "'cherry'" in message)


SPOKEN = {"voice": "alloy", "format": "wav"}


def test_template_variables_have_at_most_32_levels() -> None:
    value: object = 0
    for _ in range(31):
        value = [value]
    assert {"a": value} == accepted(chat_template_kwargs={"a": value}).chat_template_kwargs
    assert ("chat_template_kwargs", "invalid_value") == place(chat_template_kwargs={"a": [value]})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "Missing required parameter: 'messages'. Missing required parameter: 'model'."),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "Missing required parameter: 'model'."),
        (b"[]", "Invalid type for the request body: expected an object, but got an array instead."),
        (b'"hello"', "Invalid type for the request body: expected an object, but got a string instead."),
        (b"", "We could not parse the JSON body of your request: Input data was truncated."),
        (
            b'{"model":"a","model":"b"}',
            "We could not parse the JSON body of your request: the key 'model' occurs twice in one object.",
        ),
    ],
)
def test_body_that_is_no_request_is_refused(data: bytes, message: str) -> None:
    assert message == refused_body(data).message


def test_quoted_client_text_in_errors_is_bounded() -> None:
    found = refused_body(body(**{"x" * 10_000: 1}))
    assert len(found.message) + len(found.param or "") < 200
    assert len(error(service_tier="x" * 10_000)[0]) < 250


TEXT = st.text(st.characters(categories=None), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["user", "text", "auto"])
JSON = st.recursive(
    SCALARS | st.sampled_from([USER, CALLER, RESULT, [USER], {"type": "text", "text": "x"}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["role", "type"]), inner),
    max_leaves=6,
)
NAMES = st.sampled_from([*CreateChatCompletion.__struct_fields__, "unknown"])
ROLES = st.sampled_from(["developer", "system", "user", "assistant", "tool", "function", "judge"])
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "refusal", "image_url", "file", "x"])},
    optional={"text": JSON, "refusal": JSON, "image_url": JSON, "file": JSON},
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES},
    optional={
        "content": TEXT | st.lists(PARTS, max_size=2) | JSON,
        "name": TEXT,
        "tool_calls": st.just(CALLER["tool_calls"]) | JSON,
        "tool_call_id": st.just("call_1") | JSON,
    },
)


@settings(max_examples=200, deadline=None)
@given(
    JSON
    | st.dictionaries(NAMES, JSON, max_size=3).map(lambda fields: {"model": "tiny", "messages": [USER]} | fields)
    | st.lists(MESSAGES, max_size=4).map(lambda messages: {"model": "tiny", "messages": messages})
)
def test_any_json_is_a_request_or_refused_with_one_error(value: object) -> None:
    data = json.dumps(value).encode()
    try:
        request = decode_request(data)
    except InvalidRequestError as failure:
        msgspec.json.encode([failure.message, failure.param, failure.code])
    else:
        msgspec.msgpack.encode(request)
