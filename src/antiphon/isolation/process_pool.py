"""The pool: runs jobs in forked processes, several at once, and kills a process whose job is cancelled or too long.

A process does one job at a time and is kept, with its caches, for the next. When a process dies, only its own job is
lost. The pool belongs to one event loop.
"""

import asyncio
import signal
import time
from typing import Literal

import msgspec
import structlog
from anyio import CancelScope

from antiphon.isolation.fork_client import ForkServer, JobProcess, PreloadedForkServer
from antiphon.isolation.fork_server import (
    EXIT_JOB_FAILED,
    EXIT_NOT_FORKED,
    EXIT_OUT_OF_MEMORY,
    ForkServerSettings,
)
from antiphon.isolation.frames import FrameError

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


class _ProcessGroup:
    """The processes for one kind of job: at most ``size`` jobs run, at most ``max_waiting`` wait."""

    def __init__(self, size: int, max_waiting: int) -> None:
        self.waiting = 0
        self.idle: list[JobProcess] = []
        """Idle processes, the one used last at the end."""
        self._slots = asyncio.Semaphore(size)
        self._max_waiting = max_waiting

    async def acquire(self) -> None:
        """Wait for a slot, which :meth:`release` frees. Raises :class:`PoolFullError`."""
        if self.waiting >= self._max_waiting:
            raise PoolFullError
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Free the slot of a job for the next one."""
        self._slots.release()


class ProcessPool:
    """At most ``size`` processes for long jobs and ``short`` ones for short jobs. Close the pool at the end.

    Each process is forked when it is first needed. Long jobs delay no short ones, unless ``short`` is 0: then all jobs
    are long.
    """

    def __init__(
        self,
        settings: ForkServerSettings,
        *,
        size: int,
        max_waiting: int,
        short: int = 0,
        max_waiting_short: int = 0,
        preloaded: PreloadedForkServer | None = None,
    ) -> None:
        """Start nothing: :meth:`start` or the first job starts the fork server, or takes the preloaded one."""
        self._preloaded = preloaded
        self._settings = settings
        self._long = _ProcessGroup(size, max_waiting)
        self._short = _ProcessGroup(short, max_waiting_short) if short else self._long
        self._begun: dict[object, float] = {}
        """Start times (monotonic seconds) of the jobs that run or wait for their process to be prepared."""
        self._server: ForkServer | None = None
        self._closed = False

    @property
    def load(self) -> PoolLoad:
        """The numbers of running and waiting jobs now."""
        oldest = min(self._begun.values(), default=None)
        seconds = 0.0 if oldest is None else time.monotonic() - oldest
        waiting = sum(group.waiting for group in self._groups)
        return PoolLoad(running=len(self._begun), waiting=waiting, oldest_seconds=seconds)

    @property
    def _groups(self) -> set[_ProcessGroup]:
        return {self._long, self._short}

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
                started = None if self._preloaded is None else self._preloaded.take(self._settings)
                self._server = ForkServer(self._settings, started)
            except OSError as error:
                raise PoolUnavailableError from error

    async def prepared(self) -> None:
        """Wait until the fork server has prepared the handler.

        Raises :class:`antiphon.isolation.fork_client.PreparationError` and :class:`PoolUnavailableError`.
        """
        if self._server is None:
            self.start()
        assert self._server is not None
        try:
            await self._server.prepared()
        except OSError as error:
            raise PoolUnavailableError from error

    async def run(self, payload: bytes, *, short: bool = False) -> bytes:
        """Do one job and return its result.

        Raises :class:`JobLostError`, :class:`PoolFullError` and :class:`PoolUnavailableError`. When the caller is
        cancelled, the process is killed.
        """
        group = self._short if short else self._long
        await group.acquire()
        job = object()
        self._begun[job] = time.monotonic()
        try:
            return await self._run(payload, group)
        finally:
            del self._begun[job]
            group.release()

    async def _run(self, payload: bytes, group: _ProcessGroup) -> bytes:
        process = await self._take(group)
        try:
            result = await process.run(payload)
        except (TimeoutError, EOFError, OSError, FrameError) as error:
            raise await self._lost_error(process, error) from error
        except BaseException:
            with CancelScope(shield=True):  # the slot is free for the next job once this process has ended
                await process.end()
            raise
        self._keep(process, group)
        return result

    async def close(self) -> None:
        """End all processes; running jobs are lost. Idempotent."""
        self._closed = True
        self._drop_idle()
        server, self._server = self._server, None
        if server is not None:
            with CancelScope(shield=True):
                await server.close()

    async def _take(self, group: _ProcessGroup) -> JobProcess:
        """Return an idle process that is alive, else a new one."""
        while group.idle:
            process = group.idle.pop()
            if not process.ended:
                return process
            process.kill()
        self.start()
        assert self._server is not None
        try:
            return await self._server.fork()
        except OSError as error:  # no file descriptor is left, or the handler was not prepared in time
            raise PoolUnavailableError from error

    def _keep(self, process: JobProcess, group: _ProcessGroup) -> None:
        if self._closed:
            process.close()
        elif process.is_finished:
            process.kill()
        else:
            group.idle.append(process)

    def _drop_idle(self) -> None:
        for group in self._groups:
            while group.idle:
                group.idle.pop().close()

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
