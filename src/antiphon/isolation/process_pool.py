"""The pool: runs jobs in forked processes, several at once, and kills a process whose job is cancelled or too long.

A process does one job at a time and is kept for the next, with what it has cached. One that dies takes only its own
job with it. All of it lives on one event loop.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from typing import Final, Literal

import anyio
import msgspec
import structlog
from anyio import CancelScope, CapacityLimiter

from antiphon.isolation import frames
from antiphon.isolation.fork_server import (
    EXIT_JOB_FAILED,
    EXIT_NOT_FORKED,
    EXIT_OUT_OF_MEMORY,
    MAX_COMMAND,
    PREPARED,
    ForkServerSettings,
    JobLimits,
)
from antiphon.isolation.frames import FrameError
from antiphon.isolation.process_output import ProcessOutput
from antiphon.telemetry.exception_texts import EXCEPTION_TEXTS

WALL_SECONDS: Final = 120.0
"""Seconds after which a process is killed although preparing it, or its job, has used little processor time: it was
stopped, or the machine is overloaded."""
END_SECONDS: Final = 5.0
"""Seconds that the fork server may take to end a process; then it is killed with all its forks."""
_POLL_SECONDS: Final = 0.05
_COMMAND: Final = ("-P", "-u", "-X", "faulthandler", "-m", "antiphon.isolation.fork_server")

Cause = Literal["time", "memory", "crash", "fault"]
"""Why a job was lost: it took too much processor time or memory, crashed native code, or met a fault of ours."""

_log = structlog.get_logger()


class JobLostError(Exception):
    """The process died over the job. ``stage`` is the part that it was in, as the handler named it."""

    def __init__(self, cause: Cause, stage: str) -> None:
        super().__init__(f"{cause} in {stage or 'the beginning'}")
        self.cause: Cause = cause
        self.stage = stage


class PoolFullError(Exception):
    """As many jobs wait as may."""


class PoolUnavailableError(Exception):
    """No process can be started, or the job's was ended by something else than the job."""


class PoolLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a pool now."""

    running: int = 0
    waiting: int = 0
    oldest_seconds: float = 0.0
    """How long the job that began first among the running ones has run."""


def settings_for(factory: str, argument: object, limits: JobLimits) -> ForkServerSettings:
    """Return the settings of a fork server of this process; ``argument`` is anything that JSON can say, or a Struct."""
    return ForkServerSettings(
        factory=factory,
        argument=msgspec.json.encode(argument).decode(),
        limits=limits,
        parent_pid=os.getpid(),
        import_path=sys.path,
        exception_texts=EXCEPTION_TEXTS.shown,
    )


class ProcessPool:
    """At most ``size`` processes, each forked when it is first needed; close the pool at the end."""

    def __init__(self, settings: ForkServerSettings, *, size: int, max_waiting: int) -> None:
        """Hold the settings; :meth:`start` or the first job starts the fork server."""
        self._settings = settings
        self._slots = CapacityLimiter(size)
        self._max_waiting = max_waiting
        self._idle: list[_JobProcess] = []
        self._begun: dict[object, float] = {}
        """When the jobs that run, or for which a process is prepared, began."""
        self._server: _ForkServer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def load(self) -> PoolLoad:
        """The jobs that run and wait now."""
        slots = self._slots.statistics()
        oldest = min(self._begun.values(), default=None)
        seconds = 0.0 if oldest is None else time.monotonic() - oldest
        return PoolLoad(running=slots.borrowed_tokens, waiting=slots.tasks_waiting, oldest_seconds=seconds)

    def start(self) -> None:
        """Start the fork server, which prepares the handler from now on. Raises :class:`PoolUnavailableError`."""
        if self._closed:
            raise PoolUnavailableError
        if self._server is not None and self._server.ended:
            self._drop_idle()
            self._server.release()
            self._server = None
        if self._server is None:
            try:
                self._server = _ForkServer(self._settings)
            except OSError as error:
                raise PoolUnavailableError from error

    def start_later(self, seconds: float) -> None:
        """Start the fork server in so many seconds, unless a job comes before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_quietly)

    def _start_quietly(self) -> None:
        with suppress(PoolUnavailableError):  # the first job learns of it
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
            with anyio.fail_after(WALL_SECONDS):
                result = await process.run(payload)
        except (TimeoutError, EOFError, OSError, FrameError) as error:
            raise await self._lost(process, error) from error
        except BaseException:
            with CancelScope(shield=True):  # the next job has the slot once this process has gone
                await process.end()
            raise
        self._keep(process)
        return result

    async def close(self) -> None:
        """End all processes; jobs that run are lost. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._drop_idle()
        server, self._server = self._server, None
        if server is not None:
            with CancelScope(shield=True):
                await server.close()

    async def _take(self) -> "_JobProcess":
        """Return an idle process that lives, else a new one."""
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

    def _keep(self, process: "_JobProcess") -> None:
        if self._closed:
            process.close()
        elif process.did_its_last:
            process.kill()
        else:
            self._idle.append(process)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _lost(self, process: "_JobProcess", error: Exception) -> Exception:
        """Kill the process and return the error that says why its job is lost."""
        with CancelScope(shield=True):
            status = await process.end()
        cause = "fault" if isinstance(error, FrameError) else _cause(status)
        _log.warning("job_process_lost", cause=cause, status=status, stage=process.stage, error=type(error).__name__)
        return PoolUnavailableError() if cause is None else JobLostError(cause, process.stage)


class _JobProcess:
    """One forked process and the stream to it."""

    def __init__(self, server: "_ForkServer", number: int, stream: socket.socket) -> None:
        self.stage = ""
        """The part of the job that it has begun last."""
        self.did_its_last = False
        """Whether it ends after the job that it has done."""
        self._server = server
        self._number = number
        self._socket = stream
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def ended(self) -> bool:
        """Whether the process has closed its stream while it had nothing to do."""
        return self._stream is not None and self._stream[0].at_eof()

    async def run(self, payload: bytes) -> bytes:
        """Do one job. Raises EOFError or OSError when the process ends, FrameError for nonsense."""
        self.stage = ""
        if self._stream is None:
            self._stream = await asyncio.open_connection(sock=self._socket)
        reader, writer = self._stream
        writer.write(frames.pack(frames.JOB, payload))
        while True:
            kind, size = frames.unpack_answer(await reader.readexactly(frames.HEADER_SIZE))
            content = await reader.readexactly(size)
            if kind != frames.STAGE:
                self.did_its_last = kind == frames.LAST_RESULT
                return content
            self.stage = content.decode(errors="replace")

    def close(self) -> None:
        """Close the stream, at whose end an idle process ends by itself."""
        if self._stream is None:
            self._socket.close()
        else:
            self._stream[1].transport.abort()

    def kill(self) -> None:
        """Kill the process, without waiting for its end."""
        self.close()
        self._server.kill(self._number)

    async def end(self) -> int | None:
        """Kill the process and return how it ended; None when its server has gone."""
        self.close()
        return await self._server.end(self._number)


class _ForkServer:
    """The server's process, its control socket and its output."""

    def __init__(self, settings: ForkServerSettings) -> None:
        """Start it. Raises OSError. Call it on the event loop's thread: Linux kills it when that thread ends."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _start(settings, theirs)
        except BaseException:
            self._control.close()
            raise
        self._numbers = count()
        self._statuses: dict[int, asyncio.Future[int]] = {}
        """By number of the process whose end is awaited."""
        self._answered = asyncio.Event()
        """Set when the handler is prepared, or the server has gone."""
        assert self._process.stdout is not None
        self._output = ProcessOutput(self._process.stdout.fileno(), self._process.pid, "job_output")
        self._loop = asyncio.get_running_loop()
        self._control.setblocking(False)  # noqa: FBT003 (socket's own signature)
        self._loop.add_reader(self._control, self._receive)

    @property
    def ended(self) -> bool:
        """Whether the process has gone."""
        return self._process.poll() is not None

    async def fork(self) -> _JobProcess:
        """Start a process once the handler is prepared. Raises OSError when that takes too long, or is impossible.

        Nothing is asked of the server before, or for jobs that were cancelled meanwhile: it reads nothing until then.
        """
        try:
            with anyio.fail_after(WALL_SECONDS):
                await self._answered.wait()
        except TimeoutError:
            self._process.kill()
            raise
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        with theirs, suppress(OSError):  # the stream of a server that has gone ends at once
            socket.send_fds(self._control, [b"fork %d" % number], [theirs.fileno()])
        ours.setblocking(False)  # noqa: FBT003
        return _JobProcess(self, number, ours)

    def kill(self, number: int) -> None:
        """Have a process killed."""
        with suppress(OSError):
            self._control.send(b"end %d" % number)

    async def end(self, number: int) -> int | None:
        """Have a process killed and return its exit status, or minus its signal's number; None without a server."""
        status: asyncio.Future[int] = self._loop.create_future()
        self._statuses[number] = status
        self.kill(number)
        try:
            with anyio.move_on_after(END_SECONDS):
                while not status.done() and not self.ended:
                    await asyncio.wait({status}, timeout=_POLL_SECONDS)
        finally:
            del self._statuses[number]
        if not status.done():
            self._process.kill()  # its forks die with it
            await asyncio.to_thread(self._process.wait)
            return None
        return status.result()

    async def close(self) -> None:
        """Kill the server, and with it its forks."""
        self._loop.remove_reader(self._control)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self.release()

    def release(self) -> None:
        """Close what leads to a server that has ended."""
        self._answered.set()
        self._loop.remove_reader(self._control)
        self._control.close()
        self._output.close()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _receive(self) -> None:
        """Take one answer: that the handler is prepared, or the number of a process and how it ended."""
        with suppress(BlockingIOError):
            try:
                packet = self._control.recv(MAX_COMMAND)
            except ConnectionError:
                packet = b""
            if not packet:
                self._loop.remove_reader(self._control)
                self._output.read()
                _log.warning("fork_server_ended", pid=self._process.pid, output=self._output.last_lines)
            if packet in {b"", PREPARED}:
                self._answered.set()
                return
            number, status = map(int, packet.split())
            if (awaited := self._statuses.get(number)) is not None:
                awaited.set_result(status)


def _start(settings: ForkServerSettings, control: socket.socket) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, *_COMMAND, str(control.fileno())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[control.fileno()],
        process_group=0,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
    return process


def _cause(status: int | None) -> Cause | None:
    """Return why a job is lost by the status of its process; None when something else than the job has ended it.

    SIGKILL comes from this pool, after WALL_SECONDS, from an operator, or from the kernel when the machine has no
    memory left; a job that takes more than its own fails otherwise.
    """
    if status in {None, EXIT_NOT_FORKED, -signal.SIGKILL}:
        return None
    if status == EXIT_OUT_OF_MEMORY:
        return "memory"
    if status == EXIT_JOB_FAILED:
        return "fault"
    return "time" if status == -signal.SIGXCPU else "crash"
