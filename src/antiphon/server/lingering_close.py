"""Lingering close as plain ASGI: reads and drops the rest of an unread body before the last message of the answer.

A connection closes after the answer's last message. Closing a socket with unread bytes resets it, and the client may
lose the answer (RFC 9112, section 9.6), such as the refusal of a long upload. So the last message waits until the body
is read, within the bounds below.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER: Final = 4.0
"""Seconds after which the answer ends although the body goes on."""
SILENCE: Final = 1.0
"""Seconds without a byte after which the answer ends."""
MAX_DROPPED: Final = 64 << 20
"""Bytes of body that are dropped at most."""
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class LingeringClose:
    """The middleware; it surrounds all layers that may answer before they read the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a request without a body passes unchanged."""
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
        """Whether the body has been read, or the client has disconnected."""

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self._read = self._read or not message.get("more_body", False)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message; the last one only after the body has been read."""
        if self._read or message["type"] != "http.response.body" or message.get("more_body", False):
            return self._send(message)
        return self._end(message)

    async def _end(self, message: Message) -> None:
        await self._send({**message, "more_body": True})
        await self._drop()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drop(self) -> None:
        """Read and drop the body within the bounds. A cancellation ends it early: the answer has been sent."""
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
