"""The start of a worker process, and one that is started before the server is imported.

The process reads two lines of standard input: it loads its model from the first one, and connects to the client of the
second one (:class:`Connection`). So the model loads while the server is still being imported.
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
"""The callable that makes the core in a worker, as ``module:callable``."""
_COMMAND: Final = ("-P", "-u", "-X", "faulthandler", "-m", "antiphon.engine.worker.loop")


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The model of a worker process, and its environment."""

    options: EngineOptions
    core_factory: str = CORE_FACTORY
    """The callable that makes the core, as ``module:callable``."""
    parent_pid: int
    import_path: list[str]
    """The parent's ``sys.path``, whose missing entries the worker appends to its own."""
    exception_texts: bool = False
    """Whether the worker writes the texts of exceptions, which may quote a prompt or an answer."""


Start = Callable[[WorkerSettings], "subprocess.Popen[bytes]"]
"""Starts a process with these settings. Raises OSError when the system cannot start one."""


def settings_for(options: EngineOptions, core_factory: str = CORE_FACTORY) -> WorkerSettings:
    """Return the settings of a worker whose parent is this process."""
    return WorkerSettings(
        options=options,
        core_factory=core_factory,
        parent_pid=os.getpid(),
        import_path=sys.path,
        exception_texts=EXCEPTION_TEXTS.shown,
    )


def start_process(settings: WorkerSettings) -> "subprocess.Popen[bytes]":
    """Start a process, in a group of its own, that loads the model at once. Raises OSError.

    Linux kills it when the thread that started it ends.
    """
    process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, *_COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    write_line(process, settings)
    return process


def write_line(process: "subprocess.Popen[bytes]", message: msgspec.Struct) -> None:
    """Write one line of JSON to a process; without effect when it has ended, which its exit status shows."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(msgspec.json.encode(message) + b"\n")
        process.stdin.flush()


class PreloadedWorker:
    """A worker process that is started before it is needed, for the first caller with its settings.

    A context manager, which ends the process at its exit unless it was taken.
    """

    def __init__(self, settings: WorkerSettings, start: Start = start_process) -> None:
        """Start the process now. If the system cannot start one, :meth:`take` raises the error."""
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
        """Return the process, once and for its settings only, else a new one. Raises OSError."""
        if settings != self._settings:
            self.close()
        process, self._process = self._process, None
        return process or self._start(settings)

    def close(self) -> None:
        """End the process unless it was taken."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()
