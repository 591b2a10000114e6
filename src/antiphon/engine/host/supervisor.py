"""Keeps one worker alive: starts it, checks its heartbeat, restarts it with growing delays, and ends it.

A worker is lost when it exits, or when it sends no message for ``Timeouts.heartbeat`` seconds (an idle worker sends its
statistics); a silent worker is killed. The client then fails its requests in flight. New requests wait for the first
restart after a loss. After a failed restart they are refused at once until one succeeds.
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

_DRAIN_POLLS = 100
"""Polls, every ``_POLL_SECONDS``, for the last messages of a worker that ended by itself."""
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
    """Timeouts of client and worker, in seconds."""

    heartbeat: float = 60.0
    """Silence after which a worker is killed. It must exceed the longest step."""
    load: float = 600.0
    """Time for loading the model."""
    restart_grace: float = 30.0
    """Time that a request waits for a restart."""
    stable: float = 60.0
    """Uptime after which the next restart has the first delay again."""
    close: float = 5.0
    """Time that a worker has to end after ``Shutdown``."""

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats of an idle worker."""
        return min(1.0, self.heartbeat / 4)


class Backoff:
    """The delays before restarts: ``first`` seconds, doubled each time up to ``limit``."""

    def __init__(self, *, first: float = 0.1, limit: float = 30.0, stable: float) -> None:
        """Make the delays, which start again after a worker that was ready for ``stable`` seconds."""
        self._first = first
        self._limit = limit
        self._stable = stable
        self.delay = first
        """Seconds before the next restart."""

    def next(self, uptime: float) -> float:
        """Return the delay after a worker that was ready for ``uptime`` seconds."""
        delay = self._first if uptime >= self._stable else self.delay
        self.delay = min(2 * delay, self._limit)
        return delay


class Listener(Protocol):
    """The receiver of the worker's events and of its loss."""

    def receive(self, event: StreamEvent) -> None:
        """Receive one event of a request."""

    def expects_events(self) -> bool:
        """Return whether any request is unfinished."""

    def fail_all(self, reason: str, output: tuple[str, ...]) -> None:
        """Fail all unfinished requests because the worker has ended. ``output`` has the last lines of its output."""


class Supervisor:
    """Runs one worker at a time, from :meth:`start` to :meth:`close`. Use it on one event loop."""

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
        """Make the supervisor; nothing runs before :meth:`start`. Failures do not name the model's ``folder``."""
        self.info: ModelInfo | None = None
        self.stats: EngineStats | None = None
        self._past: EngineStats | None = None
        """The counters of the workers that have ended."""
        self.restarts = 0
        """The number of workers that were started after the first."""
        self.ready = False
        """Whether a worker accepts requests now."""
        self.failure: str | None = None
        """The reason why no worker is ready, a sentence without folders; None if one is ready or none was started."""
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
        self._wait_ended = asyncio.Event()
        """Set while requests need not wait: a worker is ready, the supervisor is closed, or a restart has failed."""
        self._last_message_time = 0.0
        self._ready_since: float | None = None
        self._failure = ""
        """The reason why the worker fails, where it is known more exactly than from its exit."""
        self._restart_failed = False
        """Whether the last worker ended before it was ready."""
        self._next_start = 0.0

    async def start(self) -> ModelInfo:
        """Start the first worker and return its model. Raises ``ServiceUnavailableError`` when it fails."""
        assert self._task is None, "an engine is started once"
        self._loaded: asyncio.Future[ModelInfo] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="engine-supervisor")
        self._task.add_done_callback(self._on_task_end)
        try:
            return await self._loaded
        except BaseException:
            await self.close()
            raise

    @property
    def totals(self) -> EngineStats | None:
        """The state of the current worker and the counters of all workers; None before any has sent statistics."""
        return self._past if self.stats is None else self.stats.with_counts_of(self._past)

    async def until_ready(self) -> None:
        """Wait for a ready worker, ``Timeouts.restart_grace`` at most. Raises ``ServiceUnavailableError`` without one.

        After a failed restart it raises at once, because the next restart will hardly succeed.
        """
        if self._task is None or self._closed:
            raise ServiceUnavailableError("The engine is not running.")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.restart_grace):
                while not (self.ready or self._restart_failed or self._closed):
                    await self._wait_ended.wait()
        if not self.ready:
            message = f"The engine cannot be restarted. {self.failure}" if self._restart_failed else _RESTARTING
            raise ServiceUnavailableError(message, retry_after=max(1.0, self._next_start - self._clock()))

    def send(self, message: ToWorker) -> None:
        """Send one command to the current worker, if any."""
        if self._worker is not None:
            self._worker.send(message)

    async def close(self) -> None:
        """End the worker; requests in flight finish with ``abort``. Idempotent; nothing runs afterwards."""
        self._closed = True
        self._wait_ended.set()
        if self._task is None:
            return
        async with self._closing:
            if self._worker is None:
                self._task.cancel()
            else:
                await self._end(self._worker)
            await asyncio.wait({self._task})

    async def _end(self, worker: RunningWorker) -> None:
        """Shut a ready worker down; kill one that loads or that does not end in time."""
        try:
            if self.ready:
                self.ready = False
                worker.send(Shutdown())
                await asyncio.wait({worker.exited}, timeout=self._timeouts.close)
        finally:
            worker.kill()

    async def _run(self) -> None:
        """Run workers one after the other. A first one that does not become ready is the last."""
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

    def _on_task_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("engine_supervisor_failed", exc_info=error)
        if not self._loaded.done():
            self._loaded.set_exception(ServiceUnavailableError("The engine was closed before it was ready."))

    async def _run_worker(self) -> str:
        """Run one worker to its end; return the reason of the end."""
        self._failure = ""
        self._ready_since = None
        self._last_message_time = self._clock()
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
            self._past = self.totals and self.totals.without_state()
            self._worker = self.stats = None
            worker.close()
            self._listener.fail_all(self._failure or end.describe(), end.output)
        return self._failure or "\n".join((f"The engine ended: {end.describe()}", *end.output))

    async def _watch(self, worker: RunningWorker) -> WorkerExit:
        while not worker.exited.done():
            limit = self._timeouts.load if self._ready_since is None else self._timeouts.heartbeat
            await asyncio.wait({worker.exited}, timeout=min(1.0, limit / 4))
            # This process may have been stopped: messages that have arrived meanwhile count before silence does.
            worker.receive()
            if not worker.exited.done() and self._clock() - self._last_message_time > limit:
                self._failure = f"the engine sent no message for {limit:g} s"
                worker.kill()
                await asyncio.wait({worker.exited})
        self._set_ready(ready=False)
        end = worker.exited.result()
        if end.is_orderly:
            await self._drain_messages(worker)
        return end

    async def _drain_messages(self, worker: RunningWorker) -> None:
        """Receive the last messages: the exit may be known before the channel has read the messages sent before it."""
        for _ in range(_DRAIN_POLLS):
            worker.receive()
            waits_for_load = self._ready_since is None and not self._failure
            if not waits_for_load and not self._listener.expects_events():
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _deliver(self, messages: list[FromWorker]) -> None:
        self._last_message_time = self._clock()
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
            # The layers above use the token ids, template and context length of the first model.
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
            self._wait_ended.set()
        else:
            self._wait_ended.clear()


def _failure_sentence(reason: str, folder: str = "") -> str:
    """Return a reason as a sentence for clients, with the file names of its paths only, ``folder`` removed first."""
    text = reason[:1].upper() + reason[1:]  # the slash of a path has no upper case
    if folder:
        text = text.replace(f"{folder}/", "")
    return _ABSOLUTE_PATH.sub("", text).rstrip(".") + "."
