"""The rest of a body is dropped before the answer ends, within bounds, so that the client reads the answer."""

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from antiphon.server import lingering_close
from antiphon.server.lingering_close import LingeringClose
from tests.server.asgi import Exchange, body
from tests.server.conftest import StartServer

pytestmark = pytest.mark.anyio

WITH_BODY = {"Content-Length": "30"}
PIECE = b"0" * 10
LARGE = 5_000_000
HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def reads_first(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await hello(scope, receive, send)


async def answered(exchange: Exchange) -> None:
    """Let the application send what it has to say."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert 2 == len(exchange.sent)


async def left(exchange: Exchange) -> bool:
    """Whether a part of the body is unread."""
    try:
        await asyncio.wait_for(exchange.receive(), 0.01)
    except TimeoutError:
        return False
    return True


async def test_unread_body_is_dropped_before_the_answer_ends() -> None:
    exchange = Exchange(body(PIECE, PIECE, PIECE))
    await exchange.run(LingeringClose(hello), headers=WITH_BODY)
    assert (b"hello", True, False) == (exchange.body, exchange.complete, await left(exchange))


async def test_a_body_that_is_read_in_part_is_dropped_from_there_on() -> None:
    exchange = Exchange(body(PIECE, PIECE, PIECE))
    await exchange.run(LingeringClose(reads_first), headers=WITH_BODY)
    assert (True, False) == (exchange.complete, await left(exchange))


async def test_the_answer_is_whole_before_the_rest_is_read() -> None:
    exchange = Exchange()
    running = asyncio.create_task(exchange.run(LingeringClose(hello), headers=WITH_BODY))
    await answered(exchange)
    assert (b"hello", False) == (exchange.body, exchange.complete)
    exchange.disconnect()
    await running
    assert exchange.complete


async def test_answer_after_a_read_body_ends_at_once() -> None:
    exchange = Exchange(body(PIECE))
    await exchange.run(LingeringClose(reads_first), headers=WITH_BODY)
    assert (2, True) == (len(exchange.sent), exchange.complete)


async def test_a_request_without_a_body_is_not_read() -> None:
    exchange = Exchange(body(b""))
    await exchange.run(LingeringClose(hello))
    assert (2, True) == (len(exchange.sent), await left(exchange))


async def test_a_client_that_sends_nothing_more_is_not_awaited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "SILENCE", 0.02)
    exchange = Exchange(body(PIECE, complete=False))
    await exchange.run(LingeringClose(hello), headers=WITH_BODY)
    assert exchange.complete


async def test_a_body_without_end_is_not_read_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "LINGER", 0.02)
    exchange = Exchange(body(*[PIECE] * 3, complete=False))
    await exchange.run(LingeringClose(hello), headers={"Transfer-Encoding": "chunked"})
    assert exchange.complete


async def test_no_more_is_dropped_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "MAX_DROPPED", 15)
    exchange = Exchange(body(PIECE, PIECE, PIECE))
    await exchange.run(LingeringClose(hello), headers=WITH_BODY)
    assert (True, True) == (exchange.complete, await left(exchange))


async def test_cancellation_while_dropping_the_body_ends_the_answer() -> None:
    exchange = Exchange()
    running = asyncio.create_task(LingeringClose(hello)(scope := _scope(), exchange.receive, exchange.send))
    await answered(exchange)
    running.cancel()
    await running
    assert ("http", True) == (scope["type"], exchange.complete)


def _scope() -> Scope:
    return {"type": "http", "headers": [(b"content-length", b"1")]}


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/v1/chat/completions", 415), ("/health", 405)])
def test_client_that_sends_5_megabytes_first_reads_the_refusal(
    start_server: StartServer, path: str, status: int
) -> None:
    with start_server().connect() as client:
        client.sendall(HEAD.format(path=path, length=LARGE).encode() + b" " * LARGE)
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert received.endswith(b"}}")
