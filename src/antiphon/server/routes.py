"""The handlers of all paths, and the answers for unknown paths and methods."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import cache, partial
from typing import Any, Final, TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from antiphon import __version__
from antiphon.errors import (
    RETRY_AFTER,
    MethodNotAllowedError,
    NotFoundError,
    ServiceUnavailableError,
    UnsupportedMediaTypeError,
)
from antiphon.protocol.requests import ReceivedRequest, receive_request
from antiphon.protocol.stored import decode_update
from antiphon.protocol.stored_queries import decode_completion_query, decode_page_query
from antiphon.protocol.token_requests import decode_detokenize, decode_prompt_request, decode_tokenize
from antiphon.protocol.tolerance import DEFAULT_TOLERANCE, Tolerance
from antiphon.server.completion_answer import CompletionAnswer, report_ignored
from antiphon.server.disconnect import DisconnectSignal
from antiphon.server.health_operations import Liveness, Readiness
from antiphon.server.middleware import (
    SHUTTING_DOWN,
    error_answer,
    header,
    json_answer,
    retry_headers,
)
from antiphon.server.openapi import build_document
from antiphon.server.reference_page import render_page
from antiphon.server.request_head import is_json
from antiphon.service import Service
from antiphon.service.access import Caller, Credentials, Scope

_Answer = TypeVar("_Answer")
_Decoded = TypeVar("_Decoded")
HEAVY_BODY: Final = 64 * 1024
"""Bytes above which bodies are decoded one per turn of the event loop, so that other requests go on in between."""
MAX_ECHO: Final = 200
"""Characters of a path or header that an error quotes."""

PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
}
"""Headers by which the browser forbids the page scripts and external resources."""


Handler = Callable[[Request, Caller], Awaitable[ASGIApp]]
"""Answers an authorised request."""


class Handlers:
    """The handlers over one service. The documents are built once, for the first request."""

    def __init__(
        self, service: Service, tolerance: Tolerance = DEFAULT_TOLERANCE, *, stream_headers_after: float
    ) -> None:
        """Hold the service. ``stream_headers_after`` is in seconds."""
        self._service = service
        self._tolerance = tolerance
        self._stream_headers_after = stream_headers_after
        self._pages = CapacityLimiter(1)
        self._decoding = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the table of paths, the most requested first. Paths without a scope need no key."""
        return [
            self._route("POST", "/v1/chat/completions", "write", self.create_completion),
            self._route("POST", "/v1/chat/completions/input_tokens", "write", self.count_input_tokens),
            self._route("POST", "/tokenize", "write", self.tokenize),
            self._route("POST", "/detokenize", "write", self.detokenize),
            self._route("POST", "/apply-template", "write", self.apply_template),
            self._route("GET", "/v1/chat/completions", "read", self.list_completions),
            self._route("GET", "/v1/chat/completions/{completion_id}", "read", self.get_completion),
            self._route("POST", "/v1/chat/completions/{completion_id}", "write", self.update_completion),
            self._route("DELETE", "/v1/chat/completions/{completion_id}", "write", self.delete_completion),
            self._route("GET", "/v1/chat/completions/{completion_id}/messages", "read", self.list_messages),
            self._route("GET", "/v1/models", "read", self.list_models),
            self._route("GET", "/v1/models/{model:path}", "read", self.retrieve_model),
            Route("/health", self.health),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            Route("/docs", self.docs),
        ]

    def _route(self, method: str, path: str, scope: Scope, handler: Handler) -> Route:
        return Route(path, _AuthorisedEndpoint(self._service, scope, handler), methods=[method])

    async def create_completion(self, request: Request, caller: Caller) -> ASGIApp:
        """Answer a conversation, whole or in chunks; a disconnect ends the work."""
        body = await _json_body(request)
        key = header(request.scope, b"idempotency-key")
        received = await self._decoded(request, body, partial(receive_request, tolerance=self._tolerance))
        return CompletionAnswer(self._service, caller, received, body, key, headers_after=self._stream_headers_after)

    async def _decoded(self, request: Request, body: bytes, decode: Callable[[bytes], _Decoded]) -> _Decoded:
        if len(body) <= HEAVY_BODY:
            return decode(body)
        return await _run(request, self._decode_in_turn(body, decode))

    async def _decode_in_turn(self, body: bytes, decode: Callable[[bytes], _Decoded]) -> _Decoded:
        async with self._decoding:
            await asyncio.sleep(0)
            return decode(body)

    async def _received_prompt(self, request: Request) -> ReceivedRequest:
        default_model = self._service.tokens.default_model
        decode = partial(decode_prompt_request, default_model=default_model, tolerance=self._tolerance)
        return await self._decoded(request, await _json_body(request), decode)

    async def count_input_tokens(self, request: Request, caller: Caller) -> Response:
        """Count the tokens of a prompt."""
        received = await self._received_prompt(request)
        counted = await _run(request, self._service.tokens.count(received.request, caller))
        return json_answer(counted, headers=report_ignored(received))

    async def tokenize(self, request: Request, caller: Caller) -> Response:
        """Return the token ids of a text or of a prompt."""
        tokens = self._service.tokens
        decode = partial(decode_tokenize, default_model=tokens.default_model, tolerance=self._tolerance)
        decoded = await self._decoded(request, await _json_body(request), decode)
        if not isinstance(decoded, ReceivedRequest):
            return json_answer(await _run(request, tokens.tokenize(decoded, caller)))
        tokenized = await _run(request, tokens.tokenize(decoded.request, caller))
        return json_answer(tokenized, headers=report_ignored(decoded))

    async def detokenize(self, request: Request, caller: Caller) -> Response:
        """Return the text of token ids."""
        decoded = await self._decoded(request, await _json_body(request), decode_detokenize)
        return json_answer(await _run(request, self._service.tokens.detokenize(decoded, caller)))

    async def apply_template(self, request: Request, caller: Caller) -> Response:
        """Return the text of a prompt."""
        received = await self._received_prompt(request)
        rendered = await _run(request, self._service.tokens.apply_template(received.request, caller))
        return json_answer(rendered, headers=report_ignored(received))

    async def list_completions(self, request: Request, caller: Caller) -> Response:
        """List stored completions."""
        query = decode_completion_query(request.query_params.multi_items())
        return json_answer(await self._service.list_completions(query, caller))

    async def get_completion(self, request: Request, caller: Caller) -> Response:
        """Return a stored completion. Raises ``NotFoundError``."""
        return json_answer(await self._service.get_completion(_completion_id(request), caller))

    async def update_completion(self, request: Request, caller: Caller) -> Response:
        """Replace the metadata of a stored completion. Raises ``NotFoundError``."""
        metadata = decode_update(await _json_body(request)).metadata
        return json_answer(await self._service.update_completion(_completion_id(request), metadata, caller))

    async def delete_completion(self, request: Request, caller: Caller) -> Response:
        """Delete a stored completion. Raises ``NotFoundError``."""
        return json_answer(await self._service.delete_completion(_completion_id(request), caller))

    async def list_messages(self, request: Request, caller: Caller) -> Response:
        """List the messages that a stored completion answers. Raises ``NotFoundError``."""
        query = decode_page_query(request.query_params.multi_items())
        return json_answer(await self._service.list_messages(_completion_id(request), query, caller))

    async def list_models(self, _request: Request, _caller: Caller) -> Response:
        """List the served models."""
        return json_answer(self._service.models())

    async def retrieve_model(self, request: Request, _caller: Caller) -> Response:
        """Describe one model. Raises ``ModelNotFoundError``."""
        return json_answer(self._service.model(request.path_params["model"]))

    async def health(self, _request: Request) -> Response:
        """Return the state of the server, its models and its database."""
        health = self._service.health()
        return _health_answer(health, accepts_requests=health.accepts_requests)

    async def live(self, _request: Request) -> Response:
        """Answer 200 in any state of engines and database: a restart of the process would not repair them."""
        return _health_answer(Liveness(), accepts_requests=True)

    async def ready(self, _request: Request) -> Response:
        """Return whether the server accepts requests."""
        health = self._service.health()
        return _health_answer(Readiness(status=health.status), accepts_requests=health.accepts_requests)

    async def metrics(self, request: Request) -> Response:
        """Return the page of metrics, made in a thread, one at a time, so that it delays no stream."""
        accept = request.headers.get("accept", "")
        page = await to_thread.run_sync(self._service.metrics.page, accept, limiter=self._pages)
        return Response(page.body, headers={"content-type": page.content_type})

    async def openapi(self, _request: Request) -> Response:
        """Return the OpenAPI document."""
        document, _ = await to_thread.run_sync(_documents, limiter=self._pages)
        return Response(document, media_type="application/json")

    async def docs(self, _request: Request) -> Response:
        """Return the reference page."""
        _, page = await to_thread.run_sync(_documents, limiter=self._pages)
        return Response(page, headers=PAGE_HEADERS, media_type="text/html")


@cache
def _documents() -> tuple[bytes, str]:
    """Build the OpenAPI document and its page, which takes a tenth of the start-up time."""
    document = build_document(__version__)
    return msgspec.json.encode(document), render_page(document)


def _health_answer(value: msgspec.Struct, *, accepts_requests: bool) -> Response:
    headers = {"cache-control": "no-store"}
    if accepts_requests:
        return json_answer(value, headers=headers)
    return json_answer(value, 503, headers | retry_headers(RETRY_AFTER))


async def _run(request: Request, work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Return the result of the work, which a disconnect cancels."""
    disconnect: DisconnectSignal = request.scope["state"]["disconnect"]
    return await disconnect.run(work)


def _completion_id(request: Request) -> str:
    identifier: str = request.path_params["completion_id"]
    return identifier


async def _json_body(request: Request) -> bytes:
    """Return the body of a JSON request; reserve the memory to decode it."""
    _require_json(request)
    body = await request.body()
    request.scope["state"]["body"].grow_decoded(body)
    return body


def _require_json(request: Request) -> None:
    content_type = header(request.scope, b"content-type") or ""
    if not is_json(content_type):
        got = f"'{content_type[:MAX_ECHO]}'" if content_type else "none"
        message = f"Unsupported content type: {got}. The body must be 'application/json', in UTF-8."
        raise UnsupportedMediaTypeError(message)
    encoding = header(request.scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise UnsupportedMediaTypeError(f"Unsupported content encoding: '{encoding[:MAX_ECHO]}'. Send plain JSON.")


class _AuthorisedEndpoint:
    """An endpoint that checks the key and its scope before the body is read."""

    def __init__(self, service: Service, scope: Scope, handler: Handler) -> None:
        self._service = service
        self._scope = scope
        self._handler = handler

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ``APIError``."""
        if self._service.draining:
            # A retry on a new connection can reach another server.
            raise ServiceUnavailableError(SHUTTING_DOWN, headers={"connection": "close"})
        credentials = Credentials(
            authorization=header(scope, b"authorization"),
            organization=header(scope, b"openai-organization"),
            project=header(scope, b"openai-project"),
        )
        request_id: str = scope["state"]["request_id"]
        caller = await self._service.authenticate(credentials, self._scope, request_id=request_id)
        answer = await self._handler(Request(scope, receive), caller)
        await answer(scope, receive, send)


class Routing:
    """Passes each request to the first route with its path and method, or answers 404 or 405."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._framework = Router()
        """Answers scopes that are no HTTP request, such as lifespan."""

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._framework(scope, receive, send)
            return
        others: list[tuple[Route, ASGIScope]] = []
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found, route=route)
                await route.handle(scope, receive, send)
                return
            if match is Match.PARTIAL:
                others.append((route, found))
        if others:
            route, found = others[0]
            scope.update(found, route=route)
        same_path = [each for each, _ in others if each.path == others[0][0].path]
        answer = _method_not_allowed(scope, same_path) if others else _not_found(scope)
        await answer(scope, receive, send)


def _not_found(scope: ASGIScope) -> Response:
    """Return the answer for an unknown path."""
    return error_answer(NotFoundError(f"Invalid URL ({scope['method']} {_shown_path(scope)})"))


def _method_not_allowed(scope: ASGIScope, routes: list[Route]) -> Response:
    """Return the answer for an unknown method: OPTIONS gets the known ones, others get 405."""
    methods = {"OPTIONS"}.union(*(route.methods or () for route in routes))
    allow = {"allow": ", ".join(sorted(methods))}
    if scope["method"] == "OPTIONS":
        return Response(status_code=204, headers=allow)
    message = f"Not allowed to {scope['method']} on {_shown_path(scope)}. Allowed: {allow['allow']}."
    return error_answer(MethodNotAllowedError(message), allow)


def _shown_path(scope: ASGIScope) -> str:
    return URL(scope=scope).path[:MAX_ECHO]
