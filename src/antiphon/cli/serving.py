"""One run of ``antiphon serve``: opens database and engines, listens, and drains at the end."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from ipaddress import ip_address

import anyio
import structlog
import uvicorn
from anyio.abc import TaskStatus
from msgspec import Struct
from starlette.types import ASGIApp

from antiphon.cli.model_preload import ModelPreload
from antiphon.cli.open_database import end_user_limits, key_limits, open_storage, project_limits, retention
from antiphon.cli.options import EngineFlags, LimitFlags, RetentionFlags, TemplateFlags
from antiphon.cli.wiring import open_service
from antiphon.config import ServerOptions
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.model_files.model_sources import ModelFile
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.server.app import create_app
from antiphon.server.http_protocol import HTTPProtocol, with_write_timeout
from antiphon.service import Service
from antiphon.service.access import Access
from antiphon.service.maintenance import delete_old, renew_leases, watch_database
from antiphon.service.storage import Storage
from antiphon.telemetry.spans import Tracer

END_TIMEOUT = 5.0
"""Seconds in which engines end after ``drain_timeout``, and in which requests that were cut off are stored."""
CLOSE_TIMEOUT = 1.0
"""Seconds in which answers that were cut off send their error, and connections send their buffers."""


class Run(Struct, kw_only=True):
    """One run of the server, from loading to the last answer. Call it inside an event loop."""

    models: Sequence[ModelFile]
    flags: EngineFlags
    template: TemplateFlags
    options: ServerOptions
    listener: socket.socket
    storage: RetentionFlags
    limits: LimitFlags
    tracer: Tracer | None = None
    preload: ModelPreload | None = None
    http: "HTTPServer | None" = None
    open_to_all: bool = False

    async def __call__(self) -> None:
        """Load, listen, and serve until a signal arrives. Raises :class:`CommandError`."""
        check_ignored_fields(self.options.ignored_fields)
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._handle_signals, tasks.cancel_scope)
            async with self._open_storage() as storage:
                await self._serve(storage, await self._make_access(storage))
            tasks.cancel_scope.cancel()

    async def _serve(self, storage: Storage, access: Access) -> None:
        async with anyio.create_task_group() as maintenance:
            maintenance.start_soon(renew_leases, storage)
            maintenance.start_soon(watch_database, storage)
            maintenance.start_soon(delete_old, storage, retention(self.storage))
            async with self._open_service(storage, access) as service:
                app = create_app(service, self.options, tracer=self.tracer)
                config = uvicorn_config(app, self.options)
                self.http = HTTPServer(config, self._announce, service, self.options.drain_timeout)
                await self.http.serve(sockets=[self.listener])
                await self.http.end_tasks()
            maintenance.cancel_scope.cancel()

    def _open_storage(self) -> AbstractAsyncContextManager[Storage]:
        return open_storage(
            self.storage,
            project_limits=project_limits(self.limits),
            key_limits=key_limits(self.limits),
            end_user_limits=end_user_limits(self.limits),
        )

    async def _make_access(self, storage: Storage) -> Access:
        """Return the access rules. Raises :class:`CommandError` where other machines reach a server without keys."""
        host = self.listener.getsockname()[0]
        keys = await storage.keys.any()
        if not (keys or ip_address(host).is_loopback or self.options.allow_unauthenticated):
            advice = "Create a key: antiphon keys create. To serve without keys: --allow-unauthenticated"
            raise CommandError(f"Other machines can reach {host}, and there are no keys.", advice)
        self.open_to_all = not keys
        return Access(
            storage.keys,
            open_without_keys=ip_address(host).is_loopback or self.options.allow_unauthenticated,
            organization=self.options.organization,
        )

    def _open_service(self, storage: Storage, access: Access) -> AbstractAsyncContextManager[Service]:
        return open_service(
            self.models,
            self.flags,
            template=self.template,
            on_loaded=lambda model, info: display.err().print(display.model_panel(model.name, model.path, info)),
            storage=storage,
            access=access,
            preload=self.preload,
        )

    async def _handle_signals(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """Drain at the first SIGINT or SIGTERM, end at once at the second.

        While models are loaded, the first signal ends the server once the vocabulary in progress is read, and the
        second ends it at once.
        """
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if self.http is None:
                    break
                structlog.get_logger(__name__).info("stopping", force=self.http.should_exit)
                self.http.stop()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # SIGTERM has its default handler here, too
        scope.cancel()

    def _announce(self) -> None:
        host, port = self.listener.getsockname()[:2]
        url = display.base_url(host, port)
        access = "No key is needed until one is created." if self.open_to_all else "A key is needed."
        database = "PostgreSQL" if self.storage.database else self.storage.folder
        display.say(f"\nReady on {url}. {access}\nData is stored in {database}. Try it from another terminal:\n")
        display.print_line(display.curl_line(url, self.models[0].name, key=not self.open_to_all))


def check_ignored_fields(names: Sequence[str]) -> None:
    """Raise CommandError for a field that requests have: no option may ignore it."""
    for name in names:
        if name in CreateChatCompletion.__struct_fields__:
            raise CommandError(f"--ignore-field {name}: it is a field of requests.", "Name an unknown field.")


class HTTPServer(uvicorn.Server):
    """uvicorn with our signal handling, which ends with exit status 0 instead of raising the signal again.

    While it drains, it accepts no connection and refuses new requests with an error. Requests that run have
    ``drain_timeout`` seconds; then they end with an error. Idle connections stay open while it drains: a client whose
    connection closes while it sends a request cannot know whether the request was accepted.
    """

    def __init__(
        self, config: uvicorn.Config, announce: Callable[[], None], service: Service, drain_timeout: float
    ) -> None:
        """``drain_timeout``: seconds in which running requests may end."""
        super().__init__(config)
        self._announce = announce
        self._service = service
        self._drain_timeout = drain_timeout

    def stop(self) -> None:
        """Drain; when called again, end at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close all connections."""
        deadline = time.monotonic() + self._drain_timeout
        for server in self.servers:
            server.close()
        await self._await_requests(deadline)
        if self.server_state.tasks and not self.force_exit:
            await self._end_engines()
        self.config.timeout_graceful_shutdown = max(CLOSE_TIMEOUT, deadline - time.monotonic())  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _await_requests(self, deadline: float) -> None:
        """Wait until no request runs, until ``deadline``, or for the second signal."""
        while self.server_state.tasks and not self.force_exit and time.monotonic() < deadline:
            for connection in self.server_state.connections:
                if isinstance(connection, HTTPProtocol) and connection.is_answering:
                    connection.shutdown()
            await asyncio.sleep(0.05)

    async def _end_engines(self) -> None:
        """End the requests that still run, each with an error that its client can read."""
        tasks = set(self.server_state.tasks)
        structlog.get_logger(__name__).warning("answers_cut_off", requests=len(tasks))
        with anyio.move_on_after(END_TIMEOUT):
            await self._service.close()
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)

    async def end_tasks(self) -> None:
        """Wait for the requests that uvicorn has cancelled: they store their answers and release their resources."""
        tasks = set(self.server_state.tasks)
        if self.force_exit:
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_TIMEOUT)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle no signals: :class:`Run` does."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the server as soon as it listens."""
        await super().startup(sockets)
        if self.started:
            self._announce()


def uvicorn_config(app: ASGIApp, options: ServerOptions) -> uvicorn.Config:
    """Return uvicorn's settings, without its own logs."""
    return uvicorn.Config(
        app,
        http=with_write_timeout(options.write_timeout),
        timeout_keep_alive=options.keep_alive_timeout,  # type: ignore[arg-type] # the event loop takes fractions
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
