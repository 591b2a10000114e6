"""The OpenAPI 3.1 document, built from the Structs that the server decodes and encodes.

Schemas cannot express the order of messages or dependencies between fields; the descriptions and the errors name them.
"""

from typing import Any, Final

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
from antiphon.protocol.stored import CompletionDeleted, CompletionList, MessageList, StoredCompletion, UpdateCompletion
from antiphon.server.health_operations import HEALTH_ROOTS, health_paths
from antiphon.server.openapi_parts import JSON, error_responses, errors, header_references, headers, json_response
from antiphon.server.schemas import build_schemas, reference
from antiphon.server.stored_operations import stored_paths
from antiphon.server.token_operations import TOKEN_ROOTS, token_paths

EXAMPLE_MODEL: Final = "smollm2-135m-instruct"

INTRODUCTION: Final = """\
Chat completions on your own models, with the objects of the Chat Completions reference: official SDKs work unchanged
with this server's address as their base URL. Every field is honoured or refused by name.

Errors have one shape, `{"error": {"message", "type", "param", "code"}}`; `param` is a path such as `messages[0].role`.
Every answer has the header `x-request-id`. A request's `X-Client-Request-Id` (up to 512 ASCII characters) is logged."""

KEY: Final = "A key of a project, from `antiphon keys create`. A server that never had a key needs none."


ROOTS: Final[tuple[type[Struct], ...]] = (
    CreateChatCompletion,
    ChatCompletion,
    ChatCompletionChunk,
    CompletionList,
    StoredCompletion,
    UpdateCompletion,
    CompletionDeleted,
    MessageList,
    ModelList,
    Model,
    ErrorResponse,
    *TOKEN_ROOTS,
    *HEALTH_ROOTS,
)


def build_document(version: str) -> dict[str, Any]:
    """Return the document as values for JSON; ``version`` is the server's."""
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
            {
                "name": "Stored completions",
                "description": "Answers to requests with `store: true`, of the key's project.",
            },
            {"name": "Models", "description": "The models of this server."},
            {"name": "Server", "description": "The server itself."},
        ],
        "security": [{}, {"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": build_schemas(ROOTS),
            "responses": error_responses(),
            "headers": headers(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": KEY}},
        },
    }


def _paths() -> dict[str, Any]:
    stored = stored_paths()
    return {
        "/v1/chat/completions": {"post": _create_chat_completion(), **stored.pop("/v1/chat/completions")},
        **stored,
        **token_paths(),
        "/v1/models": {"get": _list_models()},
        "/v1/models/{model}": {"get": _retrieve_model()},
        **health_paths(),
        "/metrics": {"get": _metrics()},
    }


def _create_chat_completion() -> dict[str, Any]:
    return {
        "tags": ["Chat"],
        "operationId": "createChatCompletion",
        "summary": "Create a chat completion",
        "description": (
            "Answers the conversation in `messages`. With `stream` the answer is a stream of server-sent events, else "
            "one object. Closing the connection aborts the request within one step of the model."
        ),
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "For 24 hours, a request with the same key gets the first answer again.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": reference(CreateChatCompletion), "examples": _request_examples()}},
        },
        "responses": {
            "200": {
                "description": "The completion, or its chunks when `stream` is true.",
                "headers": header_references("x-antiphon-ignored"),
                "content": {
                    JSON: {"schema": reference(ChatCompletion), "example": _completion_example()},
                    "text/event-stream": {"schema": _event_schema()},
                },
            },
            **errors(400, 401, 403, 404, 409, 413, 415, 429, 500, 503),
        },
    }


def _list_models() -> dict[str, Any]:
    return {
        "tags": ["Models"],
        "operationId": "listModels",
        "summary": "List the models",
        "description": "All models that this server serves; their ids are the values of `model`.",
        "responses": {"200": json_response("The models.", ModelList), **errors(401, 403, 500, 503)},
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
        "responses": {"200": json_response("The model.", Model), **errors(400, 401, 403, 404, 500, 503)},
    }


def _metrics() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    page = {
        "description": "The metrics.",
        "headers": header_references(),
        "content": {"text/plain": text, "application/openmetrics-text": text},
    }
    return {
        "tags": ["Server"],
        "operationId": "metrics",
        "summary": "Read the metrics",
        "description": (
            "Counts and durations in Prometheus's text format, or in OpenMetrics if Accept names it. Needs no key. "
            "The metrics do not name projects or keys and quote no texts."
        ),
        "security": [{}],
        "responses": {"200": page, **errors(500)},
    }


def _event_schema() -> dict[str, Any]:
    """Return the schema of one event: OpenAPI 3.1 cannot describe a stream."""
    data = [
        {"description": "A chunk.", **_embedded(ChatCompletionChunk)},
        {"description": "The last event of a stream that failed.", **_embedded(ErrorResponse)},
        {"description": "The last event of a complete stream.", "const": "[DONE]"},
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
