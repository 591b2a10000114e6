"""The end of a server: what runs ends in order, nothing new is taken, and the exit status is 0."""

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
