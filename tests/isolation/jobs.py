"""Handlers for the tests of processes: each job is a command and its argument, as text."""

import ctypes
import os
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec

from antiphon.isolation.fork_server import (
    ForkServerSettings,
    Handler,
    JobLimits,
    RefusedError,
    ReportStage,
    limited,
    settings_for,
    when_idle,
)

MEBIBYTE = 1 << 20
PREPARED_WHEN_IDLE: list[bytes] = []
LIMITS = JobLimits(cpu_seconds=2, memory=256 * MEBIBYTE, stack=64 * MEBIBYTE)


class Prepared(msgspec.Struct):
    """The argument of the factory."""

    word: str


def open_handler(argument: bytes) -> Handler:
    """Return a handler that knows a word and counts the jobs of its process."""
    word = msgspec.json.decode(argument, type=Prepared).word
    numbers = count(1)
    kept: list[bytes] = []
    commands: dict[str, Callable[[str], bytes]] = {
        "echo": lambda text: text.encode(),
        "word": lambda _: word.encode(),
        "number": lambda _: str(next(numbers)).encode(),
        "pid": lambda _: str(os.getpid()).encode(),
        "spin": lambda _: _spin(),
        "sleep": lambda seconds: _sleep(float(seconds)),
        "allocate": lambda size: str(len(bytearray(int(size)))).encode(),
        "crash": lambda _: ctypes.string_at(0),
        "fail": _fail,
        "keep": lambda size: _keep(kept, int(size)),
        "kill": lambda _: _kill(),
        "send": _send,
        "shout": lambda _: _shout(),
        "babble": lambda _: _babble(),
        "idle": lambda _: str(len(PREPARED_WHEN_IDLE)).encode(),
    }

    def handle(payload: bytes, report_stage: ReportStage) -> bytes:
        name, _, rest = payload.decode().partition(" ")
        report_stage(name)
        return commands[name](rest)

    return handle


def open_slowly(argument: bytes) -> Handler:
    """Return the same handler after a second."""
    time.sleep(1)
    return open_handler(argument)


def open_in_parts(argument: bytes) -> Handler:
    """Prepare a part of the handler when the fork server is idle; the job ``idle`` counts these parts."""
    when_idle(lambda: PREPARED_WHEN_IDLE.append(argument))
    return open_handler(argument)


def decline(argument: bytes) -> Handler:
    """Refuse the argument with a reason."""
    raise RefusedError(f"Not {argument.decode()}.")


def open_endlessly(argument: bytes) -> Handler:
    """Exceed a limit of processor time."""
    with limited(JobLimits(cpu_seconds=1, memory=256 * MEBIBYTE)):
        _spin()
    return open_handler(argument)


def open_unlimited(argument: bytes) -> Handler:
    """Prepare the handler under limits that jobs do not keep."""
    with limited(JobLimits(cpu_seconds=1, memory=MEBIBYTE)):
        return open_handler(argument)


def refuse(argument: bytes) -> Handler:
    """Fail to prepare a handler."""
    raise ValueError(argument)


def settings(limits: JobLimits = LIMITS, factory: str = "open_handler") -> ForkServerSettings:
    """Return the settings of a fork server with these handlers."""
    return settings_for(f"tests.isolation.jobs:{factory}", Prepared("maple"), limits)


def _spin() -> bytes:
    while True:
        pass


def _sleep(seconds: float) -> bytes:
    time.sleep(seconds)
    return b""


def _fail(text: str) -> bytes:
    raise ValueError(text)


def _keep(kept: list[bytes], size: int) -> bytes:
    kept.append(b"x" * size)
    return str(os.getpid()).encode()


def _kill() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def _send(text: str) -> bytes:
    """Write a header to the socket directly, as native code that hostile bytes control might."""
    kind, size = text.split()
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, struct.pack("!cI", kind.encode(), int(size)))
    return _sleep(60)


def _babble() -> bytes:
    """Send a second result, soon after that of this job."""
    threading.Timer(0.1, _send, ("r 0",)).start()
    return b""


def _shout() -> bytes:
    while True:
        os.write(1, b"falcon\n" * 1000)
