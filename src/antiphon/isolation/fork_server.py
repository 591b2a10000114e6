"""The fork server: prepares a handler once, then forks processes that run jobs with it under limits.

``python -m antiphon.isolation.fork_server DESCRIPTOR`` reads :class:`ForkServerSettings` as one line of JSON from
standard input. The descriptor is a socket of sequenced packets, over which the parent then asks:

- ``fork N``, with one end of a stream socket: process number N reads jobs from that socket until its end;
- ``end N``: kills that process; answered by ``N STATUS``, its exit status or minus its signal's number.

A fork shares the memory of everything that was prepared, and starts within milliseconds, so a process that is killed
costs little. The server has one thread, as forking demands. Its forks die with it, and it ends with its parent.
"""

import ctypes
import importlib
import operator
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from math import ceil
from typing import Final, NoReturn

import msgspec

from antiphon.isolation import frames
from antiphon.telemetry.exception_texts import hide_exception_texts, write_exception

MAX_COMMAND: Final = 64
"""Bytes of one packet from the parent."""
EXIT_JOB_FAILED: Final = 70
EXIT_PREPARATION_FAILED: Final = 71
EXIT_OUT_OF_MEMORY: Final = 72
_PR_SET_PDEATHSIG: Final = 1
_STATM_PAGES: Final = "/proc/self/statm"

Stage = Callable[[str], None]
"""Takes the name of the part of a job that begins now, for the report of a job that does not survive it."""
Handler = Callable[[bytes, Stage], bytes]
"""Does one job: takes its payload and returns its result. An exception of its own ends the process."""


class JobLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the process that does a job."""

    cpu_seconds: int
    """Seconds of processor time of one job; the kernel kills a process that needs more."""
    memory: int
    """Bytes of address space beside the prepared ones and the stack."""
    stack: int
    """Bytes of stack of the thread that does the jobs; memory only as far as it is used."""


class ForkServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The handler to prepare, and the limits of its jobs."""

    factory: str
    """``module:callable`` that is called with ``argument`` and returns the :data:`Handler`."""
    argument: str
    """JSON, for the factory to decode."""
    limits: JobLimits
    parent_pid: int
    import_path: list[str]
    """Where the parent finds modules; entries that are missing here are appended."""
    exception_texts: bool = False
    """Whether the texts of exceptions, which may quote a prompt, are written."""


def prepare(settings: ForkServerSettings) -> Handler:
    """Import the factory and call it. Raises whatever it raises."""
    module_name, _, path = settings.factory.partition(":")
    make = operator.attrgetter(path)(importlib.import_module(module_name))
    handler: Handler = make(settings.argument.encode())
    return handler


def serve(control: socket.socket, handler: Handler, limits: JobLimits) -> None:
    """Obey the parent until it closes its end."""
    pids: dict[int, int] = {}
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, MAX_COMMAND, 1)
        if not command:
            return
        name, _, number = command.decode().partition(" ")
        if name == "fork":
            pids[int(number)] = _fork(control, descriptors[0], handler, limits)
        else:
            control.send(f"{number} {_end(pids.pop(int(number)))}".encode())


def _fork(control: socket.socket, descriptor: int, handler: Handler, limits: JobLimits) -> int:
    server_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        control.close()
        _run(socket.socket(fileno=descriptor), handler, limits, server_pid)
    os.close(descriptor)
    return pid


def _end(pid: int) -> int:
    """Kill a process, which may have ended by itself, and return how it ended.

    The pid names no other process: one that has ended keeps it until it is waited for, which happens only here.
    """
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _run(jobs: socket.socket, handler: Handler, limits: JobLimits, server_pid: int) -> NoReturn:
    """Do jobs in a thread with a stack of its own size, then exit without the clean-up of the forked interpreter."""
    status = EXIT_JOB_FAILED
    try:
        _die_with_parent()
        if os.getppid() == server_pid:
            _limit_memory(limits)
            threading.stack_size(limits.stack)
            statuses: list[int] = []
            thread = threading.Thread(target=lambda: statuses.append(do_jobs(jobs, handler, limits.cpu_seconds)))
            thread.start()
            thread.join()
            status = statuses[0]
    finally:
        os._exit(status)


def do_jobs(jobs: socket.socket, handler: Handler, cpu_seconds: int) -> int:
    """Do one job after the other until the parent closes the socket; returns the exit status."""
    stream = jobs.makefile("rb")

    def enter(stage: str) -> None:
        jobs.sendall(frames.pack(frames.STAGE, stage.encode()))

    while (message := frames.read(stream)) is not None:
        if cpu_seconds:
            limit_processor_time(cpu_seconds)
        try:
            result = handler(message[1], enter)
        except MemoryError:
            return EXIT_OUT_OF_MEMORY
        except Exception as error:  # noqa: BLE001 (the process ends, and tells the parent by its status)
            write_exception(error)
            return EXIT_JOB_FAILED
        jobs.sendall(frames.pack(frames.RESULT, result))
    return 0


def limit_processor_time(seconds: int) -> None:
    """Let this process run ``seconds`` of processor time from now on; SIGXCPU ends it after that."""
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(time.process_time()) + seconds, resource.RLIM_INFINITY))


def _limit_memory(limits: JobLimits) -> None:
    with open(_STATM_PAGES, encoding="ascii") as file:  # noqa: PTH123 (a forked process does as little as it can)
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limits.stack + limits.memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Run one fork server; returns its exit status."""
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
    except Exception as error:  # noqa: BLE001 (the parent learns of it by the status)
        write_exception(error)
        return EXIT_PREPARATION_FAILED
    serve(control, handler, settings.limits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
