from typing import Any

import jsonschema_rs
import msgspec
import pytest

from antiphon.errors import InvalidRequestError
from antiphon.protocol.fields import fields_of
from antiphon.protocol.requests import CreateChatCompletion, decode_request
from antiphon.protocol.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    CompletionUsage,
    Delta,
    ErrorBody,
    ErrorResponse,
)
from antiphon.server.schemas import PREFIX, build_schemas

SCHEMAS = build_schemas([CreateChatCompletion, ChatCompletion, ChatCompletionChunk, ErrorResponse])
REQUEST = SCHEMAS["CreateChatCompletion"]["properties"]
MESSAGES = [{"role": "user", "content": "Hi"}]


def is_valid(value: object, name: str) -> bool:
    schema = {"$ref": PREFIX + name, "components": {"schemas": SCHEMAS}}
    return jsonschema_rs.is_valid(schema, msgspec.to_builtins(value))


def is_accepted(request: dict[str, Any]) -> bool:
    try:
        decode_request(msgspec.json.encode(request))
    except InvalidRequestError:
        return False
    return True


REQUESTS: list[dict[str, Any]] = [
    {},
    {"temperature": 2, "stop": ["a"], "logit_bias": {"1": -100}, "seed": -1, "stream": None},
    {"temperature": 2.1},
    {"stop": ["a"] * 5},
    {"logit_bias": {"a": 1}},
    {"nonsense": 1},
    {"nonsense": None},
    {"stream": True, "stream_options": {"nonsense": None}},
    {"stream": True, "stream_options": {"nonsense": 1}},
    {"n": 0},
    {"n": 1.5},
    {"store": False},
    {"store": True},
    {"store": None},
    {"tool_choice": "none"},
    {"tool_choice": "maybe"},
    {"modalities": ["text"]},
    {"modalities": []},
    {"stop": [], "tools": [], "functions": []},
    {"modalities": ["audio"]},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {"prediction": {"type": "content", "content": "Hi"}},
    {"messages": []},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]}]},
    {"messages": [{"role": "assistant", "audio": {"id": "a"}}]},
    {"messages": [{"role": "robot", "content": "Hi"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "x": 1}], "sender": 2}]},
]


@pytest.mark.parametrize("fields", REQUESTS, ids=str)
def test_the_schema_and_the_decoder_agree(fields: dict[str, Any]) -> None:
    request = {"model": "m", "messages": MESSAGES, **fields}
    assert is_accepted(request) == is_valid(request, "CreateChatCompletion")


def test_refused_fields_are_not_in_the_request_schema() -> None:
    refused = {field.path for field in fields_of("request") if field.status == "refused" and not field.idle}
    assert set() == refused & set(REQUEST)
    assert {"audio", "web_search_options"} <= refused


def test_schemas_of_refused_fields_only_are_left_out() -> None:
    assert set() == {"ImagePart", "ImageURL", "FilePart", "AudioOptions", "WebSearchOptions"} & set(SCHEMAS)


def test_fields_carry_the_notes_of_the_table() -> None:
    assert "-2 to 2." == REQUEST["presence_penalty"]["description"]
    assert "Extension. 0 to 1." == REQUEST["min_p"]["description"]
    assert "The same in every chunk." == SCHEMAS["ChatCompletion"]["properties"]["id"]["description"]


def test_fields_that_are_always_written_are_required() -> None:
    required = SCHEMAS["ChatCompletionMessage"]["required"]
    assert {"role", "content", "refusal", "annotations"} == set(required)
    assert ["message", "type", "param", "code"] == SCHEMAS["ErrorBody"]["required"]
    assert "type" in SCHEMAS["Annotation"]["required"]


def chunk(**fields: Any) -> ChatCompletionChunk:  # noqa: ANN401 - fields of a chunk
    choice = ChunkChoice(index=0, delta=Delta(content="Hi"))
    return ChatCompletionChunk(
        id="c", created=1, model="m", service_tier="default", system_fingerprint="f", choices=[choice], **fields
    )


@pytest.mark.parametrize(
    "value",
    [
        chunk(),
        chunk(usage=None, obfuscation="x"),
        chunk(usage=CompletionUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2)),
        ErrorResponse(ErrorBody(message="No.", type="server_error", param=None, code=None)),
    ],
)
def test_answers_match_their_schemas(value: msgspec.Struct) -> None:
    assert is_valid(value, type(value).__name__)


def test_texts_are_for_readers_of_json() -> None:
    texts = [schema.get("description", "") for schema in SCHEMAS.values()]
    assert [] == [text for text in texts if "``" in text or ":class:" in text or "\n " in text]
