"""Requests and replies of a soak, made by hand."""

import json
from typing import Any

from soak.invariants import Request
from soak.wire import Reply

PATH = "/v1/chat/completions"
HEADERS = {"x-request-id": "req_1", "content-type": "application/json"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ERROR = {"message": "It is broken.", "type": "server_error", "param": None, "code": "service_unavailable"}


def _data(value: object) -> str:
    return f"data: {json.dumps(value)}\n\n"


def request(**fields: Any) -> Request:  # noqa: ANN401 (members of a request)
    """A request for a completion."""
    return Request(kind="chat", method="POST", path=PATH, fields={"model": "m", **fields})


def reply(status: int = 200, body: bytes = b"", *, complete: bool = True, **headers: str) -> Reply:
    """An answer that took a second, from 10 to 11."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers={**HEADERS, **named}, body=body, complete=complete, began=10.0, ended=11.0)


def error(status: int, body: object = None, **headers: str) -> Reply:
    """A refusal or failure, in the reference's shape by default."""
    return reply(status, json.dumps({"error": ERROR} if body is None else body).encode(), complete=True, **headers)


def whole(*choices: dict[str, Any], usage: dict[str, int] | None = None, identifier: str = "chatcmpl-1") -> Reply:
    """A whole answer."""
    body = {"id": identifier, "choices": choices or (choice(),), "usage": usage or USAGE}
    return reply(200, json.dumps(body).encode())


def choice(content: str = "Hi", finish_reason: str | None = "stop", **message: object) -> dict[str, Any]:
    """One choice of a whole answer."""
    return {"index": 0, "finish_reason": finish_reason, "message": {"content": content, **message}}


def call(name: str, arguments: str) -> dict[str, Any]:
    """A tool call."""
    return {"function": {"name": name, "arguments": arguments}}


def chunk(content: str = "", finish_reason: str | None = None, index: int = 0) -> str:
    """An event of a stream."""
    delta = {"content": content} if content else {}
    return _data({"id": "chatcmpl-1", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]})


def usage_chunk() -> str:
    """The event that carries the usage."""
    return _data({"id": "chatcmpl-1", "choices": [], "usage": USAGE})


def error_event(body: object = None) -> str:
    """The event that ends a stream that failed."""
    return "event: error\n" + _data({"error": ERROR} if body is None else body)


DONE = "data: [DONE]\n\n"
GOOD = (chunk("Hi"), chunk(finish_reason="stop"), DONE)


def stream(*events: str, complete: bool = True) -> Reply:
    """A streamed answer."""
    return reply(200, "".join(events or GOOD).encode(), complete=complete, content_type="text/event-stream")
