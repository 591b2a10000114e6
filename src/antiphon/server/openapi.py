"""The OpenAPI 3.1 document, built from the Structs that the server decodes and encodes. Docs and tests read it.

What a schema cannot say (how messages may follow each other, which fields need which) is in the descriptions and in the
error of the request that breaks the rule.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    CompletionUsage,
    ErrorResponse,
    Model,
    ModelList,
)
from antiphon.server.schemas import build_schemas, reference

JSON: Final = "application/json"
EXAMPLE_MODEL: Final = "smollm2-135m-instruct"

INTRODUCTION: Final = """\
Chat completions on models of your own, in the shapes of the Chat Completions reference: an official SDK is a client as
it is, given this server's address as its base URL. Every field is honoured or refused by name.

Errors have one shape, `{"error": {"message", "type", "param", "code"}}`; `param` is a path such as `messages[0].role`.
Every answer carries `x-request-id`. A request's own `X-Client-Request-Id` (at most 512 ASCII characters) is logged."""

ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("BadRequest", "The request is malformed, or asks for what this server or model cannot do; see `param`."),
    404: ("NotFound", "No such model."),
    413: ("PayloadTooLarge", "The body is larger than the server accepts; the connection is closed."),
    415: ("UnsupportedMediaType", "The body is not declared as `application/json`."),
    429: ("RateLimited", "Too many requests wait already. Repeat after `retry-after` seconds."),
    500: ("ServerError", "A fault of the server. Its log has the details under the answer's `x-request-id`."),
    503: ("Unavailable", "The engine is starting or restarting. Repeat after `retry-after` seconds."),
}
"""Status: name among the document's responses, description."""

RETRYABLE: Final = (429, 503)


class Health(Struct, frozen=True, kw_only=True):
    """The server takes requests."""

    status: Literal["ok"] = "ok"
    version: str
    """Of the server."""


ROOTS: Final = (CreateChatCompletion, ChatCompletion, ChatCompletionChunk, ModelList, Model, ErrorResponse, Health)


def build_document(version: str) -> dict[str, Any]:
    """Return the document as JSON-ready values; ``version`` is the server's."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Antiphon",
            "version": version,
            "summary": "Chat completions on your own models.",
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "Chat", "description": "Answers of a model to a conversation."},
            {"name": "Models", "description": "What this server serves."},
            {"name": "Server", "description": "The server itself."},
        ],
        "paths": _paths(),
        "components": {"schemas": build_schemas(ROOTS), "responses": _error_responses(), "headers": _headers()},
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/chat/completions": {"post": _create_chat_completion()},
        "/v1/models": {"get": _list_models()},
        "/v1/models/{model}": {"get": _retrieve_model()},
        "/health": {"get": _health()},
    }


def _create_chat_completion() -> dict[str, Any]:
    return {
        "tags": ["Chat"],
        "operationId": "createChatCompletion",
        "summary": "Create a chat completion",
        "description": (
            "Answers the conversation in `messages`. With `stream` the answer comes as server-sent events, else as one "
            "object. Closing the connection ends the work within one step of the model."
        ),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": reference(CreateChatCompletion), "examples": _request_examples()}},
        },
        "responses": {
            "200": {
                "description": "The completion, or its chunks when `stream` is true.",
                "headers": _header_references(),
                "content": {
                    JSON: {"schema": reference(ChatCompletion), "example": _completion_example()},
                    "text/event-stream": {"schema": _event_schema()},
                },
            },
            **_errors(400, 404, 413, 415, 429, 500, 503),
        },
    }


def _list_models() -> dict[str, Any]:
    return {
        "tags": ["Models"],
        "operationId": "listModels",
        "summary": "List the models",
        "description": "All models that this server serves, by the names that `model` takes.",
        "responses": {"200": _json_response("The models.", ModelList), **_errors(500)},
    }


def _retrieve_model() -> dict[str, Any]:
    return {
        "tags": ["Models"],
        "operationId": "retrieveModel",
        "summary": "Retrieve a model",
        "description": "One model. Its id may contain slashes, escaped or not.",
        "parameters": [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "description": "The model's id.",
                "schema": {"type": "string", "minLength": 1},
                "example": EXAMPLE_MODEL,
            }
        ],
        "responses": {"200": _json_response("The model.", Model), **_errors(400, 404, 500)},
    }


def _health() -> dict[str, Any]:
    return {
        "tags": ["Server"],
        "operationId": "health",
        "summary": "Ask whether requests are taken",
        "description": "Answers 200 when every model is ready, 503 while an engine is starting or restarting.",
        "responses": {"200": _json_response("Ready.", Health), **_errors(500, 503)},
    }


def _event_schema() -> dict[str, Any]:
    """Describe one event: OpenAPI 3.1 has no word for a stream, so that the schema is that of each event."""
    data = [
        {"description": "A chunk.", **_embedded(ChatCompletionChunk)},
        {"description": "The last event of a stream that failed.", **_embedded(ErrorResponse)},
        {"description": "The last event of a whole stream.", "const": "[DONE]"},
    ]
    return {
        "title": "Event",
        "description": "One server-sent event, `data: ...` and an empty line.",
        "type": "object",
        "properties": {"data": {"anyOf": data}},
        "required": ["data"],
    }


def _embedded(struct: type[Struct]) -> dict[str, Any]:
    return {"type": "string", "contentMediaType": JSON, "contentSchema": reference(struct)}


def _json_response(description: str, struct: type[Struct]) -> dict[str, Any]:
    content = {JSON: {"schema": reference(struct)}}
    return {"description": description, "headers": _header_references(), "content": content}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{ERRORS[status][0]}"} for status in statuses}


def _error_responses() -> dict[str, Any]:
    answers = {}
    for status, (name, description) in ERRORS.items():
        names = ("retry-after", "retry-after-ms") if status in RETRYABLE else ()
        answers[name] = {
            "description": description,
            "headers": _header_references(*names),
            "content": {JSON: {"schema": reference(ErrorResponse)}},
        }
    return answers


def _headers() -> dict[str, Any]:
    def header(description: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": description, "required": True, "schema": schema}

    count = {"type": "integer", "minimum": 0}
    return {
        "x-request-id": header("Names this answer in the log.", {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}),
        "openai-processing-ms": header("Milliseconds from the request to the start of the answer.", count),
        "openai-version": header("The version of the reference.", {"type": "string", "const": "2020-10-01"}),
        "retry-after": header("Seconds to wait before a repeat.", count),
        "retry-after-ms": header("The same in milliseconds.", count),
    }


def _header_references(*more: str) -> dict[str, Any]:
    names = ("x-request-id", "openai-processing-ms", "openai-version", *more)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _request_examples() -> dict[str, Any]:
    question = [{"role": "user", "content": "Name three primary colours."}]
    base = {"model": EXAMPLE_MODEL, "messages": question, "max_completion_tokens": 64}
    return {
        "whole": {"summary": "A whole answer", "value": base},
        "stream": {
            "summary": "A stream with the usage at its end",
            "value": {**base, "stream": True, "stream_options": {"include_usage": True}},
        },
        "logprobs": {
            "summary": "Two answers with log probabilities",
            "value": {**base, "n": 2, "seed": 7, "logprobs": True, "top_logprobs": 2},
        },
    }


def _completion_example() -> dict[str, Any]:
    message = ChatCompletionMessage(content="Red, yellow and blue.")
    completion = ChatCompletion(
        id="chatcmpl-0123456789abcdef",
        created=1_780_000_000,
        model=EXAMPLE_MODEL,
        choices=[Choice(index=0, message=message, logprobs=None, finish_reason="stop")],
        usage=CompletionUsage(prompt_tokens=14, completion_tokens=7, total_tokens=21),
        service_tier="default",
        system_fingerprint="fp_0123456789ab",
    )
    example = msgspec.to_builtins(completion)
    assert isinstance(example, dict)
    return example
