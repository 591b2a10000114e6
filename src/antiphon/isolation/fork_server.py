"""The fork server: prepares a handler once, then forks processes that run jobs with it under limits.

``python -m antiphon.isolation.fork_server DESCRIPTOR`` reads :class:`ForkServerSettings` as one line of JSON from
standard input. The descriptor is a socket of sequenced packets. The server sends :data:`PREPARED` over it once the
handler is prepared, or :data:`REFUSED` with the reason when the factory raises :class:`RefusedError`. Then the parent
sends commands:

- ``fork N``, with one end of a stream socket: start process number N, which reads jobs from that socket until its end;
- ``end N``: kill that process; the answer is ``N STATUS``, its exit status or minus its signal's number.

A fork shares the memory of the prepared handler and starts within milliseconds, so that killing a process is cheap. The
server has one thread, because a fork copies only one. Its forks die with it, and it ends with its parent.
"""

import ctypes
import importlib
import operator
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Final, NoReturn, Protocol

import msgspec

from antiphon.isolation import frames
from antiphon.telemetry.exception_texts import EXCEPTION_TEXTS, hide_exception_texts, write_exception

MAX_COMMAND: Final = 64
"""Bytes of one packet from the parent."""
MAX_ANSWER: Final = 4096
"""Bytes of one packet to the parent."""
EXIT_JOB_FAILED: Final = 70
EXIT_PREPARATION_FAILED: Final = 71
EXIT_OUT_OF_MEMORY: Final = 72
EXIT_NOT_FORKED: Final = 73
"""The status of a process that the kernel refused to fork."""
PREPARED: Final = b"prepared"
REFUSED: Final = b"refused "
"""Followed by the reason, UTF-8."""
IDLE_SECONDS: Final = 5.0
"""Seconds without a command after which the fork server calls the functions of :func:`when_idle`."""
KEPT_SHARE: Final = 4
"""A process ends after a job that leaves more than 1/KEPT_SHARE of a job's memory in use: caches, fragments, stack."""
_PR_SET_PDEATHSIG: Final = 1
_STATM_PAGES: Final = "/proc/self/statm"

ReportStage = Callable[[str], None]
"""Reports the name of the stage of a job that begins now; the error of a lost job names it."""
Handler = Callable[[bytes, ReportStage], bytes]
"""Does one job: takes its payload and returns its result. An exception ends the process."""


class RefusedError(Exception):
    """A factory refuses its argument: the reason, which the operator reads."""


class JobLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the process that does a job."""

    cpu_seconds: int
    """Processor time of one job in seconds; the kernel kills a process that needs more."""
    memory: int
    """Bytes of address space that one job may add to the process."""
    stack: int = 0
    """Bytes of stack of the thread that does the jobs, 0 for the system's default; only the used part takes memory."""


class ForkServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The handler to prepare, and the limits of its jobs."""

    factory: str
    """``module:callable``; called with ``argument``, it returns the :data:`Handler`."""
    argument: str
    """JSON, which the factory decodes."""
    limits: JobLimits
    parent_pid: int
    import_path: list[str]
    """The parent's ``sys.path``; entries that are missing here are appended."""
    exception_texts: bool = False
    """Whether texts of exceptions, which may quote a prompt, are written."""


def settings_for(factory: str, argument: object, limits: JobLimits) -> ForkServerSettings:
    """Return the settings of a fork server of this process; ``argument`` must be encodable as JSON."""
    return ForkServerSettings(
        factory=factory,
        argument=msgspec.json.encode(argument).decode(),
        limits=limits,
        parent_pid=os.getpid(),
        import_path=sys.path,
        exception_texts=EXCEPTION_TEXTS.shown,
    )


def prepare(settings: ForkServerSettings) -> Handler:
    """Import the factory, call it and return the handler. Exceptions of the factory pass through."""
    module_name, _, path = settings.factory.partition(":")
    make = operator.attrgetter(path)(importlib.import_module(module_name))
    handler: Handler = make(settings.argument.encode())
    return handler


_deferred: Final[list[Callable[[], None]]] = []


def when_idle(prepare: Callable[[], None]) -> None:
    """Call a function that prepares a part of the handler once the fork server is idle, so that first jobs come sooner.

    A process that is forked before prepares that part by itself when it needs it.
    """
    _deferred.append(prepare)


class Restraint(Protocol):
    """Limits the jobs of this process."""

    def begin_job(self) -> None:
        """Limit the job that begins."""

    def has_excess_memory(self) -> bool:
        """Return whether jobs have left so much memory in use that the process should end."""


class ProcessRestraint:
    """Limits each job by the kernel's limits of this process."""

    def __init__(self, limits: JobLimits) -> None:
        """Measure the memory of the process before its first job."""
        self._limits = limits
        _, self._resident = _used_memory()

    def begin_job(self) -> None:
        """Limit the processor time and the memory of the job that begins."""
        limit_processor_time(self._limits.cpu_seconds)
        size, _ = _used_memory()
        _limit(resource.RLIMIT_AS, size + self._limits.memory)

    def has_excess_memory(self) -> bool:
        """Return whether jobs have left more than 1/:data:`KEPT_SHARE` of a job's memory in use."""
        _, resident = _used_memory()
        return resident - self._resident > self._limits.memory // KEPT_SHARE

    def lift(self) -> None:
        """Remove the limits, as far as the hard limits of the whole server allow."""
        for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (hard, hard))


@contextmanager
def limited(limits: JobLimits) -> Iterator[None]:
    """Limit the processor time of the block, beyond which the kernel kills the process, and its memory."""
    restraint = ProcessRestraint(limits)
    restraint.begin_job()
    try:
        yield
    finally:
        restraint.lift()


def serve(control: socket.socket, handler: Handler, limits: JobLimits) -> None:
    """Carry out the parent's commands until it closes the socket."""
    control.send(PREPARED)
    pids: dict[int, int | None] = {}
    while True:
        if _deferred and not select.select([control], [], [], IDLE_SECONDS)[0]:
            _deferred.pop(0)()
            continue
        command, descriptors, _, _ = socket.recv_fds(control, MAX_COMMAND, 1)
        if not command:
            return
        name, _, number = command.decode().partition(" ")
        if name == "fork":
            pids[int(number)] = _fork(control, descriptors[0], handler, limits)
        else:
            control.send(f"{number} {_end(pids.pop(int(number)))}".encode())


def _fork(control: socket.socket, descriptor: int, handler: Handler, limits: JobLimits) -> int | None:
    """Return the new process's pid; None when the kernel refuses, and the parent then reads the end of the socket."""
    server_pid = os.getpid()
    pid = None
    try:
        pid = os.fork()
    except OSError as error:
        write_exception(error)
    if pid == 0:
        control.close()
        _run(socket.socket(fileno=descriptor), handler, limits, server_pid)
    os.close(descriptor)
    return pid


def _end(pid: int | None) -> int:
    """Kill a process, which may have ended, and return its exit status or minus its signal's number.

    Only this function waits for the process, so its pid cannot belong to another process yet.
    """
    if pid is None:
        return EXIT_NOT_FORKED
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _run(jobs: socket.socket, handler: Handler, limits: JobLimits, server_pid: int) -> NoReturn:
    """Do jobs in a thread with the limit's stack size; then exit without the clean-up of the forked interpreter."""
    status = EXIT_JOB_FAILED
    try:
        _die_with_parent()
        if os.getppid() == server_pid:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            threading.stack_size(limits.stack)
            statuses: list[int] = []
            restraint = ProcessRestraint(limits)
            thread = threading.Thread(target=lambda: statuses.append(do_jobs(jobs, handler, restraint)))
            thread.start()
            thread.join()
            status = statuses[0]
    finally:
        os._exit(status)


def do_jobs(jobs: socket.socket, handler: Handler, restraint: Restraint) -> int:
    """Do jobs until the parent closes the socket or too much memory stays in use; return the exit status."""
    stream = jobs.makefile("rb")

    def report_stage(stage: str) -> None:
        jobs.sendall(frames.pack(frames.STAGE, stage.encode()))

    while (message := frames.read(stream)) is not None:
        restraint.begin_job()
        try:
            result = handler(message[1], report_stage)
        except MemoryError:
            return EXIT_OUT_OF_MEMORY
        except Exception as error:  # noqa: BLE001 (the parent learns of it by the exit status)
            write_exception(error)
            return EXIT_JOB_FAILED
        last = restraint.has_excess_memory()
        jobs.sendall(frames.pack(frames.LAST_RESULT if last else frames.RESULT, result))
        if last:
            return 0
    return 0


def limit_processor_time(seconds: int) -> None:
    """Limit this process to ``seconds`` more of processor time; SIGXCPU ends it after that."""
    _limit(resource.RLIMIT_CPU, ceil(time.process_time()) + seconds)


def _limit(kind: int, amount: int) -> None:
    """Limit a resource to ``amount``, or to the hard limit of the whole server if that is lower."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))


def _used_memory() -> tuple[int, int]:
    """Return the size of this process's address space and of its resident memory in bytes."""
    with open(_STATM_PAGES, encoding="ascii") as file:  # noqa: PTH123 (cheaper in a forked process)
        size, resident, *_ = file.read().split()
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Run one fork server; return its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=ForkServerSettings)
    _die_with_parent()
    if os.getppid() != settings.parent_pid:
        return 0
    if not settings.exception_texts:
        hide_exception_texts()
    sys.path += [entry for entry in settings.import_path if entry not in sys.path]
    try:
        handler = prepare(settings)
    except RefusedError as error:
        control.send((REFUSED + str(error).encode(errors="replace"))[:MAX_ANSWER])
        return EXIT_PREPARATION_FAILED
    except Exception as error:  # noqa: BLE001 (the parent learns of it by the exit status)
        write_exception(error)
        return EXIT_PREPARATION_FAILED
    serve(control, handler, settings.limits)
    return 0


if __name__ == "__main__":
    from antiphon.isolation import fork_server  # noqa: PLW0406 (factories import that module, and not this copy)

    sys.exit(fork_server.main())
