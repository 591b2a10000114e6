"""The bounds of one connection, over a real socket."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from antiphon.server.http_protocol import HTTPProtocol, with_write_timeout
from tests.scripted_engine import Hang, ScriptedEngine, says
from tests.server.conftest import MODEL, WAIT, Server, StartServer, connect, running, scripted_app

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Impatient(HTTPProtocol):
    head_timeout = 0.2


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(scripted_app(ScriptedEngine()), Impatient) as port:
        yield port


def flood(port: int, start: bytes, piece: bytes, pieces: int) -> bytes:
    """Send ``start`` and up to ``pieces`` of ``piece`` until the server has had enough; return its answer."""
    with connect(port) as client:
        try:
            client.sendall(start)
            for _ in range(pieces):
                client.sendall(piece)
            return client.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


@pytest.mark.parametrize(
    "start",
    [HEALTH + b"X: ", HEALTH, b"GET /", POST + b"0\r\nX: ", POST + b"1;"],
    ids=["header", "name", "path", "trailer", "chunk extension"],
)
def test_endless_head_is_refused_early(port: int, start: bytes) -> None:
    begin = time.monotonic()
    received = flood(port, start, b"a" * 100_000, 500)
    assert time.monotonic() < begin + WAIT
    assert received == b"" or received.startswith(b"HTTP/1.1 4")


def test_the_answer_to_an_endless_head_has_the_shape_and_the_headers_of_every_answer(port: int) -> None:
    with connect(port) as client:
        client.sendall(HEALTH + b"X: " + b"a" * 70_000)
        received = client.recv(65536)
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert re.search(rb"x-request-id: req_[0-9a-f]{32}\r\n", received)
    assert b'"code":null' in received


def test_a_long_body_is_no_long_head(port: int) -> None:
    with connect(port) as client:
        client.sendall(HEALTH + b"Connection: close\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("start", [b"", b"GET /health HTT", HEALTH + b"\r\n" + HEALTH])
def test_a_head_that_never_comes_to_its_end_closes_the_connection(port: int, start: bytes) -> None:
    with connect(port) as client:
        client.sendall(start)
        while client.recv(65536):
            pass


def test_a_connection_that_is_used_stays_open(server: Server) -> None:
    with server.connect() as client:
        for _ in range(3):
            client.sendall(HEALTH + b"\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_invalid_bytes_during_a_stream_close_the_connection(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([*says("a"), Hang()]))
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with server.connect() as client:
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        received = client.recv(65536)
        client.sendall(b"\x00")
        while data := client.recv(65536):
            received += data
    assert 1 == received.count(b"HTTP/1.1")
    server.wait_until(lambda: server.engine.running == 0)


PIECE = b"a" * 65536
"""A piece of an answer longer than all buffers between the server and a client that reads nothing."""


class Pouring(HTTPProtocol):
    """Aborts connections of slow readers early; sets ``ended`` at the end of a connection."""

    write_timeout = 0.2
    ended = threading.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.ended.set()


async def pour(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer /whole with one long piece, other paths endlessly."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/whole":
        await send({"type": "http.response.body", "body": PIECE * 400})
        return
    with pytest.raises(ClientDisconnect):
        await scope["state"]["disconnect"].run(_send_endlessly(send))


async def _send_endlessly(send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await asyncio.sleep(0)  # send does not wait after a disconnect


@pytest.mark.parametrize(
    "request_head",
    [b"GET / HTTP/1.1\r\n", b"GET /whole HTTP/1.1\r\n", b"GET /whole HTTP/1.1\r\nConnection: close\r\n"],
    ids=["stream", "whole, kept alive", "whole, to be closed"],
)
def test_connection_of_a_client_that_reads_nothing_is_aborted(request_head: bytes) -> None:
    Pouring.ended.clear()
    with running(pour, Pouring) as port, connect(port) as client:
        client.sendall(request_head + b"Host: x\r\n\r\n")
        assert Pouring.ended.wait(WAIT)


class Pipe(asyncio.Transport):
    """A transport with a given number of unread bytes; it records an abort."""

    def __init__(self, unread: int) -> None:
        super().__init__()
        self.unread = unread
        self.aborted = False
        self.written = b""

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted


def paused(pipe: Pipe) -> HTTPProtocol:
    """Return a connection over ``pipe`` with paused writing."""
    config = uvicorn.Config(scripted_app(ScriptedEngine()), log_config=None, lifespan="off", ws="none")
    protocol = HTTPProtocol(config, ServerState(), {})
    protocol.connection_made(pipe)
    protocol.pause_writing()
    return protocol


@pytest.mark.anyio
@pytest.mark.parametrize(("data", "timed"), [(b"", True), (HEALTH, True), (POST, False), (POST + b"0\r\n\r\nG", True)])
async def test_only_an_incomplete_head_has_a_time_limit(data: bytes, *, timed: bool) -> None:
    protocol = paused(Pipe(unread=0))
    protocol.data_received(data)
    assert timed == (protocol._head_timer is not None)
    protocol.connection_lost(None)
    await asyncio.wait(protocol.tasks or {asyncio.create_task(asyncio.sleep(0))})


@pytest.mark.anyio
async def test_a_client_that_reads_something_is_given_more_time() -> None:
    pipe = Pipe(unread=100)
    protocol = paused(pipe)
    first = protocol._reader_timer
    pipe.unread = 99
    protocol._on_reader_timeout()
    assert not pipe.aborted
    assert protocol._reader_timer not in (None, first)
    protocol.connection_lost(None)


@pytest.mark.anyio
async def test_a_client_that_read_enough_is_not_watched() -> None:
    protocol = paused(Pipe(unread=100))
    protocol.resume_writing()
    assert protocol._reader_timer is None
    protocol.connection_lost(None)


@pytest.mark.anyio
async def test_a_connection_that_ends_leaves_no_timer() -> None:
    protocol = paused(Pipe(unread=100))
    protocol.connection_lost(None)
    assert (None, None) == (protocol._reader_timer, protocol._head_timer)


@pytest.mark.anyio
async def test_disconnect_is_signalled_to_the_running_request_and_drops_waiting_ones() -> None:
    protocol = paused(Pipe(unread=0))
    protocol.data_received(POST + b"0\r\n\r\n" + POST)
    answered, waiting = protocol._running, protocol.cycle
    assert answered is not None
    assert answered is not waiting
    protocol.connection_lost(None)
    assert (True, 0) == (answered.disconnected, len(protocol.pipeline))
    assert answered.scope["state"]["disconnect"].is_set
    await asyncio.wait(protocol.tasks, timeout=WAIT)


@pytest.mark.anyio
@pytest.mark.parametrize(("waiting", "refused"), [(32, 0), (33, 1), (50, 1)])
async def test_pipelined_requests_have_a_bound(waiting: int, refused: int) -> None:
    pipe = Pipe(unread=0)
    protocol = paused(pipe)
    protocol.resume_writing()
    protocol.data_received((HEALTH + b"\r\n") * (1 + waiting))
    assert b"" == pipe.written
    for _ in range(1 + waiting):
        await asyncio.wait(protocol.tasks or {asyncio.create_task(asyncio.sleep(0))}, timeout=WAIT)
    assert [b"200"] * 33 + [b"400"] * refused == re.findall(rb"HTTP/1.1 (\d{3})", pipe.written)
    assert bool(refused) == pipe.aborted == (b"At most 32 requests" in pipe.written)
    protocol.connection_lost(None)


@pytest.mark.anyio
async def test_bytes_after_an_answer_start_the_time_for_a_head() -> None:
    protocol = paused(Pipe(unread=0))
    protocol.resume_writing()
    protocol.data_received(HEALTH + b"\r\n")
    await asyncio.wait(protocol.tasks, timeout=WAIT)
    protocol.data_received(b"\r\n")
    assert protocol._head_timer is not None
    protocol.connection_lost(None)


def test_write_timeout_is_an_argument() -> None:
    assert 7.0 == with_write_timeout(7.0).write_timeout
    assert issubclass(with_write_timeout(7.0), HTTPProtocol)
