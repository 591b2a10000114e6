"""What is left of a body when its request has been answered is read and dropped before the answer ends, as plain ASGI.

A connection that closes does so behind the answer's last message. A socket that is closed over unread bytes is reset,
and the reset can destroy the answer before the client has read it (RFC 9112, section 9.6): a refusal of a long upload
would never be seen. So the last message waits, for as long and as much as is set here; other servers call this a
lingering close.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER: Final = 4.0
"""Seconds for which what still arrives is read and dropped."""
SILENCE: Final = 1.0
"""Seconds without a byte after which nothing more is awaited."""
MAX_DROPPED: Final = 64 << 20
"""Bytes."""
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class LingeringClose:
    """Lies around everything that may answer without reading the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; one without a body passes unchanged."""
        if scope["type"] != "http" or not any(name in _BODY_HEADERS for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """A request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._read = False
        """Whether the body has come to its end, or the client has gone."""

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self._read = self._read or not message.get("more_body", False)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send one message on; the last one when the body has been read, too."""
        if self._read or message["type"] != "http.response.body" or message.get("more_body", False):
            return self._send(message)
        return self._end(message)

    async def _end(self, message: Message) -> None:
        await self._send({**message, "more_body": True})
        await self._drop()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop(self) -> None:
        """Read on within the bounds. A request that is cancelled meanwhile has been answered: it just ends."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER
        dropped = 0
        try:
            while not self._read and dropped < MAX_DROPPED:
                async with asyncio.timeout_at(min(end, loop.time() + SILENCE)):
                    message = await self.receive()
                dropped += len(message.get("body", b""))
        except (TimeoutError, asyncio.CancelledError):
            pass
