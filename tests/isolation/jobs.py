"""Handlers for the tests of processes: each job is a short text that says what to do."""

import ctypes
import os
import time
from collections.abc import Callable
from itertools import count

import msgspec

from antiphon.isolation.fork_server import ForkServerSettings, Handler, JobLimits, Stage
from antiphon.isolation.process_pool import settings_for

MEBIBYTE = 1 << 20
LIMITS = JobLimits(cpu_seconds=2, memory=256 * MEBIBYTE, stack=64 * MEBIBYTE)


class Prepared(msgspec.Struct):
    """The argument of the factory."""

    word: str


def open_handler(argument: bytes) -> Handler:
    """Prepare a word, and a count of the jobs that this process has done."""
    word = msgspec.json.decode(argument, type=Prepared).word
    numbers = count(1)
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
    }

    def handle(payload: bytes, enter: Stage) -> bytes:
        name, _, rest = payload.decode().partition(" ")
        enter(name)
        return commands[name](rest)

    return handle


def refuse(argument: bytes) -> Handler:
    """Fail to prepare anything."""
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
