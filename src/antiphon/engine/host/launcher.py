"""Starts and ends a worker: a process, or a thread for tests.

Both implement :class:`RunningWorker`. ``exited`` is resolved once, on the event loop, when the worker has ended for any
reason. ``close`` leaves no process, no running thread, no descriptor and no file.
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
from antiphon.engine.worker.worker_process import Start, settings_for, start_process, write_line
from antiphon.isolation.process_output import ProcessOutput

REAP_SECONDS = 10.0
"""Seconds that a killed process may take to end."""

_log = structlog.get_logger()


class WorkerExit(msgspec.Struct, frozen=True):
    """The end of a worker."""

    status: int | None
    """The exit status, the negative number of a signal, or None for an abandoned thread, which cannot be killed."""
    output: tuple[str, ...] = ()
    """The last lines of its output."""

    @property
    def is_orderly(self) -> bool:
        """Whether it ended by itself, so that it has sent its last messages."""
        return self.status is not None and self.status >= 0

    def describe(self) -> str:
        """Return a clause for the end of a sentence, such as ``it was killed by SIGABRT``."""
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
        """Send one command; without effect after the worker has ended."""

    def receive(self) -> None:
        """Deliver the messages that have arrived."""

    def kill(self) -> None:
        """End the worker at once; ``exited`` is resolved afterwards."""

    def close(self) -> None:
        """End the worker if it still runs, and release all resources."""


Launch = Callable[[Deliver], RunningWorker]
"""Starts a worker that delivers its messages to a function. Raises OSError when the system cannot start one."""


class ProcessWorker:
    """A worker process, its channel, its output and a thread that waits for its end.

    The process has its own process group. Its standard input ends after the connection's data, and it inherits no other
    descriptor. Make it on the event loop's thread: Linux kills the process when the thread that started it ends.
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
        self._channel = PairServer(deliver, self._on_broken_channel)
        try:
            self._process = start(settings_for(options, core_factory))
        except BaseException:
            self._channel.close()
            raise
        assert self._process.stdout is not None
        self._output = ProcessOutput(self._process.stdout.fileno(), self._process.pid, "engine_output")
        self._waiter = threading.Thread(target=self._wait, args=(loop,), name="engine-waiter", daemon=True)
        self._waiter.start()
        self._send_connection(Connection(address=self._channel.address, heartbeat_interval=heartbeat_interval))

    def send(self, message: ToWorker) -> None:
        """Send one command."""
        self._channel.send(message)

    def receive(self) -> None:
        """Deliver the messages that have arrived."""
        self._channel.receive()

    def kill(self) -> None:
        """Send SIGKILL, which ends a stopped process, too."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process if it still runs, reap it, and close channel and pipes."""
        self.kill()
        self._waiter.join(REAP_SECONDS)
        self._channel.close()
        self._output.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.exited.cancel()

    def _send_connection(self, connection: Connection) -> None:
        assert self._process.stdin is not None
        write_line(self._process, connection)
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self._process.wait()
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(self._set_exit, status)

    def _set_exit(self, status: int) -> None:
        if not self.exited.done():
            self._output.read()
            self.exited.set_result(WorkerExit(status, self._output.last_lines))

    def _on_broken_channel(self, message: str) -> None:
        _log.error("engine_channel_broken", message=message, pid=self._process.pid)
        self.kill()


class ThreadWorker:
    """A worker in a thread. A thread cannot be killed: one that hangs is abandoned and its messages are dropped."""

    def __init__(self, deliver: Deliver, options: EngineOptions, core_factory: str, heartbeat_interval: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[WorkerExit] = self._loop.create_future()
        self._deliver = deliver
        self._channel = QueueChannel(self._loop, self._deliver_unless_ended)
        open_ = partial(open_core, core_factory, options)
        self._thread = threading.Thread(
            target=self._run, args=(open_, heartbeat_interval), name="engine-worker", daemon=True
        )
        self._thread.start()

    def send(self, message: ToWorker) -> None:
        """Send one command."""
        self._channel.put(message)

    def receive(self) -> None:
        """Do nothing: the event loop delivers all messages."""

    def kill(self) -> None:
        """Abandon the thread."""
        self._set_exit(None)

    def close(self) -> None:
        """Abandon the thread if it still runs."""
        self.kill()

    def _run(self, open_: Callable[[], EngineCore], heartbeat_interval: float) -> None:
        status = 1
        try:
            status = serve(self._channel, open_, heartbeat_interval, self.exited.done)
        except Exception:  # noqa: BLE001 - the status reports it, as that of a process
            traceback.print_exc()
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._set_exit, status)

    def _deliver_unless_ended(self, messages: list[FromWorker]) -> None:
        if not self.exited.done():
            self._deliver(messages)

    def _set_exit(self, status: int | None) -> None:
        if not self.exited.done():
            self.exited.set_result(WorkerExit(status))
