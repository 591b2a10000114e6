"""One worker from its start to its end: a process of its own, or, for tests, a thread.

Both have one shape, :class:`RunningWorker`. ``exited`` is resolved once, on the event loop, when the worker has ended
for whatever reason; ``close`` leaves no process, no thread that runs, no descriptor and no file.
"""

import asyncio
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import msgspec
import structlog

from antiphon.engine.channel import Deliver, PairServer, QueueChannel
from antiphon.engine.interface import EngineOptions, FromWorker, ToWorker
from antiphon.engine.worker.loop import Connection, EngineCore, open_core, serve
from antiphon.engine.worker.worker_process import Start, settings_for, start_process, tell
from antiphon.isolation.process_output import ProcessOutput

REAP_SECONDS = 10.0
"""How long a killed process may take to disappear."""

_log = structlog.get_logger()


class WorkerExit(msgspec.Struct, frozen=True):
    """How a worker ended."""

    status: int | None
    """Exit status, minus the signal's number, or None when it was given up (a thread cannot be killed)."""
    output: tuple[str, ...] = ()
    """The last lines it wrote."""

    @property
    def orderly(self) -> bool:
        """Whether it ended by itself, so that its last messages have been sent."""
        return self.status is not None and self.status >= 0

    def describe(self) -> str:
        """Say it as the end of a sentence, such as ``it was killed by SIGABRT``."""
        if self.status is None:
            return "it was given up"
        if self.status < 0:
            return f"it was killed by {_signal_name(-self.status)}"
        return f"it ended with status {self.status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class RunningWorker(Protocol):
    """A worker that has been started."""

    exited: asyncio.Future[WorkerExit]

    def send(self, message: ToWorker) -> None:
        """Send one command; without effect when the worker has gone."""

    def receive(self) -> None:
        """Hand over what has arrived now."""

    def kill(self) -> None:
        """End it at once; ``exited`` follows."""

    def close(self) -> None:
        """End it if it still runs, and release everything."""


Launch = Callable[[Deliver], RunningWorker]
"""Starts a worker whose messages go where it is told. Raises OSError when the system cannot start one."""


class ProcessWorker:
    """A worker process, the channel to it, its output and a thread that waits for its end.

    It is in a process group of its own, its standard input ends with the connection, and it inherits no other
    descriptor. Make it on the event loop's own thread: Linux kills a process that asked for it with the thread that
    started it.
    """

    def __init__(
        self,
        deliver: Deliver,
        options: EngineOptions,
        core_factory: str,
        heartbeat_interval: float,
        start: Start = start_process,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[WorkerExit] = loop.create_future()
        self._channel = PairServer(deliver, self._broken)
        try:
            self._process = start(settings_for(options, core_factory))
        except BaseException:
            self._channel.close()
            raise
        assert self._process.stdout is not None
        self._output = ProcessOutput(self._process.stdout.fileno(), self._process.pid, "engine_output")
        self._waiter = threading.Thread(target=self._wait, args=(loop,), name="engine-waiter", daemon=True)
        self._waiter.start()
        self._tell(Connection(address=self._channel.address, heartbeat_interval=heartbeat_interval))

    def send(self, message: ToWorker) -> None:
        """Send one command."""
        self._channel.send(message)

    def receive(self) -> None:
        """Hand over what has arrived now."""
        self._channel.receive()

    def kill(self) -> None:
        """Send SIGKILL, which also ends a stopped process."""
        self._process.kill()

    def close(self) -> None:
        """Kill it if it still runs, reap it, and close channel and pipes."""
        self.kill()
        self._waiter.join(REAP_SECONDS)
        self._channel.close()
        self._output.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.exited.cancel()

    def _tell(self, connection: Connection) -> None:
        assert self._process.stdin is not None
        tell(self._process, connection)
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self._process.wait()
        with suppress(RuntimeError):  # the loop has been closed: nobody is left to tell
            loop.call_soon_threadsafe(self._ended, status)

    def _ended(self, status: int) -> None:
        if not self.exited.done():
            self._output.read()
            self.exited.set_result(WorkerExit(status, self._output.last_lines))

    def _broken(self, message: str) -> None:
        _log.error("engine_channel_broken", message=message, pid=self._process.pid)
        self.kill()


class ThreadWorker:
    """The same loop in a thread. It cannot be killed: a thread that does not end is given up and no longer heard."""

    def __init__(self, deliver: Deliver, options: EngineOptions, core_factory: str, heartbeat_interval: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[WorkerExit] = self._loop.create_future()
        self._deliver = deliver
        self._channel = QueueChannel(self._loop, self._hear)
        open_ = partial(open_core, core_factory, options)
        self._thread = threading.Thread(
            target=self._run, args=(open_, heartbeat_interval), name="engine-worker", daemon=True
        )
        self._thread.start()

    def send(self, message: ToWorker) -> None:
        """Send one command."""
        self._channel.put(message)

    def receive(self) -> None:
        """Nothing to do: the event loop hands over all there is."""

    def kill(self) -> None:
        """Give it up."""
        self._ended(None)

    def close(self) -> None:
        """Give it up if it still runs."""
        self.kill()

    def _run(self, open_: Callable[[], EngineCore], heartbeat_interval: float) -> None:
        status = 1
        try:
            status = serve(self._channel, open_, heartbeat_interval, self.exited.done)
        except Exception:  # noqa: BLE001 - a thread's end is told by its status, as a process's is
            traceback.print_exc()
        with suppress(RuntimeError):  # the loop has been closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._ended, status)

    def _hear(self, messages: list[FromWorker]) -> None:
        if not self.exited.done():
            self._deliver(messages)

    def _ended(self, status: int | None) -> None:
        if not self.exited.done():
            self.exited.set_result(WorkerExit(status))
