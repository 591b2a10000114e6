"""One handler per path: bytes in, a service call, an answer out. And what is said where no handler fits."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router

from antiphon import __version__
from antiphon.errors import MethodNotAllowedError, NotFoundError, ServiceUnavailableError, UnsupportedMediaTypeError
from antiphon.protocol.requests import decode_request
from antiphon.server.event_stream import EventStream, until_disconnect
from antiphon.server.middleware import error_answer, json_answer
from antiphon.server.openapi import Health, build_document
from antiphon.server.reference_page import render_page
from antiphon.service import Service

MAX_ECHO: Final = 200
"""Characters of a path or header that an error repeats."""

PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
}
"""The page loads nothing and runs nothing; the browser holds it to that."""


class Handlers:
    """The handlers, over one service. The documents are built once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        document = build_document(__version__)
        self._document = msgspec.json.encode(document)
        self._page = render_page(document)

    def routes(self) -> list[Route]:
        """Return the table of paths."""
        return [
            Route("/v1/chat/completions", self.create_chat_completion, methods=["POST"]),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{model:path}", self.retrieve_model),
            Route("/health", self.health),
            Route("/openapi.json", self.openapi),
            Route("/docs", self.docs),
        ]

    async def create_chat_completion(self, request: Request) -> Response | EventStream:
        """Answer a conversation, whole or in chunks. Either ends when the client goes away."""
        _require_json(request)
        decoded = decode_request(await request.body())
        if decoded.stream:
            return EventStream(self._service.stream(decoded))
        return json_answer(await until_disconnect(request.receive, self._service.create(decoded)))

    async def list_models(self, _request: Request) -> Response:
        """List what is served."""
        return json_answer(self._service.models())

    async def retrieve_model(self, request: Request) -> Response:
        """Describe one model. Raises ``ModelNotFoundError``."""
        return json_answer(self._service.model(request.path_params["model"]))

    async def health(self, _request: Request) -> Response:
        """Say whether requests are taken. Raises ``ServiceUnavailableError`` while they are not."""
        if not self._service.ready:
            raise ServiceUnavailableError("The engine is starting or restarting.", retry_after=1.0)
        return json_answer(Health(version=__version__))

    async def openapi(self, _request: Request) -> Response:
        """Return the OpenAPI document."""
        return Response(self._document, media_type="application/json")

    async def docs(self, _request: Request) -> Response:
        """Return the reference page."""
        return Response(self._page, headers=PAGE_HEADERS, media_type="text/html")


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        got = f"'{content_type[:MAX_ECHO]}'" if content_type else "none"
        raise UnsupportedMediaTypeError(f"Unsupported content type: {got}. The body must be 'application/json'.")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise UnsupportedMediaTypeError(f"Unsupported content encoding: '{encoding[:MAX_ECHO]}'. Send plain JSON.")


async def not_found(request: Request, _error: Exception) -> Response:
    """Answer for a path that no route has."""
    return error_answer(NotFoundError(f"Invalid URL ({request.method} {request.url.path[:MAX_ECHO]})"))


async def method_not_allowed(request: Request, _error: Exception) -> Response:
    """Answer for a path that has other methods: OPTIONS lists them, the rest are refused."""
    allow = {"allow": ", ".join(_allowed_methods(request))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    message = f"Not allowed to {request.method} on {request.url.path[:MAX_ECHO]}. Allowed: {allow['allow']}."
    return error_answer(MethodNotAllowedError(message), allow)


def _allowed_methods(request: Request) -> list[str]:
    router: Router = request.app.router
    methods = {"OPTIONS"}
    for route in router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)
