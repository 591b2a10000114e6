"""Every bound of a request: a value at the bound is accepted, one above it is refused by name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.protocol import bounds as limits
from antiphon.protocol.requests import decode_request
from tests.protocol.bodies import CALL, RESULT, USER, body, place

Fields = dict[str, Any]
TEXT = {"type": "text", "text": ""}


def talk(*messages: Fields) -> Fields:
    return {"messages": list(messages)}


def calling(*calls: Fields) -> Fields:
    answers = [{**RESULT, "tool_call_id": call["id"]} for call in calls]
    return talk({"role": "assistant", "tool_calls": list(calls)}, *answers)


def identified(length: int) -> Fields:
    return calling({**CALL, "id": "i" * length})


def called(length: int) -> Fields:
    return calling({**CALL, "function": {"name": "f" * length, "arguments": "{}"}})


def parts(count: int) -> Fields:
    """Return messages with so many parts together, at most ``MAX_PARTS`` in each."""
    full, rest = divmod(count, limits.MAX_PARTS)
    return talk(*({"role": "user", "content": [TEXT] * size} for size in [limits.MAX_PARTS] * full + [rest] if size))


def tools(count: int) -> list[Fields]:
    return [{"type": "function", "function": {"name": f"f{number}"}} for number in range(count)]


def described(size: int) -> list[Fields]:
    """Return tools of so many bytes together, with all fields, as absent ones count as null."""
    function = {"name": "f", "description": "", "parameters": None, "strict": None}
    length = size - len(json.dumps([{"type": "function", "function": function}], separators=(",", ":")))
    return [{"type": "function", "function": {**function, "description": "d" * length}}]


def legacy(size: int) -> list[Fields]:
    length = size - len('[{"name":"f","description":""}]')
    return [{"name": "f", "description": "d" * length}]


def nested(levels: int) -> Any:  # noqa: ANN401 (JSON)
    value: Any = 0
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def annotated(count: int) -> Fields:
    citation = {"start_index": 0, "end_index": 0, "url": "", "title": ""}
    annotations = [{"type": "url_citation", "url_citation": citation}] * count
    return talk({"role": "assistant", "content": "", "annotations": annotations})


def schema(levels: int) -> Fields:
    """Return fields of a request with so many levels in all; free-form JSON begins at the fifth."""
    parameters = {"default": nested(levels - 5)}
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


TOO_LONG_ARRAY, TOO_LONG_STRING = "array_above_max_length", "string_above_max_length"
TOO_MANY_KEYS = "object_above_max_properties"
BOUNDS: dict[str, tuple[Callable[[int], Fields], str | None, str]] = {
    "MAX_DEPTH": (schema, None, "invalid_json"),
    "MAX_MESSAGES": (lambda size: talk(*[USER] * size), "messages", TOO_LONG_ARRAY),
    "MAX_PARTS": (lambda size: talk({**USER, "content": [TEXT] * size}), "messages[0].content", TOO_LONG_ARRAY),
    "MAX_ALL_PARTS": (parts, "messages", TOO_LONG_ARRAY),
    "MAX_TOOL_CALLS": (
        lambda size: calling(*({**CALL, "id": str(number)} for number in range(size))),
        "messages[0].tool_calls",
        TOO_LONG_ARRAY,
    ),
    "MAX_ANNOTATIONS": (annotated, "messages[0].annotations", TOO_LONG_ARRAY),
    "MAX_NAME": (lambda size: talk({**USER, "name": "n" * size}), "messages[0].name", TOO_LONG_STRING),
    "MAX_CALLED_NAME": (called, "messages[0].tool_calls[0].function.name", TOO_LONG_STRING),
    "MAX_ID": (identified, "messages[0].tool_calls[0].id", TOO_LONG_STRING),
    "MAX_TOOLS": (lambda size: {"tools": tools(size)}, "tools", TOO_LONG_ARRAY),
    "MAX_TOOL_BYTES": (lambda size: {"tools": described(size)}, "tools", TOO_LONG_ARRAY),
    "MAX_MODEL": (lambda size: {"model": "m" * size}, "model", TOO_LONG_STRING),
    "MAX_USER": (lambda size: {"user": "u" * size}, "user", TOO_LONG_STRING),
    "MAX_SAFETY_IDENTIFIER": (lambda size: {"safety_identifier": "s" * size}, "safety_identifier", TOO_LONG_STRING),
    "MAX_PROMPT_CACHE_KEY": (lambda size: {"prompt_cache_key": "k" * size}, "prompt_cache_key", TOO_LONG_STRING),
    "MAX_METADATA": (
        lambda size: {"store": True, "metadata": {str(number): "" for number in range(size)}},
        "metadata",
        TOO_MANY_KEYS,
    ),
    "MAX_METADATA_KEY": (lambda size: {"store": True, "metadata": {"k" * size: ""}}, "metadata", TOO_LONG_STRING),
    "MAX_METADATA_VALUE": (lambda size: {"store": True, "metadata": {"k": "v" * size}}, "metadata.k", TOO_LONG_STRING),
    "MAX_N": (lambda size: {"n": size}, "n", "integer_above_max_value"),
    "MAX_STOPS": (lambda size: {"stop": ["s"] * size}, "stop", TOO_LONG_ARRAY),
    "MAX_STOP": (lambda size: {"stop": "s" * size}, "stop", TOO_LONG_STRING),
    "MAX_STOP_TOKENS": (lambda size: {"stop_token_ids": [1] * size}, "stop_token_ids", TOO_LONG_ARRAY),
    "MAX_BREAKERS": (
        lambda size: {"dry_sequence_breakers": ["."] * size},
        "dry_sequence_breakers",
        TOO_LONG_ARRAY,
    ),
    "MAX_BREAKER": (
        lambda size: {"dry_sequence_breakers": ["s" * size]},
        "dry_sequence_breakers[0]",
        TOO_LONG_STRING,
    ),
    "MAX_LOGPROBS": (
        lambda size: {"logprobs": True, "top_logprobs": size},
        "top_logprobs",
        "integer_above_max_value",
    ),
    "MAX_CACHE_SALT": (lambda size: {"cache_salt": "s" * size}, "cache_salt", TOO_LONG_STRING),
    "MAX_CHOICES": (lambda size: {"guided_choice": ["s"] * size}, "guided_choice", TOO_LONG_ARRAY),
    "MAX_CHOICE": (lambda size: {"guided_choice": ["s" * size]}, "guided_choice[0]", TOO_LONG_STRING),
    "MAX_LOGIT_BIAS": (
        lambda size: {"logit_bias": {str(number): 0 for number in range(size)}},
        "logit_bias",
        TOO_MANY_KEYS,
    ),
    "MAX_TEMPLATE_NESTING": (
        lambda size: {"chat_template_kwargs": {"a": nested(size - 1)}},
        "chat_template_kwargs",
        "invalid_value",
    ),
    "MAX_TEMPLATE_BYTES": (
        lambda size: {"chat_template_kwargs": {"a": "v" * (size - len('{"a":""}'))}},
        "chat_template_kwargs",
        "invalid_value",
    ),
}


def test_every_bound_is_tested() -> None:
    assert {name for name in vars(limits) if name.startswith("MAX_")} == set(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_value_at_the_bound_is_accepted(name: str) -> None:
    make, _, _ = BOUNDS[name]
    assert decode_request(body(**make(getattr(limits, name)))).messages


@pytest.mark.parametrize("name", BOUNDS)
def test_value_above_the_bound_is_refused_by_name(name: str) -> None:
    make, param, code = BOUNDS[name]
    assert (param, code) == place(**make(getattr(limits, name) + 1))


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"stop": ["a", "s" * 1025]}, "stop[1]", TOO_LONG_STRING),
        ({"functions": [{"name": f"f{number}"} for number in range(129)]}, "functions", TOO_LONG_ARRAY),
        ({"functions": legacy(limits.MAX_TOOL_BYTES + 1)}, "functions", TOO_LONG_ARRAY),
        (talk({"role": "function", "name": "f" * 257, "content": ""}), "messages[0].name", TOO_LONG_STRING),
        (
            talk({"role": "tool", "tool_call_id": "i" * 1025, "content": ""}),
            "messages[0].tool_call_id",
            TOO_LONG_STRING,
        ),
        (talk({"role": "tool", "tool_call_id": "i", "content": [TEXT] * 2049}), "messages[0].content", TOO_LONG_ARRAY),
        ({"prediction": {"type": "content", "content": [TEXT] * 2049}}, "prediction.content", TOO_LONG_ARRAY),
    ],
)
def test_bound_holds_in_every_place_of_a_request(fields: Fields, param: str, code: str) -> None:
    assert (param, code) == place(**fields)
