"""Requests from fields, decoded, and the errors of refused ones."""

import json
from typing import Any

import pytest

from antiphon.errors import APIError, InvalidRequestError
from antiphon.protocol.requests import CreateChatCompletion, decode_request

USER = {"role": "user", "content": "Hello"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLER = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "messages": [USER]} | fields).encode()


def accepted(**fields: object) -> CreateChatCompletion:
    return decode_request(body(**fields))


def refused_body(data: bytes) -> APIError:
    with pytest.raises(InvalidRequestError) as caught:
        decode_request(data)
    return caught.value


def refused(**fields: object) -> APIError:
    return refused_body(body(**fields))


def error(**fields: object) -> tuple[str, str | None, str | None]:
    found = refused(**fields)
    return found.message, found.param, found.code


def place(**fields: object) -> tuple[str | None, str | None]:
    found = refused(**fields)
    return found.param, found.code


def talk(*messages: dict[str, Any]) -> CreateChatCompletion:
    return accepted(messages=list(messages))


def broken_talk(*messages: dict[str, Any]) -> tuple[str | None, str | None]:
    return place(messages=list(messages))
