"""The pool: runs jobs in forked processes, several at once, and kills a process whose job is cancelled or too long.

A process does one job at a time and is kept, with its caches, for the next. When a process dies, only its own job is
lost. The pool belongs to one event loop.
"""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Literal

import msgspec
import structlog
from anyio import CancelScope, CapacityLimiter

from antiphon.isolation.fork_client import ForkServer, JobProcess
from antiphon.isolation.fork_server import (
    EXIT_JOB_FAILED,
    EXIT_NOT_FORKED,
    EXIT_OUT_OF_MEMORY,
    ForkServerSettings,
    JobLimits,
)
from antiphon.isolation.frames import FrameError
from antiphon.telemetry.exception_texts import EXCEPTION_TEXTS

Cause = Literal["time", "memory", "crash", "fault"]
"""The cause of a lost job: too much processor time, too much memory, a crash of native code, or a fault of ours."""

_log = structlog.get_logger()


class JobLostError(Exception):
    """The job's process died of it. ``stage`` is the last stage that the handler reported."""

    def __init__(self, cause: Cause, stage: str) -> None:
        super().__init__(f"{cause} in {stage or 'the beginning'}")
        self.cause: Cause = cause
        self.stage = stage


class PoolFullError(Exception):
    """The queue of waiting jobs is full."""


class PoolUnavailableError(Exception):
    """No process can be started, or something other than the job ended its process."""


class PoolLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a pool now."""

    running: int = 0
    waiting: int = 0
    oldest_seconds: float = 0.0
    """Seconds that the oldest running job has run."""


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


class ProcessPool:
    """At most ``size`` processes, each forked when it is first needed. Close the pool at the end."""

    def __init__(self, settings: ForkServerSettings, *, size: int, max_waiting: int) -> None:
        """Start nothing: :meth:`start` or the first job starts the fork server."""
        self._settings = settings
        self._slots = CapacityLimiter(size)
        self._max_waiting = max_waiting
        self._idle: list[JobProcess] = []
        self._begun: dict[object, float] = {}
        """Start times (monotonic seconds) of the jobs that run or wait for their process to be prepared."""
        self._server: ForkServer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def load(self) -> PoolLoad:
        """The numbers of running and waiting jobs now."""
        slots = self._slots.statistics()
        oldest = min(self._begun.values(), default=None)
        seconds = 0.0 if oldest is None else time.monotonic() - oldest
        return PoolLoad(running=slots.borrowed_tokens, waiting=slots.tasks_waiting, oldest_seconds=seconds)

    def start(self) -> None:
        """Start the fork server, which prepares the handler. Raises :class:`PoolUnavailableError`."""
        if self._closed:
            raise PoolUnavailableError
        if self._server is not None and self._server.ended:
            self._drop_idle()
            self._server.release()
            self._server = None
        if self._server is None:
            try:
                self._server = ForkServer(self._settings)
            except OSError as error:
                raise PoolUnavailableError from error

    def start_later(self, seconds: float) -> None:
        """Start the fork server after ``seconds``, unless a job starts it before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_quietly)

    def _start_quietly(self) -> None:
        with suppress(PoolUnavailableError):  # the first job raises it again
            self.start()

    async def run(self, payload: bytes) -> bytes:
        """Do one job and return its result.

        Raises :class:`JobLostError`, :class:`PoolFullError` and :class:`PoolUnavailableError`. When the caller is
        cancelled, the process is killed.
        """
        if self._slots.statistics().tasks_waiting >= self._max_waiting:
            raise PoolFullError
        async with self._slots:
            job = object()
            self._begun[job] = time.monotonic()
            try:
                return await self._run(payload)
            finally:
                del self._begun[job]

    async def _run(self, payload: bytes) -> bytes:
        process = await self._take()
        try:
            result = await process.run(payload)
        except (TimeoutError, EOFError, OSError, FrameError) as error:
            raise await self._lost_error(process, error) from error
        except BaseException:
            with CancelScope(shield=True):  # the slot is free for the next job once this process has ended
                await process.end()
            raise
        self._keep(process)
        return result

    async def close(self) -> None:
        """End all processes; running jobs are lost. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._drop_idle()
        server, self._server = self._server, None
        if server is not None:
            with CancelScope(shield=True):
                await server.close()

    async def _take(self) -> JobProcess:
        """Return an idle process that is alive, else a new one."""
        while self._idle:
            process = self._idle.pop()
            if not process.ended:
                return process
            process.kill()
        self.start()
        assert self._server is not None
        try:
            return await self._server.fork()
        except OSError as error:  # no file descriptor is left, or the handler was not prepared in time
            raise PoolUnavailableError from error

    def _keep(self, process: JobProcess) -> None:
        if self._closed:
            process.close()
        elif process.is_finished:
            process.kill()
        else:
            self._idle.append(process)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _lost_error(self, process: JobProcess, error: Exception) -> Exception:
        """Kill the process and return the error for its lost job."""
        with CancelScope(shield=True):
            status = await process.end()
        cause = "fault" if isinstance(error, FrameError) else _cause(status)
        _log.warning("job_process_lost", cause=cause, status=status, stage=process.stage, error=type(error).__name__)
        return PoolUnavailableError() if cause is None else JobLostError(cause, process.stage)


def _cause(status: int | None) -> Cause | None:
    """Return the cause of a lost job from its process's status; None when something other than the job ended it.

    SIGKILL comes from this pool after WALL_SECONDS, from an operator, or from the kernel when the machine has no memory
    left. A job that exceeds its own limits ends with another status.
    """
    if status in {None, EXIT_NOT_FORKED, -signal.SIGKILL}:
        return None
    if status == EXIT_OUT_OF_MEMORY:
        return "memory"
    if status == EXIT_JOB_FAILED:
        return "fault"
    return "time" if status == -signal.SIGXCPU else "crash"
