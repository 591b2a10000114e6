"""The parts of the OpenAPI document that operations share: errors, headers, JSON answers."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from antiphon.protocol.responses import ErrorResponse
from antiphon.server.schemas import reference

JSON: Final = "application/json"

ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("BadRequest", "The request is malformed, or this server or model cannot do it; see `param`."),
    401: ("Unauthorized", "The server needs a key, and the key is missing, unknown, expired or revoked."),
    403: ("Forbidden", "The key lacks the scope that the operation needs."),
    404: ("NotFound", "The model or object does not exist, or another project owns it."),
    409: ("Conflict", "The Idempotency-Key was used for another body, or its first request is being answered."),
    413: ("PayloadTooLarge", "The body is larger than the server accepts; the connection is closed."),
    415: ("UnsupportedMediaType", "The body is not declared as `application/json`."),
    429: ("RateLimited", "A rate limit is reached, or too many requests wait. Retry after `retry-after` seconds."),
    500: ("ServerError", "A defect of the server. Its log has the details under the answer's `x-request-id`."),
    503: (
        "Unavailable",
        "The engine is starting or restarting, or the database fails. Retry after `retry-after` seconds.",
    ),
}
"""By status: the name among the document's responses, and the description."""

RETRYABLE: Final = (429, 503)


def json_response(description: str, struct: type[Struct]) -> dict[str, Any]:
    """Return the description of an answer of one JSON object."""
    content = {JSON: {"schema": reference(struct)}}
    return {"description": description, "headers": header_references(), "content": content}


def errors(*statuses: int) -> dict[str, Any]:
    """Return references to the error answers of these statuses."""
    return {str(status): {"$ref": f"#/components/responses/{ERRORS[status][0]}"} for status in statuses}


def error_responses() -> dict[str, Any]:
    """Return the descriptions of all error answers."""
    answers = {}
    for status, (name, description) in ERRORS.items():
        names = ("retry-after", "retry-after-ms") if status in RETRYABLE else ()
        answers[name] = {
            "description": description,
            "headers": header_references(*names),
            "content": {JSON: {"schema": reference(ErrorResponse)}},
        }
    return answers


def headers() -> dict[str, Any]:
    """Return the descriptions of all headers of answers."""

    def header(description: str, schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
        return {"description": description, "required": required, "schema": schema}

    count = {"type": "integer", "minimum": 0}
    return {
        "x-request-id": header(
            "The id of the request in the log.", {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}
        ),
        "openai-processing-ms": header("Milliseconds from the request to the start of the answer.", count),
        "openai-version": header("The version of the reference.", {"type": "string", "const": "2020-10-01"}),
        "retry-after": header("Seconds to wait before a retry.", count),
        "retry-after-ms": header("The same in milliseconds.", count),
        "x-antiphon-ignored": header(
            "Paths of the request's unknown members that were ignored, separated by commas.",
            {"type": "string", "pattern": "^[ -~]+$"},
            required=False,
        ),
    }


def header_references(*more: str) -> dict[str, Any]:
    """Return references to the headers of every answer and to ``more``."""
    names = ("x-request-id", "openai-processing-ms", "openai-version", *more)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
