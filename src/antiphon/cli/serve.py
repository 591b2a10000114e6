"""``antiphon serve``: finds the models, starts their engines, listens, and says how to ask."""

import signal
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import anyio
import structlog
import uvicorn
from anyio.abc import TaskStatus
from cyclopts import Parameter
from msgspec import Struct
from starlette.types import ASGIApp

from antiphon import telemetry
from antiphon.cli import display
from antiphon.cli.errors import CommandError
from antiphon.cli.hub import Hub
from antiphon.cli.model_files import ModelFile, find_models
from antiphon.cli.options import EngineFlags, ServerFlags
from antiphon.cli.wiring import open_service
from antiphon.config import ServerOptions, cache_dir
from antiphon.server.app import create_app
from antiphon.service import Service

GRACE = 10
"""Seconds that answers in flight have to end after a signal; a second signal ends them at once."""


def serve(
    *,
    model: Annotated[tuple[str, ...], Parameter(negative_iterable="", show_default=False)] = (),
    chat_template: Path | None = None,
    engine: EngineFlags | None = None,
    server: ServerFlags | None = None,
    log_level: telemetry.LogLevel = "info",
    log_json: bool | None = None,
) -> None:
    """Serve the Chat Completions API.

    When it is ready it prints one line that can be pasted into a shell. Ctrl-C ends it.

    Parameters
    ----------
    model
        A GGUF file, name=file, or hf:owner/repo:file-or-quant from the Hugging Face hub; repeatable. Requests call it
        by the name, or else by the file's name without .gguf. Default: the bundled SmolLM2-135M-Instruct.
    chat_template
        A file with a Jinja chat template, instead of the one inside the model.
    log_level
        The least severe events that are logged.
    log_json
        Log JSON lines. Default: on unless stderr is a terminal.
    """
    telemetry.configure_logging(log_level, json=log_json)
    flags = engine or EngineFlags()
    options = (server or ServerFlags()).options()
    with bind(options) as listener:
        models = find_models(model, Hub(cache_dir()))
        server_run = Run(models=models, flags=flags, chat_template=chat_template, options=options, listener=listener)
        anyio.run(server_run, backend_options={"use_uvloop": True})


def bind(options: ServerOptions) -> socket.socket:
    """Take the address before the model is loaded, so that a port in use is told at once; nobody can connect yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(socket.socket(family, kind, protocol), address)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        advice = "Choose another with --port, or 0 for a free one." if options.port else ""
        raise CommandError(f"Cannot listen on {where}: {error.strerror or error}.", advice) from error


def _bound(listener: socket.socket, address: tuple[str | int | bytes, ...]) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


class Run(Struct, kw_only=True):
    """One run of the server, from loading to the last answer; call it inside an event loop."""

    models: Sequence[ModelFile]
    flags: EngineFlags
    chat_template: Path | None
    options: ServerOptions
    listener: socket.socket
    http: "HTTPServer | None" = None

    async def __call__(self) -> None:
        """Load, listen, and serve until a signal comes."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._obey_signals, tasks.cancel_scope)
            async with self._open() as service:
                app = create_app(service, self.options)
                self.http = HTTPServer(uvicorn_config(app), self._announce)
                await self.http.serve(sockets=[self.listener])
            tasks.cancel_scope.cancel()

    def _open(self) -> AbstractAsyncContextManager[Service]:
        return open_service(
            self.models,
            self.flags,
            chat_template=self.chat_template,
            loaded=lambda model, info: display.err().print(display.model_panel(model.name, model.path, info)),
        )

    async def _obey_signals(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """End gracefully at the first SIGINT or SIGTERM, at once at the second; while loading, the first ends it."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if self.http is None:
                    scope.cancel()
                    return
                structlog.get_logger(__name__).info("stopping", force=self.http.should_exit)
                self.http.force_exit = self.http.should_exit
                self.http.should_exit = True

    def _announce(self) -> None:
        host, port = self.listener.getsockname()[:2]
        url = display.base_url(host, port)
        display.err().print(f"\nReady on {url}. Ask it something, from another terminal:\n", highlight=False)
        display.print_line(display.curl_line(url, self.models[0].name))


class HTTPServer(uvicorn.Server):
    """uvicorn under our signal handling, which ends in exit status 0 instead of raising the signal again."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to :class:`Run`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the server as soon as it listens."""
        await super().startup(sockets)
        if self.started:
            self._announce()


def uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    """Configure HTTP: our own middleware logs requests, our own pipeline writes logs."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
