"""The operations on stored completions in the OpenAPI document."""

from typing import Any, Final

from msgspec import Struct

from antiphon.protocol.stored import CompletionDeleted, CompletionList, MessageList, StoredCompletion, UpdateCompletion
from antiphon.protocol.stored_queries import DEFAULT_LIMIT, MAX_LIMIT
from antiphon.server.openapi_parts import JSON, errors, json_response
from antiphon.server.schemas import reference

COMPLETION_ID: Final = {
    "name": "completion_id",
    "in": "path",
    "required": True,
    "description": "The completion's id.",
    "schema": {"type": "string", "minLength": 1},
    "example": "chatcmpl-0123456789abcdef",
}


def stored_paths() -> dict[str, dict[str, Any]]:
    """Return the operations by path and method."""
    one = "/v1/chat/completions/{completion_id}"
    return {
        "/v1/chat/completions": {"get": _list_completions()},
        one: {"get": _get_completion(), "post": _update_completion(), "delete": _delete_completion()},
        f"{one}/messages": {"get": _list_messages()},
    }


def _list_completions() -> dict[str, Any]:
    return _operation(
        "listChatCompletions",
        "List stored completions",
        "The project's stored completions that match all filters, page by page.",
        [
            *_page_parameters("completion"),
            _query("model", "Only completions of this model.", {"type": "string"}),
            _metadata(),
        ],
        json_response("A page.", CompletionList),
    )


def _get_completion() -> dict[str, Any]:
    return _operation(
        "getChatCompletion", "Retrieve a stored completion", "", [COMPLETION_ID], _completion("The completion.")
    )


def _update_completion() -> dict[str, Any]:
    operation = _operation(
        "updateChatCompletion",
        "Update a stored completion",
        "Replaces all its metadata; null clears it. No other field can be changed.",
        [COMPLETION_ID],
        _completion("The completion with its new metadata."),
        400,
        413,
        415,
    )
    example = {"metadata": {"topic": "colours"}}
    content = {JSON: {"schema": reference(UpdateCompletion), "example": example}}
    return {**operation, "requestBody": {"required": True, "content": content}}


def _delete_completion() -> dict[str, Any]:
    return _operation(
        "deleteChatCompletion",
        "Delete a stored completion",
        "Deletes the completion and its messages.",
        [COMPLETION_ID],
        json_response("The completion is deleted.", CompletionDeleted),
    )


def _list_messages() -> dict[str, Any]:
    return _operation(
        "getChatCompletionMessages",
        "List the messages of a stored completion",
        "The messages of the completion's request, page by page.",
        [COMPLETION_ID, *_page_parameters("message")],
        json_response("A page.", MessageList),
    )


def _operation(
    name: str, summary: str, description: str, parameters: list[Any], answer: dict[str, Any], *statuses: int
) -> dict[str, Any]:
    return {
        "tags": ["Stored completions"],
        "operationId": name,
        "summary": summary,
        "description": description or f"{summary}.",
        "parameters": parameters,
        "responses": {"200": answer, **errors(*sorted({400, 401, 403, 404, 500, 503, *statuses}))},
    }


def _completion(description: str) -> dict[str, Any]:
    struct: type[Struct] = StoredCompletion
    return json_response(description, struct)


def _page_parameters(what: str) -> list[dict[str, Any]]:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    order = {"type": "string", "enum": ["asc", "desc"], "default": "asc"}
    return [
        _query("after", f"The id of the last {what} of the previous page.", {"type": "string"}),
        _query("limit", f"The largest number of {what}s on a page.", limit),
        _query("order", "By time: the oldest first, or the newest.", order),
    ]


def _metadata() -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16}
    parameter = _query("metadata", "Only completions with all these pairs: `metadata[topic]=colours`.", schema)
    return {**parameter, "style": "deepObject", "explode": True}


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
