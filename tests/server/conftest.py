"""A server on a real socket over a scripted engine: what a client sees, without a model."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from antiphon.backends.router import Router
from antiphon.config import ServerOptions
from antiphon.server.app import create_app
from antiphon.service import Service
from tests.scripted_engine import ScriptedEngine, ScriptedRenderer, scripted_backend

MODEL = "org/scripted"
WAIT = 10.0
"""Seconds that anything may take before a test gives up."""


class Server(Struct, frozen=True):
    """A server that runs."""

    url: str
    port: int
    engine: ScriptedEngine

    def connect(self) -> socket.socket:
        """Return a connection whose every wait is bounded."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the server's thread does."""
        deadline = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.002)


StartServer = Callable[..., Server]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def scripted_app(
    engine: ScriptedEngine,
    options: ServerOptions | None = None,
    *,
    renderer: ScriptedRenderer | None = None,
    body_timeout: float = 5,
) -> ASGIApp:
    service = Service(Router({MODEL: scripted_backend(engine, renderer)}))
    return create_app(service, options or ServerOptions(), body_timeout=body_timeout)


@contextmanager
def running(app: ASGIApp) -> Iterator[int]:
    """Serve ``app`` from a thread; give its port."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.002)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(WAIT)
            assert not thread.is_alive(), "the server did not end"


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start servers that end with the test: ``start_server(engine, options=..., renderer=...)``."""
    with ExitStack() as stack:

        def start(engine: ScriptedEngine | None = None, **how: Any) -> Server:  # noqa: ANN401 - passed to scripted_app
            engine = engine or ScriptedEngine()
            port = stack.enter_context(running(scripted_app(engine, **how)))
            return Server(f"http://127.0.0.1:{port}", port, engine)

        yield start


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that echoes; shared by the tests of a module."""
    engine = ScriptedEngine()
    with running(scripted_app(engine)) as port:
        yield Server(f"http://127.0.0.1:{port}", port, engine)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx2.Client]:
    """A client of ``server``."""
    with httpx2.Client(base_url=server.url, timeout=WAIT, trust_env=False) as client:
        yield client
