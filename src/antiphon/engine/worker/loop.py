"""The worker: a loop over one core and one channel, and the entry point of the process that it runs in.

``python -m antiphon.engine.worker.loop`` reads two lines of JSON from standard input: what to load, which it does at
once, and where it is awaited. It ends when it is told to (:class:`Shutdown`), when a step fails (everything in flight
finishes with ``error`` first), when the model cannot be loaded, and when its parent dies. SIGINT and SIGTERM reach the
whole process group or service; the API process drains then and still needs its worker, so they are ignored here.
"""

import ctypes
import importlib
import operator
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol

import msgspec

from antiphon.engine.channel import Address, PairChannel, WorkerChannel
from antiphon.engine.interface import (
    Abort,
    EngineOptions,
    EngineStats,
    Finished,
    FinishReason,
    FromWorker,
    GenerateRequest,
    LoadFailed,
    ModelInfo,
    Ready,
    Shutdown,
    StreamEvent,
    ToWorker,
)
from antiphon.engine.worker.worker_process import WorkerSettings
from antiphon.telemetry.exception_texts import hide_exception_texts, write_exception

THREAD_ENVIRONMENT: Final[dict[str, str]] = {"GOMP_SPINCOUNT": "2000", "GGML_NO_BACKTRACE": "1"}
"""What the C libraries read when they are loaded, so it is set before, unless the environment says so already.

How long the threads of a decode step spin while they wait for each other: one that spins takes a core from whoever is
late, see docs/performance.md for what was measured. And that llama.cpp runs no debugger when an assertion fails, whose
pages would hide what has failed."""

EXIT_SHUTDOWN: Final = 0
EXIT_STEP_FAILED: Final = 70
EXIT_LOAD_FAILED: Final = 71
EXIT_ORPHANED: Final = 72

STATS_INTERVAL: Final = 0.25
"""Seconds between two statistics at least, while there is work."""
QUIET: Final = 0.1
"""Seconds without work until the worker rests, so that it is not in the way of who asks again at once."""
FLUSH_SECONDS: Final = 1.0
OUT_OF_RESOURCES: Final = (MemoryError, OSError, RuntimeError, ImportError)
"""Errors that no request causes, such as a thread that cannot be started: the next request would meet them, too."""
STACK: Final = 1 << 28
"""Bytes of stack of each thread, memory only as far as they are used: llama.cpp tokenizes the text that a grammar
forces, and its regular expressions take about 300 for each of at most 524,288 characters."""
_PR_SET_PDEATHSIG: Final = 1


class EngineCore(Protocol):
    """What the loop needs of a core; see :class:`antiphon.engine.worker.core.Core`."""

    @property
    def info(self) -> ModelInfo:
        """What was loaded and how it runs."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    def add(self, request: GenerateRequest) -> None:
        """Take a request, or raise for this request alone."""

    def abort(self, request_id: str, index: int | None) -> None:
        """End one choice or all; unknown ids are no error."""

    def step(self) -> list[StreamEvent]:
        """Advance everything once. An exception concerns everything in flight."""

    def idle_step(self) -> bool:
        """Do a piece of what makes later steps faster, while there is no work; False when nothing is left to do."""

    def abort_all(self, reason: FinishReason, message: str) -> list[StreamEvent]:
        """End everything in flight and return the events, those that no step has returned included."""

    def stats(self) -> EngineStats:
        """Count what is held now."""

    def close(self) -> None:
        """Release the model."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker process is heard once its client listens."""

    address: Address
    heartbeat_interval: float
    """Seconds between two statistics at most, while no step runs."""


def open_core(factory: str, options: EngineOptions) -> EngineCore:
    """Make a core by the dotted path ``module:callable``, called with the options, a clock and a source of seeds.

    Nothing of it is imported before, so that the environment can be set first.
    """
    module_name, _, path = factory.partition(":")
    make = operator.attrgetter(path)(importlib.import_module(module_name))
    core: EngineCore = make(options, clock=time.monotonic, entropy=partial(secrets.randbits, 64))
    return core


def serve(
    channel: WorkerChannel,
    open_: Callable[[], EngineCore],
    heartbeat_interval: float,
    orphaned: Callable[[], bool] = lambda: False,
) -> int:
    """Load the model, say so, and work until the end; returns the exit status."""
    try:
        core = open_()
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator must read it
        traceback.print_exc()
        channel.send([LoadFailed(message=_describe(error))])
        channel.flush(FLUSH_SECONDS)
        return EXIT_LOAD_FAILED
    channel.send([Ready(info=core.info), core.stats()])
    return Worker(core, channel, heartbeat_interval=heartbeat_interval, orphaned=orphaned).run()


class Worker:
    """The loop. Between two steps it takes what has arrived; after each it sends one message."""

    def __init__(
        self,
        core: EngineCore,
        channel: WorkerChannel,
        *,
        heartbeat_interval: float = 1.0,
        orphaned: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold what the loop works on; ``orphaned`` is asked whenever statistics are due."""
        self._core = core
        self._channel = channel
        self._heartbeat_interval = heartbeat_interval
        self._stats_interval = min(STATS_INTERVAL, heartbeat_interval)
        self._orphaned = orphaned
        self._clock = clock
        self._stats_sent = clock()

    def run(self) -> int:
        """Work until the end; return the exit status. The core is closed unless a step failed."""
        while True:
            commands = self._receive()
            shutdown = any(isinstance(command, Shutdown) for command in commands)
            messages: list[FromWorker] = []
            try:
                messages += self._take(commands)
                messages += self._core.step() if self._core.has_work and not shutdown else ()
            except Exception as error:  # noqa: BLE001 - it concerns everything, and everything must end
                write_exception(error)
                reason = f"The engine failed: {type(error).__name__}."
                self._send_last([*messages, *self._core.abort_all("error", reason)])
                return EXIT_STEP_FAILED
            if shutdown:
                self._send_last([*messages, *self._core.abort_all("abort", "")])
                self._core.close()
                return EXIT_SHUTDOWN
            if self._stats_due(went_idle=bool(messages) and not self._core.has_work):
                messages.append(self._core.stats())
                if self._orphaned():
                    return EXIT_ORPHANED
            if messages:
                self._channel.send(messages)

    def _receive(self) -> list[ToWorker]:
        """Take what has come; without work wait for it, and rest once it is quiet, for a heartbeat at most."""
        if self._core.has_work:
            return self._channel.receive(0.0)
        quiet = min(QUIET, self._heartbeat_interval)
        commands = self._channel.receive(quiet)
        until = self._clock() + self._heartbeat_interval
        while not commands and self._core.idle_step():
            commands = self._channel.receive(0.0)
            if self._clock() >= until:
                return commands
        return commands or self._channel.receive(self._heartbeat_interval - quiet)

    def _take(self, commands: list[ToWorker]) -> list[FromWorker]:
        refused: list[FromWorker] = []
        for command in commands:
            if isinstance(command, GenerateRequest):
                refused += self._add(command)
            elif isinstance(command, Abort):
                self._core.abort(command.request_id, command.index)
        return refused

    def _add(self, request: GenerateRequest) -> list[Finished]:
        try:
            self._core.add(request)
        except OUT_OF_RESOURCES:
            raise
        except Exception as error:  # noqa: BLE001 - it concerns this request alone, which must end
            print(f"request {request.request_id} refused:", file=sys.stderr)  # noqa: T201
            write_exception(error)
            return [
                Finished(request_id=request.request_id, index=index, reason="error", message=_describe(error))
                for index in range(request.n)
            ]
        return []

    def _send_last(self, messages: list[FromWorker]) -> None:
        if messages:
            self._channel.send(messages)
        self._channel.flush(FLUSH_SECONDS)

    def _stats_due(self, *, went_idle: bool) -> bool:
        now = self._clock()
        if not went_idle and now - self._stats_sent < self._stats_interval:
            return False
        self._stats_sent = now
        return True


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


def _ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _prepare_process(parent_pid: int) -> Callable[[], bool]:
    """Bind this process's life to the parent's; returns whether the parent has gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return lambda: os.getppid() != parent_pid


def _opened(open_: Callable[[], EngineCore]) -> Callable[[], EngineCore]:
    """Open the core now; what is returned tells what came of it."""
    future: Future[EngineCore] = Future()
    try:
        future.set_result(open_())
    except Exception as error:  # noqa: BLE001 - told as soon as somebody listens
        future.set_exception(error)
    return future.result


def _end_of_input() -> None:
    """Leave nothing to read on standard input."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)


def main() -> int:
    """Run one worker process; returns its exit status.

    All of it runs in a thread, whose stack can be larger than the system's default.
    """
    statuses: list[int] = []
    threading.stack_size(STACK)
    thread = threading.Thread(target=lambda: statuses.append(_main()), name="engine")
    _ignore_signals()
    thread.start()
    thread.join()
    return statuses[0] if statuses else EXIT_STEP_FAILED


def _main() -> int:
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSettings)
    orphaned = _prepare_process(settings.parent_pid)
    if orphaned():
        return EXIT_ORPHANED
    if not settings.exception_texts:
        hide_exception_texts()
    sys.path += [entry for entry in settings.import_path if entry not in sys.path]
    for name, value in THREAD_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    opened = _opened(lambda: open_core(settings.core_factory, settings.options))
    line = sys.stdin.buffer.readline()
    _end_of_input()
    if not line:
        return EXIT_ORPHANED
    connection = msgspec.json.decode(line, type=Connection)
    channel = PairChannel(connection.address)
    try:
        return serve(channel, opened, connection.heartbeat_interval, orphaned)
    finally:
        channel.close()


if __name__ == "__main__":
    sys.exit(main())
