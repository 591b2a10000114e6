"""Writes an answer as server-sent events in ASGI messages.

The framework's streaming response does not always close the generator on a disconnect: it depends on the version of
ASGI. Here the request's own task writes, and :class:`antiphon.server.disconnect.DisconnectSignal` cancels it.

Chunks that are ready together are sent together, one event each, without waiting for more. While the client does not
read, ``send`` waits, and with it the generator.

The head of the answer is sent with the first chunk, so that a request that is refused gets a plain HTTP error. If the
first chunk takes longer than proxies and clients wait for a status, the head is sent before it, and comments until it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import structlog
from starlette.types import Send

from antiphon.errors import APIError, InternalServerError
from antiphon.protocol.responses import ChatCompletionChunk
from antiphon.protocol.sse import DONE, encode_chunk, encode_error

HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""The last header stops a reverse proxy from buffering the events."""
PING: Final = b": ping\n\n"
"""A comment, which clients ignore. Reference: the WHATWG HTML standard, section 9.2.6."""
PING_INTERVAL: Final = 15.0
"""Seconds between two comments, as section 9.2.7 of that standard advises; proxies close after 30 s to 60 s."""
MAX_SENT: Final = 16 * 1024
"""Bytes of events in one message: after that many, the next event begins a new message, so that ``send`` can wait."""

logger = structlog.get_logger(__name__)


Encode = Callable[[ChatCompletionChunk], bytes]
Keep = Callable[[bytes], Awaitable[None]]
"""Stores the whole body. It is called before the last event is sent."""


async def write_events(
    batches: AsyncGenerator[list[ChatCompletionChunk], None],
    send: Send,
    headers: Callable[[], Mapping[str, str]] = dict,
    *,
    headers_after: float,
    encode: Encode = encode_chunk,
    keep: Keep | None = None,
    count: Callable[[int], None] = lambda _: None,
) -> None:
    """Answer with the chunks as events and ``data: [DONE]``; close ``batches``.

    The head is sent with the first chunk, or after ``headers_after`` seconds, with the ``headers`` of that moment. An
    error before the head is raised and becomes a plain HTTP error; a later error becomes the last event. ``count`` gets
    the number of bytes held for ``keep``, and may raise ``APIError``.
    """
    async with aclosing(batches), _head(send, headers, headers_after) as head:
        events = _Events(batches, encode, keep, count)
        body, more = await _first(events, head)
        await send({"type": "http.response.body", "body": body, "more_body": more})
        while more:
            body, more = await events.next()
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _first(events: "_Events", head: "_Head") -> tuple[bytes, bool]:
    """Return the first events, or the error event of an answer whose head was sent before; and whether more follow."""
    try:
        body = await events.first()
    except Exception as error:
        if not await head.end_pings():
            raise
        return _failure(error), False
    if not await head.end_pings():
        await head.send()
    return body, True


@asynccontextmanager
async def _head(send: Send, headers: Callable[[], Mapping[str, str]], after: float) -> AsyncGenerator["_Head", None]:
    """Start the time until the head is sent by itself; end its task with the block."""
    head = _Head(send, headers)
    timer = asyncio.get_running_loop().call_later(after, head.begin_pings)
    try:
        yield head
    finally:
        timer.cancel()
        await head.cancel()


class _Head:
    """The head of a stream, and the comments that follow it until the first chunk."""

    def __init__(self, send: Send, headers: Callable[[], Mapping[str, str]]) -> None:
        self._send = send
        self._headers = headers
        self._pings: asyncio.Task[None] | None = None
        self._first_chunk = asyncio.Event()

    async def send(self) -> None:
        """Send the status and the headers."""
        headers = [*HEADERS, *_raw(self._headers())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def begin_pings(self) -> None:
        """Send the head now, and comments from now on."""
        if not self._first_chunk.is_set():
            self._pings = asyncio.create_task(self._ping())

    async def _ping(self) -> None:
        await self.send()
        while not self._first_chunk.is_set():
            await self._send({"type": "http.response.body", "body": PING, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_INTERVAL):
                    await self._first_chunk.wait()

    async def end_pings(self) -> bool:
        """Send no further comment; return whether the head has been sent."""
        self._first_chunk.set()
        if self._pings is None:
            return False
        await self._pings
        return True

    async def cancel(self) -> None:
        """End the task of the comments, also in the middle of a message."""
        if self._pings is not None and not self._pings.done():
            self._pings.cancel()
            await asyncio.wait([self._pings])


async def replay_events(body: bytes, send: Send, headers: Mapping[str, str]) -> None:
    """Answer with the stored events of an earlier answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *_raw(headers)]})
    await send({"type": "http.response.body", "body": body})


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


class _Events:
    """Encodes chunks as events. With ``keep``, holds all of them until the end."""

    def __init__(
        self,
        batches: AsyncGenerator[list[ChatCompletionChunk], None],
        encode: Encode,
        keep: Keep | None,
        count: Callable[[int], None],
    ) -> None:
        self._batches = batches
        self._ready: deque[ChatCompletionChunk] = deque()
        self._encode = encode
        self._keep = keep
        self._count = count
        self._body: list[bytes] = []

    async def first(self) -> bytes:
        """Return the first events. Exceptions of the batches pass through."""
        self._ready.extend(await anext(self._batches))
        return self._joined()

    async def next(self) -> tuple[bytes, bool]:
        """Return the next events, and whether further events follow."""
        try:
            if not self._ready:
                self._ready.extend(await anext(self._batches))
            return self._joined(), True
        except StopAsyncIteration:
            return await self._end(), False
        except Exception as error:  # noqa: BLE001 - every error ends the stream in an event
            return _failure(error), False

    async def _end(self) -> bytes:
        """Keep the body; return the last event."""
        try:
            if self._keep is not None:
                await self._keep(b"".join([*self._body, DONE]))
        except Exception as error:  # noqa: BLE001 - every error ends the stream in an event
            return _failure(error)
        return DONE

    def _joined(self) -> bytes:
        """Return the ready events, up to the one that reaches :data:`MAX_SENT` bytes."""
        joined = b""
        while self._ready and len(joined) < MAX_SENT:
            joined += self._encode(self._ready.popleft())
        if self._keep is not None:
            self._count(len(joined))
            self._body.append(joined)
        return joined


def _failure(error: Exception) -> bytes:
    """Return the last event of a failed stream. Only the log has the details of an unexpected error."""
    if isinstance(error, APIError):
        return encode_error(error)
    logger.error("stream_failed", exc_info=error)
    return encode_error(InternalServerError("The server had an error while it answered."))
