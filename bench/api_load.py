"""A client that sends requests as fast as it can over a few connections, and counts answers and chunks only."""

import asyncio
from typing import Any, Final

import httptools
import msgspec
from msgspec import Struct

_OK: Final = 200
_EVENT: Final = b"data: {"


class Count(Struct):
    """The number of complete answers and of chunks."""

    requests: int = 0
    chunks: int = 0


class _Connection(asyncio.Protocol):
    """One connection that sends the next request as soon as it has an answer, while the budget lasts."""

    def __init__(self, request: bytes, budget: list[int], count: Count) -> None:
        self._request = request
        self._budget = budget
        self._count = count
        self._parser = httptools.HttpResponseParser(self)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if not self._budget[0]:
            self._transport.close()
            return
        self._budget[0] -= 1
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._count.chunks += body.count(_EVENT)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == _OK:
            self._count.requests += 1
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc) if exc else self.ended.set_result(None)


async def load(port: int, body: dict[str, Any], requests: int, connections: int) -> Count:
    """Send ``requests`` requests over ``connections`` connections and return the counts."""
    payload = msgspec.json.encode(body)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    count, budget = Count(), [requests]
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(head.encode() + payload, budget, count), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in opened))
    return count
