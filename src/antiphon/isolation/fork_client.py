"""The parent's side of a fork server: starts it, and exchanges messages with its processes on one event loop."""

import asyncio
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import Final

import anyio
import msgspec
import structlog

from antiphon.isolation import frames
from antiphon.isolation.fork_server import MAX_COMMAND, PREPARED, ForkServerSettings
from antiphon.isolation.process_output import ProcessOutput

WALL_SECONDS: Final = 120.0
"""Wall time in seconds after which a process is killed, although its preparation or its job has used little processor
time: it was stopped, or the machine is overloaded."""
END_SECONDS: Final = 5.0
"""Seconds after which a fork server that has not ended a process is killed with all its forks."""
_POLL_SECONDS: Final = 0.05
_COMMAND: Final = ("-P", "-u", "-X", "faulthandler", "-m", "antiphon.isolation.fork_server")

_log = structlog.get_logger()


class JobProcess:
    """One forked process and the stream to it."""

    def __init__(self, server: "ForkServer", number: int, stream: socket.socket) -> None:
        self.stage = ""
        """The stage of its job that the process reported last."""
        self.is_finished = False
        """Whether the process ends after the job that it has done."""
        self._server = server
        self._number = number
        self._socket = stream
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def ended(self) -> bool:
        """Whether the process has closed its stream while idle."""
        return self._stream is not None and self._stream[0].at_eof()

    async def run(self, payload: bytes) -> bytes:
        """Do one job and return its result.

        Raises EOFError or OSError when the process ends, TimeoutError after :data:`WALL_SECONDS`, FrameError for an
        invalid message.
        """
        self.stage = ""
        with anyio.fail_after(WALL_SECONDS):
            if self._stream is None:
                self._stream = await asyncio.open_connection(sock=self._socket)
            reader, writer = self._stream
            writer.write(frames.pack(frames.JOB, payload))
            while True:
                kind, size = frames.unpack_answer(await reader.readexactly(frames.HEADER_SIZE))
                content = await reader.readexactly(size)
                if kind != frames.STAGE:
                    self.is_finished = kind == frames.LAST_RESULT
                    return content
                self.stage = content.decode(errors="replace")

    def close(self) -> None:
        """Close the stream; an idle process then ends by itself."""
        if self._stream is None:
            self._socket.close()
        else:
            self._stream[1].transport.abort()

    def kill(self) -> None:
        """Kill the process without waiting for its end."""
        self.close()
        self._server.kill(self._number)

    async def end(self) -> int | None:
        """Kill the process; return its status as :meth:`ForkServer.end` does."""
        self.close()
        return await self._server.end(self._number)


class ForkServer:
    """The server's process, its control socket and its output."""

    def __init__(self, settings: ForkServerSettings) -> None:
        """Start the server. Raises OSError.

        Call it on the event loop's thread: Linux kills the server when the thread that started it ends.
        """
        self._control, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with server_end:
                self._process = _start(settings, server_end)
        except BaseException:
            self._control.close()
            raise
        self._numbers = count()
        self._statuses: dict[int, asyncio.Future[int]] = {}
        """The awaited exit statuses by number of the process."""
        self._answered = asyncio.Event()
        """Set when the handler is prepared or the server has ended."""
        assert self._process.stdout is not None
        self._output = ProcessOutput(self._process.stdout.fileno(), self._process.pid, "job_output")
        self._loop = asyncio.get_running_loop()
        self._control.setblocking(False)  # noqa: FBT003 (socket's own signature)
        self._loop.add_reader(self._control, self._receive)

    @property
    def ended(self) -> bool:
        """Whether the server's process has ended."""
        return self._process.poll() is not None

    async def fork(self) -> JobProcess:
        """Start a process once the handler is prepared. Raises OSError when that fails or takes too long.

        The server reads no command before it is prepared, so none is sent earlier: the job may be cancelled meanwhile.
        """
        try:
            with anyio.fail_after(WALL_SECONDS):
                await self._answered.wait()
        except TimeoutError:
            self._process.kill()
            raise
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
        """Receive one packet: PREPARED, a process's number and status, or nothing at the server's end."""
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
            if (ended := self._statuses.get(number)) is not None:
                ended.set_result(status)


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
