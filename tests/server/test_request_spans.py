"""The spans of requests over HTTP, with a recording tracer."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import pytest
import structlog
from starlette.types import ASGIApp

from antiphon.config import ServerOptions
from antiphon.errors import ServiceUnavailableError
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from antiphon.telemetry.spans import Attribute, FinishedSpan, RequestSpan
from tests.scripted_engine import Hang, Script, ScriptedEngine, ScriptedRenderer, ends, says, scripted_backend
from tests.server.asgi import Exchange, body
from tests.server.conftest import MODEL

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
IDS = {"trace_id": "1" * 32, "span_id": "2" * 16}


class RecordingTracer:
    """A tracer and its one span."""

    ids: Mapping[str, str] = IDS

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []
        self.requests: list[tuple[str, dict[str, Attribute], str | None]] = []
        self.answers: list[FinishedSpan] = []

    @contextmanager
    def request(self, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        self.headers.append(headers)
        yield self

    def describe(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        self.requests.append((name, dict(attributes), error))

    def record(self, span: FinishedSpan) -> None:
        assert len(self.headers) > len(self.requests), "a part is recorded before the end of its request"
        self.answers.append(span)


def traced(script: Script = (), *, refusal: Exception | None = None) -> tuple[RecordingTracer, ASGIApp, ScriptedEngine]:
    recorded, engine = RecordingTracer(), ScriptedEngine(script or [*says("Hello"), *ends()])
    service = Service(Router({MODEL: [scripted_backend(engine, ScriptedRenderer(refusal=refusal))]}))
    return recorded, create_app(service, ServerOptions(), tracer=recorded), engine


def question(**fields: object) -> Exchange:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]} | fields
    return Exchange(body(msgspec.json.encode(asked)))


async def ask(app: ASGIApp, exchange: Exchange, **headers: str) -> None:
    await exchange.run(app, method="POST", path=PATH, headers={"Content-Type": "application/json"} | headers)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_two_spans(*, stream: bool) -> None:
    recorded, app, _ = traced()
    await ask(app, question(stream=stream))
    ((name, attributes, error),), (answer,) = recorded.requests, recorded.answers
    assert (f"POST {PATH}", None, f"chat {MODEL}", None) == (name, error, answer.name, answer.error)
    expected = {
        "http.request.method": "POST",
        "http.route": PATH,
        "url.path": PATH,
        "url.scheme": "http",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": 80,
    }
    assert expected == {key: value for key, value in attributes.items() if key != "antiphon.request_id"}


async def test_the_headers_of_the_trace_are_handed_on_and_no_others() -> None:
    recorded, app, _ = traced()
    headers = {"traceparent": "00-a-b-01", "tracestate": "x=y"}
    await ask(app, question(), Authorization="Bearer sk-antiphon-0123456789", **headers)
    assert [headers] == recorded.headers


async def test_the_name_of_the_span_has_the_parameters_of_the_path_not_their_values() -> None:
    recorded, app, _ = traced()
    await Exchange().run(app, path="/v1/chat/completions/chatcmpl-1")
    assert ["GET /v1/chat/completions/{completion_id}"] == [name for name, _, _ in recorded.requests]


@pytest.mark.parametrize(("method", "name"), [("GET", "GET"), ("BREW", "HTTP")])
async def test_span_of_an_unknown_path_is_named_by_its_method(method: str, name: str) -> None:
    recorded, app, _ = traced()
    await Exchange(body(b"")).run(app, method=method, path="/none")
    ((made, attributes, error),) = recorded.requests
    assert (name, 404, None) == (made, attributes["http.response.status_code"], error)


async def test_client_error_fails_the_span_of_the_answer_but_not_of_the_request() -> None:
    recorded, app, _ = traced()
    await ask(app, question(model="none"))
    assert [None] == [error for _, _, error in recorded.requests]
    assert ["model_not_found"] == [span.error for span in recorded.answers]


@pytest.mark.parametrize(
    ("refusal", "name"), [(LookupError("hush"), "LookupError"), (ServiceUnavailableError("x"), "service_unavailable")]
)
async def test_a_fault_of_the_server_fails_both(refusal: Exception, name: str) -> None:
    recorded, app, _ = traced(refusal=refusal)
    await ask(app, question())
    assert ([name], [name]) == ([error for _, _, error in recorded.requests], [span.error for span in recorded.answers])
    assert "hush" not in str((recorded.requests, recorded.answers))


async def test_a_stream_that_breaks_off_fails_the_answer() -> None:
    recorded, app, _ = traced([*says("Hel"), ServiceUnavailableError("died")])
    await ask(app, question(stream=True))
    assert ["service_unavailable"] == [span.error for span in recorded.answers]


async def test_disconnected_request_has_both_spans_without_an_error() -> None:
    recorded, app, engine = traced([*says("Hel"), Hang()])
    exchange = question(stream=True)
    asking = asyncio.create_task(ask(app, exchange))
    async with asyncio.timeout(5):
        while not exchange.sent:  # noqa: ASYNC110 - the exchange is kept simple
            await asyncio.sleep(0)
    exchange.disconnect()
    await asking
    assert ([None], ["cancelled"]) == (
        [error for _, _, error in recorded.requests],
        [span.attributes["antiphon.outcome"] for span in recorded.answers],
    )
    assert 0 == engine.running


@pytest.mark.parametrize("path", ["/health", "/metrics"])
async def test_probes_have_no_span(path: str) -> None:
    recorded, app, _ = traced()
    await Exchange().run(app, path=path)
    assert [] == recorded.requests


async def test_log_lines_of_a_request_have_the_ids_of_its_trace() -> None:
    _, app, _ = traced(refusal=LookupError("x"))
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await ask(app, question())
    assert ["unhandled_exception", "request"] == [line["event"] for line in lines]
    assert [IDS, IDS] == [{name: line[name] for name in IDS} for line in lines]


async def test_other_scopes_pass_unchanged() -> None:
    _, app, _ = traced()
    exchange = Exchange([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    await app({"type": "lifespan"}, exchange.receive, exchange.send)
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == [message["type"] for message in exchange.sent]
