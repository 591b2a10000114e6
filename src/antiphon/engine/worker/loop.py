"""The worker: a loop over one core and one channel, and the entry point of its process.

``python -m antiphon.engine.worker.loop`` reads two lines of JSON from standard input: the :class:`WorkerSettings`, from
which it loads the model at once, and the :class:`Connection`. The process ends on :class:`Shutdown`, when a step fails
(every request finishes with ``error`` first), when the model cannot be loaded, and when its parent dies. It ignores
SIGINT and SIGTERM, which reach the whole process group: the API process still needs its worker while it drains.
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
"""Variables that the C libraries read when they are loaded. They do not replace values of the environment.

``GOMP_SPINCOUNT`` limits how long a thread of a decode step spins while it waits for the others, which may need its
core (measured in docs/performance.md). ``GGML_NO_BACKTRACE`` keeps llama.cpp from running a debugger when an assertion
fails, whose pages of output would hide the assertion."""

EXIT_SHUTDOWN: Final = 0
EXIT_STEP_FAILED: Final = 70
EXIT_LOAD_FAILED: Final = 71
EXIT_ORPHANED: Final = 72

STATS_INTERVAL: Final = 0.25
"""Seconds between two statistics at least, while requests run."""
IDLE_SECONDS: Final = 0.1
"""Seconds without requests before the first idle step, which would delay a request that follows at once."""
FLUSH_SECONDS: Final = 1.0
"""Seconds that a worker waits at its end for its last messages to be sent."""
OUT_OF_RESOURCES: Final = (MemoryError, OSError, RuntimeError, ImportError)
"""Errors that no request causes, such as a thread that cannot be started: the next request would fail as well."""
STACK: Final = 1 << 28
"""Bytes of each thread's stack, of which only the used ones take memory. llama.cpp tokenizes the text that a grammar
forces; its regular expressions need about 300 bytes for each of at most 524,288 characters."""
_PR_SET_PDEATHSIG: Final = 1


class EngineCore(Protocol):
    """The part of :class:`antiphon.engine.worker.core.Core` that the loop uses."""

    @property
    def info(self) -> ModelInfo:
        """The loaded model and its settings."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do or report anything."""

    def add(self, request: GenerateRequest) -> None:
        """Queue a request. An error concerns this request alone, unless it is in ``OUT_OF_RESOURCES``."""

    def abort(self, request_id: str, index: int | None) -> None:
        """End one choice of a request, or all; an unknown id has no effect."""

    def step(self) -> list[StreamEvent]:
        """Run one step and return its events. An error concerns every request."""

    def idle_step(self) -> bool:
        """Prepare later steps for a few milliseconds while no request runs; return False when nothing is left to do."""

    def abort_all(self, reason: FinishReason, message: str) -> list[StreamEvent]:
        """End every choice and return the events that no step has returned."""

    def stats(self) -> EngineStats:
        """Return what is in use now, and the counts since the start."""

    def close(self) -> None:
        """Release the model."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The address of the client, and the interval of the heartbeat."""

    address: Address
    heartbeat_interval: float
    """Seconds between two statistics at most, while no step runs."""


def open_core(factory: str, options: EngineOptions) -> EngineCore:
    """Make a core with the callable of ``module:callable``, from the options, a clock and a source of seeds.

    The module is imported here, after the environment of its libraries has been set.
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
    """Load the model, report it, and run the loop; return the exit status."""
    try:
        core = open_()
    except Exception as error:  # noqa: BLE001 - the operator must read any error
        traceback.print_exc()
        channel.send([LoadFailed(message=_describe(error))])
        channel.flush(FLUSH_SECONDS)
        return EXIT_LOAD_FAILED
    channel.send([Ready(info=core.info), core.stats()])
    return Worker(core, channel, heartbeat_interval=heartbeat_interval, orphaned=orphaned).run()


class Worker:
    """The loop: it receives commands before each step and sends one message after it."""

    def __init__(
        self,
        core: EngineCore,
        channel: WorkerChannel,
        *,
        heartbeat_interval: float = 1.0,
        orphaned: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold a core and a channel; ``orphaned`` returns whether the parent has died, at each report of statistics."""
        self._core = core
        self._channel = channel
        self._heartbeat_interval = heartbeat_interval
        self._stats_interval = min(STATS_INTERVAL, heartbeat_interval)
        self._orphaned = orphaned
        self._clock = clock
        self._stats_sent = clock()

    def run(self) -> int:
        """Run steps until the end; return the exit status. Closes the core unless a step failed."""
        while True:
            commands = self._receive()
            shutdown = any(isinstance(command, Shutdown) for command in commands)
            messages: list[FromWorker] = []
            try:
                messages += self._take(commands)
                messages += self._core.step() if self._core.has_work and not shutdown else ()
            except Exception as error:  # noqa: BLE001 - any error of a step ends every request
                write_exception(error)
                reason = f"The engine failed: {type(error).__name__}."
                self._send_last([*messages, *self._core.abort_all("error", reason)])
                return EXIT_STEP_FAILED
            if shutdown:
                self._send_last([*messages, *self._core.abort_all("abort", "")])
                self._core.close()
                return EXIT_SHUTDOWN
            now, went_idle = self._clock(), bool(messages) and not self._core.has_work
            if went_idle or now - self._stats_sent >= self._stats_interval:
                messages.append(self._core.stats())
                self._stats_sent = now
                if self._orphaned():
                    return EXIT_ORPHANED
            if messages:
                self._channel.send(messages)

    def _receive(self) -> list[ToWorker]:
        """Receive commands; without requests wait for them, with idle steps in between, for a heartbeat at most."""
        if self._core.has_work:
            return self._channel.receive(0.0)
        idle = min(IDLE_SECONDS, self._heartbeat_interval)
        commands = self._channel.receive(idle)
        until = self._clock() + self._heartbeat_interval
        while not commands and self._core.idle_step():
            commands = self._channel.receive(0.0)
            if self._clock() >= until:
                return commands
        return commands or self._channel.receive(self._heartbeat_interval - idle)

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
        except Exception as error:  # noqa: BLE001 - the error ends this request alone
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


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


def _ignore_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _prepare_process(parent_pid: int) -> Callable[[], bool]:
    """Let Linux kill this process with its parent; return a function that says whether the parent has died."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return lambda: os.getppid() != parent_pid


def _opened(open_: Callable[[], EngineCore]) -> Callable[[], EngineCore]:
    """Open the core now; return a function that returns it or raises its error."""
    future: Future[EngineCore] = Future()
    try:
        future.set_result(open_())
    except Exception as error:  # noqa: BLE001 - reported once the client is connected
        future.set_exception(error)
    return future.result


def _close_input() -> None:
    """Replace standard input by an empty one."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, sys.stdin.fileno())
    os.close(empty)


def main() -> int:
    """Run one worker process; return its exit status.

    It runs in a thread, whose stack can be larger than the main thread's.
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
    _close_input()
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
