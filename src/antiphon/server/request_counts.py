"""Counts every request by path, method and status, as plain ASGI."""

from collections.abc import Awaitable, Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.telemetry.catalogue import HTTP_REQUESTS
from antiphon.telemetry.metrics import Metrics

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""Stands for all paths and methods that there are not: what clients write must not become labels."""
NO_ANSWER: Final = "none"
"""The status where the client went away before an answer began."""


class RequestCounts:
    """Lies outside of everything that answers. ``paths`` gives each endpoint's path, with its parameters' names."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: Mapping[object, str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and count it at its end; other scopes pass unchanged."""
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
