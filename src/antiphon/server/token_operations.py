"""The operations about tokens and prompts in the OpenAPI document."""

from typing import Any, Final

from msgspec import Struct

from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.token_requests import (
    DetokenizeAnswer,
    DetokenizeRequest,
    InputTokens,
    TemplateAnswer,
    TokenizeAnswer,
    TokenizeRequest,
)
from antiphon.server.openapi_parts import JSON, errors, json_response
from antiphon.server.schemas import reference

TOKEN_ROOTS: Final[tuple[type[Struct], ...]] = (
    TokenizeRequest,
    TokenizeAnswer,
    DetokenizeRequest,
    DetokenizeAnswer,
    TemplateAnswer,
    InputTokens,
)


def token_paths() -> dict[str, dict[str, Any]]:
    """Return the operations by path and method."""
    chat = reference(CreateChatCompletion)
    either = {"anyOf": [reference(TokenizeRequest), chat]}
    return {
        "/v1/chat/completions/input_tokens": {
            "post": _operation("countInputTokens", "Count the tokens of a prompt", chat, InputTokens)
        },
        "/tokenize": {"post": _operation("tokenize", "Tokenize a text or a prompt", either, TokenizeAnswer)},
        "/detokenize": {
            "post": _operation("detokenize", "Get the text of tokens", reference(DetokenizeRequest), DetokenizeAnswer)
        },
        "/apply-template": {"post": _operation("applyTemplate", "Get the text of a prompt", chat, TemplateAnswer)},
    }


def _operation(name: str, summary: str, body: dict[str, Any], answer: type[Struct]) -> dict[str, Any]:
    return {
        "tags": ["Chat"],
        "operationId": name,
        "summary": summary,
        "description": "Runs no model. Costs one request and no tokens of the rate limits.",
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {
            "200": json_response("The answer.", answer),
            **errors(400, 401, 403, 404, 413, 415, 429, 500, 503),
        },
    }
