"""The ASGI application: routes inside plain ASGI middleware.

The layers, outermost first: count of requests; ids, timing and log line; traces and CORS if configured; lingering
close; answers to errors; bounds. The framework's own middleware is left out: it has nothing to add, and each of its
layers costs a call per event of a stream.
"""

import time
from collections.abc import Callable
from typing import Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from antiphon.config import ServerOptions
from antiphon.protocol.path_header import IGNORED, UNENFORCED
from antiphon.protocol.tolerance import Tolerance
from antiphon.server.body_memory import BodyMemory
from antiphon.server.lingering_close import LingeringClose
from antiphon.server.middleware import ErrorBoundary, RequestBounds, RequestContext, new_request_id
from antiphon.server.request_counts import RequestCounts
from antiphon.server.request_spans import RequestSpans
from antiphon.server.routes import Handlers, Routing
from antiphon.service import Service
from antiphon.telemetry.spans import Tracer

MIB: Final = 1 << 20
BODY_TIMEOUT: Final = 120.0
"""Seconds after which a request body that has not arrived is refused."""

EXPOSED_HEADERS: Final = (
    "x-request-id",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "idempotent-replayed",
    IGNORED,
    UNENFORCED,
    *(f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")),
)


def create_app(
    service: Service,
    options: ServerOptions,
    *,
    body_timeout: float = BODY_TIMEOUT,
    new_request_id: Callable[[], str] = new_request_id,
    clock: Callable[[], float] = time.perf_counter,
    tracer: Tracer | None = None,
) -> ASGIApp:
    """Return the application over ``service``, which the caller starts and closes. ``clock`` returns seconds."""
    bounds = Middleware(
        RequestBounds,
        max_body_size=options.max_body_size,
        body_timeout=body_timeout,
        memory=BodyMemory(options.max_body_memory * MIB),
    )
    tolerance = Tolerance(strict_messages=options.strict_messages, ignored_fields=frozenset(options.ignored_fields))
    routes = Handlers(service, tolerance, stream_headers_after=options.stream_headers_after).routes()
    paths: dict[object, str] = {route.endpoint: route.path for route in routes}
    layers = [
        Middleware(RequestCounts, metrics=service.metrics, paths=paths),
        Middleware(RequestContext, new_request_id=new_request_id, clock=clock),
        *([] if tracer is None else [Middleware(RequestSpans, tracer=tracer)]),
        *_cors(options.cors_origins),
        Middleware(LingeringClose),
        Middleware(ErrorBoundary),
        bounds,
    ]
    app: ASGIApp = Routing(routes)
    for layer, arguments, keywords in reversed(layers):
        app = layer(app, *arguments, **keywords)
    return app


def _cors(origins: tuple[str, ...]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE", "OPTIONS"),
            allow_headers=("*",),
            expose_headers=EXPOSED_HEADERS,
        )
    ]
