"""Counts every request by path, method and status, as plain ASGI."""

from collections.abc import Awaitable, Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.telemetry.catalogue import HTTP_REQUESTS
from antiphon.telemetry.metrics import Metrics

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""The label of all unknown paths and methods: clients must not be able to add labels."""
NO_ANSWER: Final = "none"
"""The label ``status`` of a request whose client disconnected before the answer began."""


class RequestCounts:
    """The outermost middleware. ``paths`` has the path of each endpoint, with the names of parameters."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: Mapping[object, str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and count it at its end; other scopes pass unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = NO_ANSWER

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            return send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self._metrics.count(HTTP_REQUESTS, self._paths.get(scope.get("endpoint"), OTHER), method, status)
