"""A worker's process: what it is told as it starts, and one that starts before the server itself has.

The process loads its model from the first line of its standard input on; the second, :class:`Connection`, says where it
is awaited. So a model can be loading while whoever will use it is still being imported.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

import msgspec

from antiphon.engine.interface import EngineOptions
from antiphon.telemetry.exception_texts import EXCEPTION_TEXTS

CORE_FACTORY: Final = "antiphon.engine.worker.core:Core.open"
"""What makes the core inside a worker, as ``module:callable``."""
_COMMAND: Final = ("-P", "-u", "-X", "faulthandler", "-m", "antiphon.engine.worker.loop")


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker loads."""

    options: EngineOptions
    core_factory: str = CORE_FACTORY
    """``module:callable`` that makes a core of the options."""
    parent_pid: int
    import_path: list[str]
    """Where the parent finds modules; what is missing here is appended."""
    exception_texts: bool = False
    """Whether it may write what exceptions say, which may quote a prompt or an answer."""


Start = Callable[[WorkerSettings], "subprocess.Popen[bytes]"]
"""Gives a process with these settings. Raises OSError when the system cannot start one."""


def settings_for(options: EngineOptions, core_factory: str = CORE_FACTORY) -> WorkerSettings:
    """Give the settings of a worker of this process."""
    return WorkerSettings(
        options=options,
        core_factory=core_factory,
        parent_pid=os.getpid(),
        import_path=sys.path,
        exception_texts=EXCEPTION_TEXTS.shown,
    )


def start_process(settings: WorkerSettings) -> "subprocess.Popen[bytes]":
    """Start a process in a group of its own that loads at once. Raises OSError.

    Linux kills it with the thread that started it.
    """
    process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, *_COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    tell(process, settings)
    return process


def tell(process: "subprocess.Popen[bytes]", message: msgspec.Struct) -> None:
    """Write one line of JSON; a process that has gone tells so by its exit."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(msgspec.json.encode(message) + b"\n")
        process.stdin.flush()


class PreloadedWorker:
    """One worker's process that loads already, for the first who asks for one with its settings.

    Use it as a context manager: at its end the process is ended unless somebody has taken it.
    """

    def __init__(self, settings: WorkerSettings, start: Start = start_process) -> None:
        """Start it now. A system that cannot start a process is told to who asks for one."""
        self._settings = settings
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = start(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, settings: WorkerSettings) -> "subprocess.Popen[bytes]":
        """Give the process, once, to who asks for its settings; everybody else gets a new one. Raises OSError."""
        if settings != self._settings:
            self.close()
        process, self._process = self._process, None
        return process or self._start(settings)

    def close(self) -> None:
        """End the process that nobody has taken."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()
