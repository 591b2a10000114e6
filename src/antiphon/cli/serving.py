"""One run of ``antiphon serve``: what it opens, what it listens with, how it ends.

Importing this takes longest of all that comes before the first answer.
"""

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
from antiphon.cli.options import EngineFlags, KeepFlags, LimitFlags, TemplateFlags
from antiphon.cli.wiring import open_service
from antiphon.config import ServerOptions
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.model_files.model_sources import ModelFile
from antiphon.server.app import create_app
from antiphon.server.http_protocol import HTTPProtocol, with_write_timeout
from antiphon.service import Service
from antiphon.service.access import Access
from antiphon.service.maintenance import delete_old, renew_leases, watch_database
from antiphon.service.storage import Storage
from antiphon.telemetry.spans import Tracer

END_TIMEOUT = 5.0
"""Seconds that engines have to end when the time is up, and requests that were cut off to store what they have."""
LAST_WORDS = 1.0
"""Seconds in which answers that were ended send their error, and connections what was written to them."""


class Run(Struct, kw_only=True):
    """One run of the server, from loading to the last answer; call it inside an event loop."""

    models: Sequence[ModelFile]
    flags: EngineFlags
    template: TemplateFlags
    options: ServerOptions
    listener: socket.socket
    keep: KeepFlags
    limits: LimitFlags
    tracer: Tracer | None = None
    preload: ModelPreload | None = None
    http: "HTTPServer | None" = None
    open_to_all: bool = False

    async def __call__(self) -> None:
        """Load, listen, and serve until a signal comes."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._obey_signals, tasks.cancel_scope)
            async with self._open_storage() as storage:
                await self._serve(storage, await self._make_access(storage))
            tasks.cancel_scope.cancel()

    async def _serve(self, storage: Storage, access: Access) -> None:
        async with anyio.create_task_group() as maintenance:
            maintenance.start_soon(renew_leases, storage)
            maintenance.start_soon(watch_database, storage)
            maintenance.start_soon(delete_old, storage, retention(self.keep))
            async with self._open_service(storage, access) as service:
                app = create_app(service, self.options, tracer=self.tracer)
                config = uvicorn_config(app, self.options.write_timeout)
                self.http = HTTPServer(config, self._announce, service, self.options.drain_timeout)
                await self.http.serve(sockets=[self.listener])
                await self.http.end_tasks()
            maintenance.cancel_scope.cancel()

    def _open_storage(self) -> AbstractAsyncContextManager[Storage]:
        return open_storage(
            self.keep,
            project_limits=project_limits(self.limits),
            key_limits=key_limits(self.limits),
            end_user_limits=end_user_limits(self.limits),
        )

    async def _make_access(self, storage: Storage) -> Access:
        """Open the server to everybody only where nobody else comes by; raises :class:`CommandError`."""
        host = self.listener.getsockname()[0]
        keys = await storage.keys.any()
        if not (keys or ip_address(host).is_loopback or self.options.allow_unauthenticated):
            advice = "Make a key: antiphon keys create. To serve everybody nevertheless: --allow-unauthenticated"
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
            loaded=lambda model, info: display.err().print(display.model_panel(model.name, model.path, info)),
            storage=storage,
            access=access,
            preload=self.preload,
        )

    async def _obey_signals(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        """End gracefully at the first SIGINT or SIGTERM, at once at the second.

        While loading, the first ends it, as soon as a vocabulary that is being read has been; the second does not wait.
        """
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if self.http is None:
                    break
                structlog.get_logger(__name__).info("stopping", force=self.http.should_exit)
                self.http.stop()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as that of SIGTERM is now
        scope.cancel()

    def _announce(self) -> None:
        host, port = self.listener.getsockname()[:2]
        url = display.base_url(host, port)
        who = "It asks for no key until there is one." if self.open_to_all else "It asks for a key."
        kept = "PostgreSQL" if self.keep.database else self.keep.folder
        display.say(
            f"\nReady on {url}. {who}\nWhat it keeps lies in {kept}. Ask it something, from another terminal:\n"
        )
        display.print_line(display.curl_line(url, self.models[0].name, key=not self.open_to_all))


class HTTPServer(uvicorn.Server):
    """uvicorn under our signal handling, which ends in exit status 0 instead of raising the signal again.

    It drains: nobody connects any more and nothing new is taken, what runs has time to end, then it is ended with an
    error of its own. Connections on which nothing runs stay open meanwhile: whoever sends a request on one is told,
    where a connection closed just then would leave it open whether the request was taken.
    """

    def __init__(
        self, config: uvicorn.Config, announce: Callable[[], None], service: Service, drain_timeout: float
    ) -> None:
        """``drain_timeout``: seconds that running requests have to end."""
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
        await self._let_run(deadline)
        if self.server_state.tasks and not self.force_exit:
            await self._end_engines()
        self.config.timeout_graceful_shutdown = max(LAST_WORDS, deadline - time.monotonic())  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _let_run(self, deadline: float) -> None:
        """Wait until nothing runs, until ``deadline``, or for the second signal."""
        while self.server_state.tasks and not self.force_exit and time.monotonic() < deadline:
            for connection in self.server_state.connections:
                if isinstance(connection, HTTPProtocol) and connection.busy:
                    connection.shutdown()
            await asyncio.sleep(0.05)

    async def _end_engines(self) -> None:
        """End what still runs with an error that its clients can read."""
        tasks = set(self.server_state.tasks)
        structlog.get_logger(__name__).warning("answers_cut_off", requests=len(tasks))
        with anyio.move_on_after(END_TIMEOUT):
            await self._service.close()
        await asyncio.wait(tasks, timeout=LAST_WORDS)

    async def end_tasks(self) -> None:
        """Wait for what uvicorn has cancelled and left: it still stores what it has, and gives back what it holds."""
        tasks = set(self.server_state.tasks)
        if self.force_exit:
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_TIMEOUT)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to :class:`Run`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the server as soon as it listens."""
        await super().startup(sockets)
        if self.started:
            self._announce()


def uvicorn_config(app: ASGIApp, write_timeout: float) -> uvicorn.Config:
    """Configure HTTP: our own middleware logs requests, our own pipeline writes logs; ``write_timeout`` in seconds."""
    return uvicorn.Config(
        app,
        http=with_write_timeout(write_timeout),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
