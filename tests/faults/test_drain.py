"""The end of a server: what runs ends in order, nothing new is taken, and the exit status is 0."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from antiphon.service.service import CUT_OFF
from tests.conftest import END
from tests.databases import Site
from tests.engine.tiny_gguf import write_tiny_model
from tests.faults.serving import HANG, Faulty, body, faulty

MODEL = "tiny"
ENDLESS: dict[str, Any] = {"max_completion_tokens": 400, "n": 128}
"""An answer that takes much longer than any test: one choice after the other."""
LARGE = 5_000_000
REFUSED = "The server is shutting down."
SHUTTING_DOWN = {"message": CUT_OFF, "type": "server_error", "param": None, "code": "service_unavailable"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / f"{MODEL}.gguf")


def running(model: Path, drain_timeout: float) -> AbstractContextManager[Faulty]:
    arguments = ("--model", str(model), "--max-num-seqs", "1", "--drain-timeout", str(drain_timeout))
    return faulty(model.parent, *arguments)


def stored(model: Path) -> list[str]:
    """Give how each stored answer ended, once the database has been found sound."""

    async def read() -> list[str]:
        async with Site(None, model.parent / "data").open() as database:
            assert [] == await database.check()
            rows = await database.read(lambda c: c.exec_driver_sql("SELECT status FROM completions").scalars().all())
            return sorted(rows)

    return anyio.run(read)


def refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=HANG):
            return False
    except ConnectionRefusedError:
        return True


def runs(server: Faulty) -> bool:
    """Whether a choice is being generated."""
    return f'antiphon:num_requests_running{{model_name="{MODEL}"}} 1.0' in server.http.get("/metrics").text


def test_what_runs_ends_in_order_and_what_comes_is_refused(model: Path) -> None:
    with running(model, 60) as server:
        server.health()  # on a connection that stays open
        with server.stream(MODEL, max_completion_tokens=400, n=8, store=True) as stream:
            server.process.terminate()
            server.wait_until(lambda: server.health().draining)
            ready, live = (server.http.get(f"/health/{name}").status_code for name in ("ready", "live"))
            assert (503, 200) == (ready, live)
            late = server.ask(MODEL)
            assert (503, "The server is shutting down.") == (late.status_code, late.json()["error"]["message"])
            assert ("close", "1") == (late.headers["connection"], late.headers["retry-after"])
            server.wait_until(lambda: refused(server.port))
            assert "[DONE]" == stream.rest()[-1]
        assert 0 == server.end()
    assert ["completed"] == stored(model)


def stalled(server: Faulty) -> socket.socket:
    """Ask for much, and read nothing but the beginning."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=HANG)
    content = msgspec.json.encode(body(MODEL, stream=True, store=True, logprobs=True, top_logprobs=20, **ENDLESS))
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    connection.sendall("\r\n".join((*head, "\r\n")).encode() + content)
    assert b"HTTP/1.1 200" == connection.recv(12)
    return connection


def test_what_does_not_end_in_time_is_told_so_and_kept_as_far_as_it_came(model: Path) -> None:
    with running(model, 1) as server, server.stream(MODEL, store=True, **ENDLESS) as stream:
        server.process.terminate()
        assert SHUTTING_DOWN == stream.rest()[-1]["error"]
        assert 0 == server.end()
    assert ["failed"] == stored(model)


def test_a_whole_answer_that_does_not_end_in_time_is_a_503_that_says_so(model: Path) -> None:
    with running(model, 1) as server, ThreadPoolExecutor(1) as client:
        asked = client.submit(server.ask, MODEL, **ENDLESS)
        server.wait_until(lambda: runs(server))
        server.process.terminate()
        answer = asked.result(HANG)
        assert (503, SHUTTING_DOWN) == (answer.status_code, answer.json()["error"])
        assert ("close", "1") == (answer.headers["connection"], answer.headers["retry-after"])
        assert 0 == server.end()


def begin(server: Faulty, length: int) -> socket.socket:
    """Begin a request on a connection that is taken before the server drains."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=HANG)
    head = ("POST /v1/chat/completions HTTP/1.1", "Host: x", "Content-Type: application/json")
    connection.sendall("\r\n".join((*head, f"Content-Length: {length}", "Expect: 100-continue", "\r\n")).encode())
    return connection


def rest(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def test_an_upload_that_does_not_end_in_time_is_told_so(model: Path) -> None:
    with running(model, 0) as server, closing(begin(server, 1000)) as upload:
        assert upload.recv(65536).startswith(b"HTTP/1.1 100 ")
        upload.sendall(b"{")
        server.process.terminate()
        answer = rest(upload)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert {**SHUTTING_DOWN, "message": REFUSED} == json.loads(answer.splitlines()[-1])["error"]
        assert 0 == server.end()
        assert "unhandled" not in server.log.read_text()


def test_a_refusal_at_the_end_is_read_by_whoever_sends_five_megabytes_first(model: Path) -> None:
    with running(model, 60) as server, closing(socket.create_connection(("127.0.0.1", server.port), HANG)) as upload:
        upload.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert upload.recv(65536).startswith(b"HTTP/1.1 200 ")
        with server.stream(MODEL, **ENDLESS):
            server.process.terminate()
            server.wait_until(lambda: refused(server.port))
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            upload.sendall(f"{head}Content-Length: {LARGE}\r\n\r\n".encode() + b" " * LARGE)
            assert b"HTTP/1.1 503 " in rest(upload)


def test_a_client_that_reads_nothing_does_not_hold_the_end_up(model: Path) -> None:
    with running(model, 1) as server, closing(stalled(server)):
        server.process.terminate()
        assert 0 == server.end()
    assert 1 == len(stored(model))


def test_an_engine_that_hangs_does_not_hold_the_end_up(model: Path) -> None:
    with running(model, 0) as server, server.stream(MODEL, **ENDLESS) as stream:
        os.kill(server.worker(model), signal.SIGSTOP)
        server.process.terminate()
        assert SHUTTING_DOWN == stream.rest()[-1]["error"]
        assert 0 == server.end()


def test_a_second_signal_ends_it_at_once(model: Path) -> None:
    with running(model, 10 * END) as server:
        server.health()  # on a connection that stays open
        with server.stream(MODEL, store=True, **ENDLESS):
            server.process.terminate()
            server.wait_until(lambda: server.health().draining)
            server.process.terminate()
            assert 0 == server.end()
    assert ["cancelled"] == stored(model)
