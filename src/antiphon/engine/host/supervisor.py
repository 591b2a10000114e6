"""Keeps one worker alive: starts it, hears whether it lives, restarts it with growing delays, and ends it.

A worker is lost when it exits or when nothing has been heard from it for ``Timeouts.heartbeat`` seconds (a worker that
has nothing to say sends its statistics); then it is killed. What was in flight is the client's business: it is told.
Requests wait for the first restart after a loss; once one has failed they are refused at once, until one succeeds.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog

from antiphon.engine.host.launcher import Launch, RunningWorker, WorkerExit
from antiphon.engine.interface import (
    EngineStats,
    FromWorker,
    LoadFailed,
    ModelInfo,
    Ready,
    Shutdown,
    StreamEvent,
    ToWorker,
)
from antiphon.errors import ServiceUnavailableError

_HEAR_OUT_POLLS = 100
"""How often the last messages of a worker that ended by itself are looked for, every ``_POLL_SECONDS``."""
_POLL_SECONDS = 0.005
_ABSOLUTE_PATH = re.compile(r"(?<![^\s'\"(=:])/(?:[^\s/'\"]+/)+")
"""The folders before a file's name."""
_RESTARTING = "The engine is restarting."
_REPLACED = (
    "the model file or the engine's library is not the one that the server was started with: put it back, or restart "
    "the server to serve the new one"
)

_log = structlog.get_logger()


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long each side waits for the other, in seconds."""

    heartbeat: float = 60.0
    """Silence after which a worker is killed; longer than the longest step."""
    load: float = 600.0
    """Loading the model."""
    restart_grace: float = 30.0
    """How long a request waits for an engine that restarts."""
    stable: float = 60.0
    """Uptime after which the next restart is quick again."""
    close: float = 5.0
    """How long a worker may take to end after it was told to."""

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two signs of life of an idle worker."""
        return min(1.0, self.heartbeat / 4)


class Backoff:
    """Delays before restarts: ``first`` seconds, doubled each time up to ``limit``."""

    def __init__(self, *, first: float = 0.1, limit: float = 30.0, stable: float) -> None:
        """Begin anew after a worker that was ready for ``stable`` seconds."""
        self._first = first
        self._limit = limit
        self._stable = stable
        self.delay = first
        """What the next restart will wait."""

    def next(self, uptime: float) -> float:
        """Return the delay after a worker that was ready for ``uptime`` seconds."""
        delay = self._first if uptime >= self._stable else self.delay
        self.delay = min(2 * delay, self._limit)
        return delay


class Listener(Protocol):
    """Who is told what the worker says and when it is lost."""

    def receive(self, event: StreamEvent) -> None:
        """Take one event of a request."""

    def expects_events(self) -> bool:
        """Whether any request is unfinished."""

    def fail_all(self, reason: str, output: tuple[str, ...]) -> None:
        """End what is unfinished: the worker has gone. ``output`` holds the last lines that it wrote."""


class Supervisor:
    """One worker at a time, from :meth:`start` to :meth:`close`. All of it on one event loop."""

    def __init__(
        self,
        launch: Launch,
        listener: Listener,
        timeouts: Timeouts,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        folder: str = "",
    ) -> None:
        """Hold everything; nothing runs before :meth:`start`. ``folder`` is the model's, of which no client hears."""
        self.info: ModelInfo | None = None
        self.stats: EngineStats | None = None
        self._past: EngineStats | None = None
        """What the workers that have ended had counted."""
        self.restarts = 0
        """Workers that were started after the first."""
        self.ready = False
        """Whether a worker takes requests now."""
        self.failure: str | None = None
        """Why none does, a sentence without folders of this machine; None while one does, or before the first."""
        self._launch = launch
        self._listener = listener
        self._timeouts = timeouts
        self._clock = clock
        self._sleep = sleep
        self._folder = folder
        self._backoff = Backoff(stable=timeouts.stable)
        self._worker: RunningWorker | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._closing = asyncio.Lock()
        self._settled = asyncio.Event()
        """Set while there is nothing to wait for: ready, closed, or a restart failed."""
        self._heard = 0.0
        self._ready_since: float | None = None
        self._failure = ""
        """Why the worker does not do its work, once that is known better than from its exit."""
        self._restart_failed = False
        """Whether the last worker ended before it was ready."""
        self._next_start = 0.0

    async def start(self) -> ModelInfo:
        """Start the first worker. Raises ``ServiceUnavailableError`` with the reason when it does not become ready."""
        assert self._task is None, "an engine is started once"
        self._loaded: asyncio.Future[ModelInfo] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="engine-supervisor")
        self._task.add_done_callback(self._stopped)
        try:
            return await self._loaded
        except BaseException:
            await self.close()
            raise

    @property
    def totals(self) -> EngineStats | None:
        """What is held now, and what all workers together have counted; None before any has said so."""
        return self._past if self.stats is None else self.stats.after(self._past)

    async def until_ready(self) -> None:
        """Wait for a worker for ``Timeouts.restart_grace``. Raises ``ServiceUnavailableError`` when none comes.

        After a restart that failed nobody waits: the next one will hardly fare better.
        """
        if self._task is None or self._closed:
            raise ServiceUnavailableError("The engine is not running.")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.restart_grace):
                while not (self.ready or self._restart_failed or self._closed):
                    await self._settled.wait()
        if not self.ready:
            message = f"The engine cannot be restarted. {self.failure}" if self._restart_failed else _RESTARTING
            raise ServiceUnavailableError(message, retry_after=max(1.0, self._next_start - self._clock()))

    def send(self, message: ToWorker) -> None:
        """Send one command to the worker, if there is one."""
        if self._worker is not None:
            self._worker.send(message)

    async def close(self) -> None:
        """End the worker: what is in flight finishes with ``abort``. Idempotent; nothing runs afterwards."""
        self._closed = True
        self._settled.set()
        if self._task is None:
            return
        async with self._closing:
            if self._worker is None:
                self._task.cancel()
            else:
                await self._end(self._worker)
            await asyncio.wait({self._task})

    async def _end(self, worker: RunningWorker) -> None:
        """Ask a worker that listens to end; kill one that loads, or that does not end in time."""
        try:
            if self.ready:
                self.ready = False
                worker.send(Shutdown())
                await asyncio.wait({worker.exited}, timeout=self._timeouts.close)
        finally:
            worker.kill()

    async def _run(self) -> None:
        """Run worker after worker; a first one that does not become ready is the last."""
        while True:
            failure = await self._run_worker()
            if self._closed or self.info is None:
                break
            delay = self._backoff.next(0.0 if self._ready_since is None else self._clock() - self._ready_since)
            self._restart_failed = self._ready_since is None
            self._next_start = self._clock() + delay
            self._set_ready(ready=False)
            _log.error("engine_restarts", reason=failure, delay=delay, restarts=self.restarts + 1)
            await self._sleep(delay)
            self.restarts += 1
        if not self._loaded.done():
            self._loaded.set_exception(ServiceUnavailableError(failure))

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("engine_supervisor_failed", exc_info=error)
        if not self._loaded.done():
            self._loaded.set_exception(ServiceUnavailableError("The engine was closed before it was ready."))

    async def _run_worker(self) -> str:
        """Start one worker and stay with it to its end; returns why it ended."""
        self._failure = ""
        self._ready_since = None
        self._heard = self._clock()
        try:
            worker = self._worker = self._launch(self._deliver)
        except OSError as error:
            self.failure = _failure_sentence(f"it cannot be started: {error}")
            return f"The engine cannot be started: {error}"
        end = WorkerExit(None)
        try:
            end = await self._watch(worker)
        finally:
            self.failure = _failure_sentence(self._failure or end.describe(), self._folder)
            self._set_ready(ready=False)
            self._past = self.totals and self.totals.ended()
            self._worker = self.stats = None
            worker.close()
            self._listener.fail_all(self._failure or end.describe(), end.output)
        return self._failure or "\n".join((f"The engine ended: {end.describe()}", *end.output))

    async def _watch(self, worker: RunningWorker) -> WorkerExit:
        while not worker.exited.done():
            limit = self._timeouts.load if self._ready_since is None else self._timeouts.heartbeat
            await asyncio.wait({worker.exited}, timeout=min(1.0, limit / 4))
            # Nothing may have been read for long because this process was stopped: what has arrived counts first.
            worker.receive()
            if not worker.exited.done() and self._clock() - self._heard > limit:
                self._failure = f"nothing was heard from the engine for {limit:g} s"
                worker.kill()
                await asyncio.wait({worker.exited})
        self._set_ready(ready=False)
        end = worker.exited.result()
        if end.orderly:
            await self._hear_out(worker)
        return end

    async def _hear_out(self, worker: RunningWorker) -> None:
        """Take the last messages: the exit may be known before the channel has read what was sent before it."""
        for _ in range(_HEAR_OUT_POLLS):
            worker.receive()
            waits_for_load = self._ready_since is None and not self._failure
            if not waits_for_load and not self._listener.expects_events():
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _deliver(self, messages: list[FromWorker]) -> None:
        self._heard = self._clock()
        for message in messages:
            if isinstance(message, EngineStats):
                self.stats = message
            elif isinstance(message, Ready):
                self._load(message.info)
            elif isinstance(message, LoadFailed):
                self._failure = message.message
            else:
                self._listener.receive(message)

    def _load(self, info: ModelInfo) -> None:
        if self.info is not None and self.info.fingerprint != info.fingerprint:
            # Token ids, template and context length above are those of the first one: answers would be nonsense.
            self._failure = _REPLACED
            assert self._worker is not None
            self._worker.kill()
            return
        self.info = info
        self.failure = None
        self._restart_failed = False
        self._ready_since = self._clock()
        self._set_ready(ready=True)
        _log.info("engine_ready", model=info.description, restarts=self.restarts)
        if not self._loaded.done():
            self._loaded.set_result(info)

    def _set_ready(self, *, ready: bool) -> None:
        self.ready = ready and not self._closed
        if self.ready or self._closed or self._restart_failed:
            self._settled.set()
        else:
            self._settled.clear()


def _failure_sentence(reason: str, folder: str = "") -> str:
    """Make a sentence of a reason that clients may read: of a path only the file's name, first of one in ``folder``."""
    text = reason[:1].upper() + reason[1:]  # a path, which begins with a slash, stays as it is
    if folder:
        text = text.replace(f"{folder}/", "")
    return _ABSOLUTE_PATH.sub("", text).rstrip(".") + "."
