import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import (
    APIError,
    ConflictError,
    InvalidRequestError,
    PayloadTooLargeError,
    RateLimitError,
    ServiceUnavailableError,
)
from antiphon.protocol.responses import ErrorBody, ErrorResponse
from antiphon.server import middleware
from antiphon.server.body_memory import BodyMemory
from antiphon.server.middleware import ErrorBoundary, RequestBounds, RequestContext, error_answer
from tests.server.asgi import Exchange, body

pytestmark = pytest.mark.anyio

REQUEST_ID = "req_" + "0" * 32


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def reads_body(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(await Request(scope, receive).body())(scope, receive, send)


def raising(error: BaseException, *, after_start: bool = False) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


def ticking(seconds: float) -> Callable[[], float]:
    return itertools.count(0, seconds).__next__


def in_context(app: ASGIApp, seconds: float = 0.25) -> RequestContext:
    return RequestContext(app, new_request_id=lambda: REQUEST_ID, clock=ticking(seconds))


def bounded(app: ASGIApp, max_body_size: int = 10, body_timeout: float = 5) -> ASGIApp:
    memory = BodyMemory(1 << 20)
    return ErrorBoundary(RequestBounds(app, max_body_size=max_body_size, body_timeout=body_timeout, memory=memory))


def error_of(exchange: Exchange) -> ErrorBody:
    return msgspec.json.decode(exchange.body, type=ErrorResponse).error


async def test_every_answer_carries_its_id_its_timing_and_the_version() -> None:
    exchange = Exchange()
    await exchange.run(in_context(hello))
    assert REQUEST_ID == exchange.headers["x-request-id"]
    assert "250" == exchange.headers["openai-processing-ms"]
    assert "2020-10-01" == exchange.headers["openai-version"]


async def test_each_request_is_one_log_line_with_both_request_ids() -> None:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await Exchange().run(in_context(hello), path="/x", headers={"X-Client-Request-Id": "mine"})
    assert [
        {
            "event": "request",
            "log_level": "info",
            "request_id": REQUEST_ID,
            "client_request_id": "mine",
            "method": "GET",
            "path": "/x",
            "status": 200,
            "bytes_sent": 5,
            "duration": 0.5,
            "outcome": "completed",
            "error": None,
        }
    ] == lines


async def logged(app: ASGIApp, path: str = "/") -> dict[str, Any]:
    """What the one line says of a request to ``app``."""
    with structlog.testing.capture_logs() as lines, suppress(LookupError):
        await Exchange().run(in_context(app), path=path)
    (line,) = (line for line in lines if line["event"] == "request")
    return dict(line)


@pytest.mark.parametrize(
    ("error", "status", "outcome", "name"),
    [
        (ClientDisconnect(), None, "cancelled", None),
        (RateLimitError("hush"), 429, "failed", "rate_limit_exceeded"),
        (InvalidRequestError("hush"), 400, "failed", "InvalidRequestError"),
        (ValueError("hush"), 500, "failed", "ValueError"),
    ],
)
async def test_line_has_the_outcome_of_the_request(
    error: Exception, status: int | None, outcome: str, name: str | None
) -> None:
    line = await logged(ErrorBoundary(raising(error)))
    assert (status, outcome, name) == (line["status"], line["outcome"], line["error"])
    assert "hush" not in str(line)


async def test_an_error_after_the_start_of_the_answer_is_in_the_line() -> None:
    line = await logged(raising(LookupError("hush"), after_start=True))
    assert (200, "failed", "LookupError") == (line["status"], line["outcome"], line["error"])


async def test_an_answer_that_was_not_finished_is_cancelled() -> None:
    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    line = await logged(half)
    assert (200, 3, "cancelled") == (line["status"], line["bytes_sent"], line["outcome"])


async def test_error_without_a_code_is_logged_by_the_name_of_its_status() -> None:
    async def lost(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("", 404)(scope, receive, send)

    line = await logged(lost)
    assert ("failed", "not_found") == (line["outcome"], line["error"])


@pytest.mark.parametrize(("path", "level"), [("/health", "debug"), ("/metrics", "debug"), ("/v1/models", "info")])
async def test_the_lines_of_probes_are_for_debugging(path: str, level: str) -> None:
    assert level == (await logged(hello, path))["log_level"]


async def test_a_path_is_logged_up_to_a_bound() -> None:
    assert middleware.MAX_LOGGED_PATH == len((await logged(hello, "/" + "a" * 999))["path"])


@pytest.mark.parametrize("wrap", [in_context, ErrorBoundary, bounded])
async def test_other_scopes_pass_unchanged(wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    lifespan = {"type": "lifespan"}
    await wrap(app)(lifespan, Exchange().receive, Exchange().send)
    assert [lifespan] == seen


async def test_an_api_error_is_answered_in_the_shape_of_the_reference() -> None:
    exchange = Exchange()
    await exchange.run(
        ErrorBoundary(raising(InvalidRequestError("No.", param="messages[0].role", code="invalid_value")))
    )
    assert 400 == exchange.status
    assert "application/json" == exchange.headers["content-type"]
    expected = ErrorBody(message="No.", type="invalid_request_error", param="messages[0].role", code="invalid_value")
    assert expected == error_of(exchange)


async def test_any_other_exception_is_500_and_its_text_goes_to_the_log_only() -> None:
    exchange = Exchange()
    with structlog.testing.capture_logs() as lines:
        await exchange.run(ErrorBoundary(raising(ValueError("a secret"))))
    assert 500 == exchange.status
    assert ("server_error", "server_error") == (error_of(exchange).type, error_of(exchange).code)
    assert b"secret" not in exchange.body
    assert "a secret" == str(lines[0]["exc_info"])


async def test_an_exception_after_the_start_of_the_answer_is_left_to_the_server() -> None:
    with pytest.raises(ConflictError):
        await Exchange().run(ErrorBoundary(raising(ConflictError("late"), after_start=True)))


@pytest.mark.parametrize(
    ("error", "seconds", "milliseconds"),
    [
        (RateLimitError("full", retry_after=2.2), "3", "2200"),
        (ServiceUnavailableError("starting", retry_after=0.05), "1", "50"),
        (ServiceUnavailableError("starting"), "1", "1000"),
        (ConflictError("again", retry_after=0), "0", "0"),
    ],
)
def test_retry_after_is_in_whole_seconds_rounded_up(error: APIError, seconds: str, milliseconds: str) -> None:
    headers = error_answer(error).headers
    assert (seconds, milliseconds) == (headers["retry-after"], headers["retry-after-ms"])


def test_an_error_that_a_repeat_does_not_mend_has_no_retry_after() -> None:
    assert "retry-after" not in error_answer(InvalidRequestError("No.")).headers


@pytest.mark.parametrize("pieces", [(b"",), (b"0123456789",), (b"01234", b"", b"56789")])
async def test_a_body_up_to_the_limit_is_read(pieces: tuple[bytes, ...]) -> None:
    exchange = Exchange(body(*pieces))
    await exchange.run(bounded(reads_body))
    assert (200, b"".join(pieces)) == (exchange.status, exchange.body)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    exchange = Exchange(body(b"0"))
    await exchange.run(bounded(reads_body), headers={"Content-Length": "11"})
    assert (413, "request_too_large") == (exchange.status, error_of(exchange).code)
    assert "close" == exchange.headers["connection"]


async def test_a_body_that_grows_over_the_limit_is_refused() -> None:
    exchange = Exchange(body(b"0123456789", b"0", complete=False))
    exchange.disconnect()
    await exchange.run(bounded(reads_body))
    assert 413 == exchange.status


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    exchange = Exchange(body(b"0", complete=False))
    await exchange.run(bounded(reads_body, body_timeout=0.02))
    assert (408, "request_timeout") == (exchange.status, error_of(exchange).code)
    assert "close" == exchange.headers["connection"]


async def test_waiting_after_the_body_has_no_deadline() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await request.body()
        await receive()
        await hello(scope, receive, send)

    exchange = Exchange(body(b"0"))
    running = asyncio.create_task(exchange.run(bounded(app, body_timeout=0.01)))
    await asyncio.sleep(0.03)
    exchange.disconnect()
    await running
    assert 200 == exchange.status


async def test_headers_over_the_limit_are_refused() -> None:
    exchange = Exchange()
    await exchange.run(bounded(hello), headers={"X-Large": "a" * middleware.MAX_HEADER_BYTES})
    assert (400, "invalid_request_error") == (exchange.status, error_of(exchange).type)


@pytest.mark.parametrize(("value", "status"), [("a" * 512, 200), ("a" * 513, 400), ("café", 400), ("", 200)])
async def test_a_client_request_id_is_ascii_and_bounded(value: str, status: int) -> None:
    exchange = Exchange()
    await exchange.run(bounded(hello), headers={"X-Client-Request-Id": value})
    assert status == exchange.status


def test_only_refused_bodies_close_the_connection() -> None:
    assert "connection" not in error_answer(InvalidRequestError("No.")).headers
    assert "close" == error_answer(PayloadTooLargeError("No.")).headers["connection"]


async def cut_off(app: ASGIApp) -> Exchange:
    """Cancel a request whose body does not come to its end."""
    exchange = Exchange(body(b"0", complete=False))
    running = asyncio.create_task(exchange.run(ErrorBoundary(app)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    return exchange


async def test_shutdown_during_an_upload_is_answered_with_503() -> None:
    exchange = await cut_off(reads_body)
    assert (503, "The server is shutting down.") == (exchange.status, error_of(exchange).message)
    assert ("close", "1") == (exchange.headers["connection"], exchange.headers["retry-after"])


async def test_shutdown_after_the_answer_began_sends_no_second_answer() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    exchange = await cut_off(app)
    assert [200] == [message["status"] for message in exchange.sent]
