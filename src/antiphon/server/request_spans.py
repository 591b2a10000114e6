"""A span for every request, as plain ASGI: the HTTP semantic conventions, without query, headers and bodies."""

from collections.abc import Awaitable, Mapping
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.server.middleware import MAX_LOGGED_PATH, PROBES
from antiphon.server.request_counts import METHODS
from antiphon.telemetry.request_line import current_line
from antiphon.telemetry.spans import Attribute, Tracer, serving_span

TRACE_HEADERS: Final = ("traceparent", "tracestate")
OTHER_METHOD: Final = "_OTHER"
FIRST_FAULT: Final = 500
"""The lowest status of a failed server span; lower ones are mistakes of the client."""


class RequestSpans:
    """Middleware inside ``RequestContext``, whose log line gets the ids of the trace. Probes have no span."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass unchanged."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status: int | None = None

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        headers = Headers(scope=scope)
        carried = {name: headers[name] for name in TRACE_HEADERS if name in headers}
        with (
            self._tracer.request(carried) as span,
            serving_span(span),
            structlog.contextvars.bound_contextvars(**span.ids),
        ):
            error: str | None = None
            try:
                await self._app(scope, receive, send_and_note)
            except Exception as raised:
                error = type(raised).__name__
                raise
            finally:
                _add_to_line(span.ids)
                span.describe(_name(scope), _attributes(scope, status), error or _fault(status))


def _add_to_line(ids: Mapping[str, str]) -> None:
    """Add the trace's ids to the log line: their context variables are unbound when it is written."""
    if line := current_line():
        line.add(**ids)


def _name(scope: Scope) -> str:
    method = scope["method"] if scope["method"] in METHODS else "HTTP"
    route = _route(scope)
    return f"{method} {route}" if route else method


def _route(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _attributes(scope: Scope, status: int | None) -> dict[str, Attribute]:
    server = scope.get("server") or (None, None)
    known = {
        "http.request.method": scope["method"] if scope["method"] in METHODS else OTHER_METHOD,
        "url.path": scope["path"][:MAX_LOGGED_PATH],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "http.route": _route(scope),
        "http.response.status_code": status,
        "server.address": server[0],
        "server.port": server[1],
        "antiphon.request_id": scope["state"]["request_id"],
    }
    return {name: value for name, value in known.items() if value is not None}


def _fault(status: int | None) -> str | None:
    """Return the error of a failed request: the one in the log line, or else the status."""
    if status is None or status < FIRST_FAULT:
        return None
    line = current_line()
    return str(line.fields["error"] if line and "error" in line.fields else status)
