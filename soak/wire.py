"""A client on plain sockets with a chosen behaviour: how fast it reads, and when it disconnects."""

import asyncio
import contextlib
import socket
import time
from typing import Final

from msgspec import Struct

TIMEOUT: Final = 180.0
"""Seconds for one exchange: a stopped engine is detected after 60."""
READ: Final = 1 << 16
"""Bytes of one read."""


class Behaviour(Struct, frozen=True, kw_only=True):
    """The behaviour of a client. The default reads the whole answer at once."""

    send_bytes: int | None = None
    """Bytes of the request that are sent before the disconnect; None: all."""
    leave_after: bytes | None = None
    """Disconnects after these bytes of the answer; empty: at once."""
    times: int = 1
    """Occurrences of ``leave_after`` before the disconnect."""
    reset: bool = False
    """Disconnects with a reset."""
    bytes_per_second: int | None = None
    """Speed of reading for ``slow_seconds``; then the rest is read at once or not at all."""
    slow_seconds: float = 0.0
    leaves_after_slow_reading: bool = False
    """Disconnects after the slow reading."""

    @property
    def stays(self) -> bool:
        """Whether it reads the answer to the end."""
        return self.send_bytes is None and self.leave_after is None and not self.leaves_after_slow_reading


class Reply(Struct, frozen=True, kw_only=True):
    """The answer. Times are in seconds of a monotonic clock."""

    status: int
    """0: not HTTP."""
    headers: dict[str, str]
    body: bytes
    complete: bool
    """Whether the body has the length that its head states."""
    began: float
    ended: float


async def exchange(port: int, request: bytes, behaviour: Behaviour) -> Reply:
    """Send one request to loopback and return the answer. Raises TimeoutError."""
    began = time.monotonic()
    received = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(TIMEOUT):
            received = await _converse(port, request, behaviour)
    return parse(received, began, time.monotonic())


async def _converse(port: int, request: bytes, behaviour: Behaviour) -> bytes:
    reader, writer = await _connect(port, slow=behaviour.bytes_per_second is not None)
    received = bytearray()
    try:
        writer.write(request[: behaviour.send_bytes])
        with contextlib.suppress(ConnectionError):  # a body that is too long may be answered before its end
            await writer.drain()
        if behaviour.send_bytes is not None or behaviour.leave_after == b"":
            return b""
        if behaviour.bytes_per_second is not None:
            received += await _slowly(reader, behaviour)
            if behaviour.leaves_after_slow_reading:
                return bytes(received)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ):
                received += data
                if behaviour.leave_after is not None and received.count(behaviour.leave_after) >= behaviour.times:
                    break
        return bytes(received)
    finally:
        if behaviour.reset:
            writer.transport.abort()
        else:
            writer.close()


async def _connect(port: int, *, slow: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket()
    if slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)  # noqa: FBT003 (the library's signature)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=sock, limit=4096 if slow else READ)


async def _slowly(reader: asyncio.StreamReader, behaviour: Behaviour) -> bytes:
    assert behaviour.bytes_per_second is not None
    received = bytearray()
    deadline = time.monotonic() + behaviour.slow_seconds
    while time.monotonic() < deadline:
        data = await reader.read(1)
        if not data:
            break
        received += data
        await asyncio.sleep(1 / behaviour.bytes_per_second)
    return bytes(received)


def parse(received: bytes, began: float, ended: float) -> Reply:
    """Parse an answer; bytes that are not HTTP have status 0."""
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    parts = first.split(b" ", 2)
    if len(parts) < 2 or not first.startswith(b"HTTP/1.1 ") or not parts[1].isdigit():  # noqa: PLR2004
        return Reply(status=0, headers={}, body=received, complete=False, began=began, ended=ended)
    pairs = (line.partition(b":") for line in lines)
    headers = {name.decode("latin-1").lower(): value.strip().decode("latin-1") for name, _, value in pairs}
    body, complete = _dechunk(rest) if headers.get("transfer-encoding") == "chunked" else _sized(rest, headers)
    return Reply(status=int(parts[1]), headers=headers, body=body, complete=complete, began=began, ended=ended)


def _sized(rest: bytes, headers: dict[str, str]) -> tuple[bytes, bool]:
    return rest, headers.get("content-length") in (str(len(rest)), None)


def _dechunk(rest: bytes) -> tuple[bytes, bool]:
    """Join the chunks, and return whether the last one is there with nothing after it."""
    body = bytearray()
    while rest:
        size_line, _, rest = rest.partition(b"\r\n")
        try:
            size = int(size_line, 16)
        except ValueError:
            return bytes(body), False
        if size == 0:
            return bytes(body), rest == b"\r\n"
        body += rest[:size]
        rest = rest[size + 2 :]
    return bytes(body), False


def request_bytes(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request that closes the connection after its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
