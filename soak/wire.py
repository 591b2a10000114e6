"""A client that decides for itself how it behaves: how it reads, and when it goes away. Plain sockets, no library."""

import asyncio
import contextlib
import socket
import time
from typing import Final

from msgspec import Struct

TIMEOUT: Final = 180.0
"""Seconds for one exchange: a stopped engine is found after 60."""
READ: Final = 1 << 16
"""Bytes taken at once."""


class Manner(Struct, frozen=True, kw_only=True):
    """How a client behaves. The default reads everything at once."""

    send_bytes: int | None = None
    """Bytes of the request that are sent before it goes away; None: all."""
    leave_after: bytes | None = None
    """Goes away when this has come; empty: at once."""
    times: int = 1
    """How often ``leave_after`` must have come."""
    reset: bool = False
    """Goes away with a reset."""
    bytes_per_second: int | None = None
    """Reads so slowly, for ``slow_seconds``, and then the rest at once or not at all."""
    slow_seconds: float = 0.0
    gives_up: bool = False
    """Goes away after it has read slowly."""

    @property
    def stays(self) -> bool:
        """Whether it reads to the end."""
        return self.send_bytes is None and self.leave_after is None and not self.gives_up


class Reply(Struct, frozen=True, kw_only=True):
    """What came back. Times are in seconds of a monotonic clock."""

    status: int
    """0: nothing that is HTTP."""
    headers: dict[str, str]
    body: bytes
    complete: bool
    """The body ended as its head had said."""
    began: float
    ended: float


async def exchange(port: int, request: bytes, manner: Manner) -> Reply:
    """Send one request to loopback and read the answer. Raises ``TimeoutError`` when it does not end."""
    began = time.monotonic()
    received = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(TIMEOUT):
            received = await _converse(port, request, manner)
    return parse(received, began, time.monotonic())


async def _converse(port: int, request: bytes, manner: Manner) -> bytes:
    reader, writer = await _connect(port, slow=manner.bytes_per_second is not None)
    received = bytearray()
    try:
        writer.write(request[: manner.send_bytes])
        with contextlib.suppress(ConnectionError):  # the answer to a body that is too long may come before its end
            await writer.drain()
        if manner.send_bytes is not None or manner.leave_after == b"":
            return b""
        if manner.bytes_per_second is not None:
            received += await _slowly(reader, manner)
            if manner.gives_up:
                return bytes(received)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ):
                received += data
                if manner.leave_after is not None and received.count(manner.leave_after) >= manner.times:
                    break
        return bytes(received)
    finally:
        if manner.reset:
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


async def _slowly(reader: asyncio.StreamReader, manner: Manner) -> bytes:
    assert manner.bytes_per_second is not None
    received = bytearray()
    deadline = time.monotonic() + manner.slow_seconds
    while time.monotonic() < deadline:
        data = await reader.read(1)
        if not data:
            break
        received += data
        await asyncio.sleep(1 / manner.bytes_per_second)
    return bytes(received)


def parse(received: bytes, began: float, ended: float) -> Reply:
    """Read one answer; what is not HTTP has status 0."""
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
    """Join the chunks; whether the last one came and nothing after it."""
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
    """Write one request whose connection ends with its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
