"""The parent's side of a fork server: starts it, and exchanges messages with its processes on one event loop."""

import asyncio
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import Final, NamedTuple

import anyio
import msgspec
import structlog

from antiphon.isolation import frames
from antiphon.isolation.fork_server import MAX_ANSWER, PREPARED, REFUSED, ForkServerSettings
from antiphon.isolation.process_output import ProcessOutput

WALL_SECONDS: Final = 120.0
"""Wall time in seconds after which a process is killed, although its preparation or its job has used little processor
time: it was stopped, or the machine is overloaded."""
END_SECONDS: Final = 5.0
"""Seconds after which a fork server that has not ended a process is killed with all its forks."""
_POLL_SECONDS: Final = 0.05
_COMMAND: Final = ("-P", "-u", "-X", "faulthandler", "-m", "antiphon.isolation.fork_server")

_log = structlog.get_logger()


class PreparationError(Exception):
    """The handler could not be prepared.

    ``reason`` is the factory's, empty where it gave none; ``status`` is the fork server's exit status.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason or f"exit status {status}")
        self.reason = reason
        self.status = status


class JobProcess(asyncio.Protocol):
    """One forked process and the stream to it."""

    def __init__(self, server: "ForkServer", number: int, stream: socket.socket) -> None:
        self.stage = ""
        """The stage of its job that the process reported last; empty before the first report."""
        self.is_finished = False
        """Whether the process ends after the job that it has done."""
        self.ended = False
        """Whether the stream has ended."""
        self._server = server
        self._number = number
        self._socket = stream
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._result: asyncio.Future[bytes] | None = None

    async def run(self, payload: bytes) -> bytes:
        """Do one job and return its result.

        Raises EOFError when the process ends, TimeoutError after :data:`WALL_SECONDS`, FrameError for an invalid
        message, OSError when the stream cannot be opened.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, _ = await loop.create_connection(lambda: self, sock=self._socket)
        self.stage = ""
        self._result = loop.create_future()
        if self.ended:
            raise EOFError
        timer = loop.call_later(WALL_SECONDS, self._fail, TimeoutError())
        try:
            self._transport.write(frames.pack(frames.JOB, payload))
            return await self._result
        finally:
            timer.cancel()
            self._result = None

    def data_received(self, data: bytes) -> None:
        """Take messages of the process. Close the stream of a process that sends an invalid one."""
        self._received += data
        try:
            while (message := frames.take_answer(self._received)) is not None:
                self._take(*message)
        except frames.FrameError as error:
            self._fail(error)
            self.ended = True
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's own signature)
        """Fail the running job."""
        self.ended = True
        self._fail(EOFError())

    def close(self) -> None:
        """Close the stream; an idle process then ends by itself."""
        if self._transport is None:
            self._socket.close()
        else:
            self._transport.abort()

    def kill(self) -> None:
        """Kill the process without waiting for its end."""
        self.close()
        self._server.kill(self._number)

    async def end(self) -> int | None:
        """Kill the process; return its status as :meth:`ForkServer.end` does."""
        self.close()
        return await self._server.end(self._number)

    def _take(self, kind: bytes, content: bytes) -> None:
        """Take one message. Raises FrameError where no job runs."""
        if self._result is None or self._result.done():
            raise frames.FrameError(f"message {kind!r} without a job")
        if kind == frames.STAGE:
            self.stage = content.decode(errors="replace")
        else:
            self.is_finished = kind == frames.LAST_RESULT
            self._result.set_result(content)

    def _fail(self, error: Exception) -> None:
        if self._result is not None and not self._result.done():
            self._result.set_exception(error)


class StartedServer(NamedTuple):
    """The process of a fork server and the parent's end of its control socket."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket


class PreloadedForkServer:
    """A fork server that is started before there is an event loop, for the first pool with its settings."""

    def __init__(self, settings: ForkServerSettings) -> None:
        """Start the server; if the system cannot, the taker tries it again. Linux kills it with the current thread."""
        self._settings = settings
        self._started: StartedServer | None = None
        with suppress(OSError):
            self._started = _start(settings)

    def take(self, settings: ForkServerSettings) -> StartedServer | None:
        """Return the server, once, for its own settings."""
        if settings != self._settings:
            return None
        started, self._started = self._started, None
        return started

    def close(self) -> None:
        """End the server unless it was taken."""
        started, self._started = self._started, None
        if started is not None:
            started.control.close()
            started.process.kill()
            with started.process:  # waits, and closes its output
                pass


class ForkServer:
    """The server's process, its control socket and its output."""

    def __init__(self, settings: ForkServerSettings, started: StartedServer | None = None) -> None:
        """Start the server, or take one that was ``started``. Raises OSError.

        Call it on the event loop's thread: Linux kills the server when the thread that started it ends.
        """
        self._process, self._control = started or _start(settings)
        self._numbers = count()
        self._statuses: dict[int, asyncio.Future[int]] = {}
        """The awaited exit statuses by number of the process."""
        self._answered = asyncio.Event()
        """Set when the handler is prepared or the server has ended."""
        self._is_prepared = False
        self._reason = ""
        """The factory's reason for a refusal."""
        assert self._process.stdout is not None
        self._output = ProcessOutput(self._process.stdout.fileno(), self._process.pid, "job_output")
        self._loop = asyncio.get_running_loop()
        self._control.setblocking(False)  # noqa: FBT003 (socket's own signature)
        self._loop.add_reader(self._control, self._receive)

    @property
    def ended(self) -> bool:
        """Whether the server's process has ended."""
        return self._process.poll() is not None

    async def prepared(self) -> None:
        """Wait until the handler is prepared.

        Raises :class:`PreparationError` when it cannot be, OSError after :data:`WALL_SECONDS`.
        """
        await self._wait()
        if not self._is_prepared:
            status = await asyncio.to_thread(self._process.wait)
            raise PreparationError(self._reason, status)

    async def _wait(self) -> None:
        """Wait until the handler is prepared or the server has ended. Raises OSError after :data:`WALL_SECONDS`."""
        try:
            async with asyncio.timeout(WALL_SECONDS):
                await self._answered.wait()
        except TimeoutError:
            self._process.kill()
            raise

    async def fork(self) -> JobProcess:
        """Start a process once the handler is prepared. Raises OSError when that fails or takes too long.

        The server reads no command before it is prepared, so none is sent earlier: the job may be cancelled meanwhile.
        """
        if not self._answered.is_set():
            await self._wait()
        number = next(self._numbers)
        stream, process_end = socket.socketpair()
        with process_end, suppress(OSError):  # if the server has ended, the stream ends at once
            socket.send_fds(self._control, [b"fork %d" % number], [process_end.fileno()])
        stream.setblocking(False)  # noqa: FBT003
        return JobProcess(self, number, stream)

    def kill(self, number: int) -> None:
        """Ask the server to kill a process."""
        with suppress(OSError):
            self._control.send(b"end %d" % number)

    async def end(self, number: int) -> int | None:
        """Kill a process; return its exit status or minus its signal's number, None when the server has ended."""
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
        """Kill the server and its forks."""
        self._loop.remove_reader(self._control)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self.release()

    def release(self) -> None:
        """Close the sockets and pipes of a server that has ended."""
        self._answered.set()
        self._loop.remove_reader(self._control)
        self._control.close()
        self._output.close()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _receive(self) -> None:
        """Receive one packet: PREPARED, REFUSED, a process's number and status, or nothing at the server's end."""
        with suppress(BlockingIOError):
            try:
                packet = self._control.recv(MAX_ANSWER)
            except ConnectionError:
                packet = b""
            if not packet:
                self._loop.remove_reader(self._control)
                self._output.read()
                if not self._reason:
                    _log.warning("fork_server_ended", pid=self._process.pid, output=self._output.last_lines)
            if packet in {b"", PREPARED}:
                self._is_prepared |= packet == PREPARED
                self._answered.set()
                return
            if packet.startswith(REFUSED):
                self._reason = packet.removeprefix(REFUSED).decode(errors="replace")
                return
            number, status = map(int, packet.split())
            if (ended := self._statuses.get(number)) is not None:
                ended.set_result(status)


def _start(settings: ForkServerSettings) -> StartedServer:
    """Start a fork server. Raises OSError."""
    control, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with server_end:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                [sys.executable, *_COMMAND, str(server_end.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[server_end.fileno()],
                process_group=0,
            )
    except BaseException:
        control.close()
        raise
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
    return StartedServer(process, control)
