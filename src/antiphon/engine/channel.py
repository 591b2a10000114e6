"""Message channels between the client and the worker: msgpack over a ZeroMQ pair, or queues inside one process.

The decode loop polls the worker's end (:class:`WorkerChannel`), which never blocks longer than its timeout. The
client's end (:class:`ClientChannel`) runs on an event loop and delivers messages to a callback.

Flow control: the client reads whenever its event loop runs. Until then ZeroMQ keeps up to ``HIGH_WATER_MARK`` messages.
The worker's end keeps all further events and sends them as one message when there is room. So no event is lost, the
decode loop never waits, and memory is limited by the tokens that the requests may still generate. Towards the worker,
the client limits the commands: ``EngineOptions.max_waiting`` requests, and one abort for each choice.
"""

import os
import queue
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import zmq

from antiphon.engine.interface import EngineStats, FromWorker, ToWorker

if TYPE_CHECKING:
    import asyncio

HIGH_WATER_MARK = 1000
"""Messages from the worker to the client that ZeroMQ keeps on each side of the connection."""
LINGER_SECONDS = 1.0
"""Seconds that a worker waits at its end for its last messages to be sent."""

_encode = msgspec.msgpack.Encoder().encode
_decode_commands = msgspec.msgpack.Decoder(ToWorker).decode
_decode_events = msgspec.msgpack.Decoder(list[FromWorker]).decode

Deliver = Callable[[list[FromWorker]], None]
"""Receives the messages of one step on the client's event loop."""


class WorkerChannel(Protocol):
    """The worker's end of a channel."""

    def receive(self, timeout: float) -> list[ToWorker]:
        """Return all commands that have arrived, in order; wait at most ``timeout`` seconds for the first."""

    def send(self, messages: list[FromWorker]) -> None:
        """Send the messages of a step as one. Never blocks: without room they are kept and sent later, in order."""

    def flush(self, timeout: float) -> bool:
        """Send the kept messages within ``timeout`` seconds; return whether none is left."""


class ClientChannel(Protocol):
    """The client's end of a channel."""

    def send(self, message: ToWorker) -> None:
        """Send one command; without effect when the worker has ended."""

    def receive(self) -> None:
        """Deliver the messages that have arrived, before the event loop finds them."""

    def close(self) -> None:
        """Close the channel, which delivers no more messages."""


class Address(msgspec.Struct, frozen=True):
    """The endpoint of the client, to which the worker connects."""

    endpoint: str
    server_key: str | None = None
    """The client's CurveZMQ public key (Z85), for an endpoint that other users of the machine can reach."""


class PairServer:
    """The client's end of a ZeroMQ pair: a socket file in a directory that only this user can enter.

    If the system has no such sockets, or the path is too long, it is a loopback port. CurveZMQ then admits only peers
    with the public key, which only the worker gets.
    """

    def __init__(self, deliver: Deliver, broken: Callable[[str], None], *, directory: Path | None = None) -> None:
        """Bind in a new directory below ``directory``, by default the system's temporary one.

        ``broken`` is called with the error of a message that cannot be decoded. Raises OSError when the system gives no
        directory, descriptor or socket.
        """
        import asyncio  # noqa: PLC0415 (the worker imports this module as well, and starts faster without it)

        self._deliver = deliver
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._connected = False
        self._poll_scheduled = False
        """Whether the socket is polled at the next iteration of the event loop."""
        self._directory = tempfile.mkdtemp(prefix="antiphon-", dir=directory)
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, self._directory, ignore_errors=True)
            try:
                self._context = undo.enter_context(zmq.Context(io_threads=1))
                self._socket: zmq.Socket[bytes] = undo.enter_context(self._context.socket(zmq.PAIR))
                self._socket.set(zmq.LINGER, 0)
                self._socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
                self._socket.set(zmq.SNDHWM, 0)
                self.address = _bind(self._socket, os.path.join(self._directory, "worker"))  # noqa: PTH118 - bytes count
            except zmq.ZMQError as error:
                raise OSError(error.errno, str(error)) from error
            self._descriptor = self._socket.fileno()
            self._loop.add_reader(self._descriptor, self.receive)
            self._release = undo.pop_all()

    def send(self, message: ToWorker) -> None:
        """Send one command; without effect when the worker has ended, which its exit status shows."""
        frame = _encode(message)
        with suppress(zmq.Again):
            self._socket.send(frame, zmq.NOBLOCK)
        # The descriptor is edge-triggered, and sending may consume the edge of a message that has just arrived.
        if not self._poll_scheduled:
            self._poll_scheduled = True
            self._loop.call_soon(self._poll)

    def _poll(self) -> None:
        self._poll_scheduled = False
        if not self._socket.closed and self._socket.poll(0):  # rarely true, and cheaper than the exception in `receive`
            self.receive()

    def receive(self) -> None:
        """Deliver all messages that have arrived."""
        while not self._socket.closed:
            try:
                messages = _decode_events(self._socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            except msgspec.MsgspecError as error:
                self._broken(f"The worker sent a message that cannot be read: {error}")
                return
            if not self._connected:
                self._connected = True
                shutil.rmtree(self._directory, ignore_errors=True)  # no one else connects, and a crash leaves no file
            self._deliver(messages)

    def close(self) -> None:
        """Close the socket and remove its file."""
        if self._socket.closed:
            return
        self._loop.remove_reader(self._descriptor)
        self._release.close()


def _bind(socket: "zmq.Socket[bytes]", path: str) -> Address:
    if zmq.has("ipc") and len(os.fsencode(path)) <= zmq.IPC_PATH_MAX_LEN:
        endpoint = f"ipc://{path}"
        socket.bind(endpoint)
        return Address(endpoint)
    public, secret = zmq.curve_keypair()
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, secret)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    return Address(f"tcp://127.0.0.1:{port}", public.decode())


class PairChannel:
    """The worker's end of a ZeroMQ pair."""

    def __init__(self, address: Address) -> None:
        self._unsent: list[FromWorker] = []
        self._unsent_stats: list[FromWorker] = []
        """The newest statistics, which replace older ones."""
        self._context = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        self._socket.set(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.set(zmq.RCVHWM, 0)
        if address.server_key is not None:
            public, secret = zmq.curve_keypair()
            self._socket.set(zmq.CURVE_SERVERKEY, address.server_key.encode())
            self._socket.set(zmq.CURVE_PUBLICKEY, public)
            self._socket.set(zmq.CURVE_SECRETKEY, secret)
        self._socket.connect(address.endpoint)

    def receive(self, timeout: float) -> list[ToWorker]:
        """Return all commands that have arrived; stop waiting when kept messages can be sent."""
        if timeout > 0:
            self._socket.poll(round(timeout * 1000), zmq.POLLIN | (zmq.POLLOUT if self._unsent else 0))
        self._send_kept()
        commands: list[ToWorker] = []
        while True:
            try:
                commands.append(_decode_commands(self._socket.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return commands

    def send(self, messages: list[FromWorker]) -> None:
        """Send the messages as one, after the kept ones."""
        self._send_kept()
        if not self._unsent and self._has_room():
            self._socket.send(_encode(messages), zmq.NOBLOCK)
            return
        for message in messages:
            if isinstance(message, EngineStats):
                self._unsent_stats = [message]
            else:
                self._unsent.append(message)

    def flush(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for room for the kept messages; return whether none is left."""
        deadline = time.monotonic() + timeout
        self._send_kept()
        while self._unsent and (left := deadline - time.monotonic()) > 0:
            self._socket.poll(max(1, round(left * 1000)), zmq.POLLOUT)
            self._send_kept()
        return not self._unsent

    def close(self) -> None:
        """Close the socket after the last messages are sent, or ``LINGER_SECONDS`` have passed."""
        self.flush(LINGER_SECONDS)
        self._socket.close(linger=round(LINGER_SECONDS * 1000))
        self._context.term()

    def _send_kept(self) -> None:
        if self._unsent and self._has_room():
            self._socket.send(_encode(self._unsent + self._unsent_stats), zmq.NOBLOCK)
            self._unsent, self._unsent_stats = [], []

    def _has_room(self) -> bool:
        return bool(self._socket.poll(0, zmq.POLLOUT))


class QueueChannel:
    """The worker's end of a channel inside one process: the worker is a thread, the client an event loop."""

    def __init__(self, loop: "asyncio.AbstractEventLoop", deliver: Deliver) -> None:
        self._loop = loop
        self._deliver = deliver
        self._commands: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()

    def put(self, message: ToWorker) -> None:
        """Send one command to the worker."""
        self._commands.put(message)

    def receive(self, timeout: float) -> list[ToWorker]:
        """Return all commands that have arrived; wait at most ``timeout`` seconds for the first."""
        commands: list[ToWorker] = []
        with suppress(queue.Empty):
            commands.append(self._commands.get(timeout=timeout) if timeout > 0 else self._commands.get_nowait())
            while True:
                commands.append(self._commands.get_nowait())
        return commands

    def send(self, messages: list[FromWorker]) -> None:
        """Deliver the messages on the client's event loop; without effect when that is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, messages)

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 - the protocol
        """Return True: no message is ever kept."""
        return True
