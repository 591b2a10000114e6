"""A server on a real socket over a scripted engine, without a model."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import pytest
import structlog
import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from antiphon.config import ServerOptions
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.server.http_protocol import HTTPProtocol
from antiphon.service import Service
from tests.scripted_engine import ScriptedEngine, ScriptedRenderer, scripted_backend

MODEL = "org/scripted"
WAIT = 10.0
"""Seconds after which a test gives up."""


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Spares clients loading the certificate store, which takes longer than most tests; it is never used."""


def connect(port: int) -> socket.socket:
    """Return a connection with a time-out."""
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


class Server(Struct, frozen=True):
    """A running server and its client."""

    url: str
    port: int
    engine: ScriptedEngine
    http: httpx2.Client

    def connect(self) -> socket.socket:
        """Return a connection with a time-out."""
        return connect(self.port)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the server's thread makes ``condition`` true."""
        deadline = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.002)


StartServer = Callable[..., Server]


@pytest.fixture(scope="module", autouse=True)
def _quiet_log() -> Iterator[None]:
    """Drop the logs of servers' threads, which pytest cannot assign to a test."""
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield
    structlog.configure(**before)


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
    backend = scripted_backend(engine, renderer)
    service = Service(Router({MODEL: [backend]}), engines={MODEL: backend})
    return create_app(service, options or ServerOptions(), body_timeout=body_timeout)


@contextmanager
def running(app: ASGIApp, protocol: type[HTTPProtocol] = HTTPProtocol) -> Iterator[int]:
    """Serve ``app`` in a thread; yield its port."""
    config = uvicorn.Config(
        app, http=protocol, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
    )
    with running_with(config) as port:
        yield port


@contextmanager
def running_with(config: uvicorn.Config) -> Iterator[int]:
    """Serve with uvicorn's settings in a thread; yield the port."""
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


@contextmanager
def served(engine: ScriptedEngine, **how: Any) -> Iterator[Server]:  # noqa: ANN401 - passed to scripted_app
    """Run a server over ``engine``."""
    with running(scripted_app(engine, **how)) as port:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=WAIT, trust_env=False, verify=NO_TLS) as http:
            yield Server(url, port, engine, http)


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start servers that end with the test: ``start_server(engine, options=..., renderer=...)``."""
    with ExitStack() as stack:

        def start(engine: ScriptedEngine | None = None, **how: Any) -> Server:  # noqa: ANN401 - passed to scripted_app
            return stack.enter_context(served(engine or ScriptedEngine(), **how))

        yield start


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Yield an echoing server, shared by the tests of a module."""
    with served(ScriptedEngine()) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> httpx2.Client:
    """Return the client of ``server``."""
    return server.http
