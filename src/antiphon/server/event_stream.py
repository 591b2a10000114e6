"""Server-sent events as ASGI messages of our own, and work that ends when its client goes away.

Why not a streaming response of the framework: on a disconnect it differs between versions of ASGI whether the
generator is closed, and when. Here the request's own task writes and is cancelled when the client goes away. Our own
HTTP protocol says so at once (:class:`DisconnectSignal`); under any other server a second task waits for
``http.disconnect``, and is over before the call returns. ``asyncio`` cancels once, at an edge, so that what the
generator awaits while it unwinds is not cancelled again.

Chunks that are ready together are sent together, an event each; nothing waits for more of them. A slow reader holds
back ``send``, which holds back the generator.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Send

from antiphon.errors import APIError, InternalServerError
from antiphon.protocol.responses import ChatCompletionChunk
from antiphon.protocol.sse import DONE, encode_chunk, encode_error

T = TypeVar("T")

HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""The last one keeps a reverse proxy from collecting the events."""
MAX_SENT: Final = 16 * 1024
"""Bytes after which no further event is sent with those before it: a slow reader is to be noticed."""

logger = structlog.get_logger(__name__)


class DisconnectSignal:
    """A request's client going away, told by the connection itself."""

    __slots__ = ("_task", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._task: asyncio.Task[Any] | None = None

    def set(self) -> None:
        """Say that the client has gone; only the first time counts."""
        if self.is_set:
            return
        self.is_set = True
        if self._task is not None:
            self._task.cancel()

    async def cancels(self, work: Coroutine[Any, Any, T]) -> T:
        """Do as :func:`until_disconnect`, for one ``work`` at a time."""
        gone = self.is_set
        if gone:
            work.close()
            raise ClientDisconnect
        self._task = asyncio.current_task()
        assert self._task is not None, "inside of a task"
        cancelling = self._task.cancelling()
        try:
            return await work
        except asyncio.CancelledError:
            if self.is_set and self._task.cancelling() == cancelling + 1:
                raise ClientDisconnect from None
            raise
        finally:
            if self.is_set:
                self._task.uncancel()
            self._task = None


async def until_disconnect(
    receive: Receive, work: Coroutine[Any, Any, T], disconnect: DisconnectSignal | None = None
) -> T:
    """Return what ``work`` returns, or cancel it when the client goes away; it is over in either case.

    Call it once the request body is read: every message of ``receive`` but the disconnect is dropped, and with a
    ``disconnect`` it is not called. Raises ``ClientDisconnect``, and whatever ``work`` raises.
    """
    if disconnect is not None:
        return await disconnect.cancels(work)
    watched = asyncio.current_task()
    assert watched is not None, "inside of a task"
    cancelling = watched.cancelling()
    watching = asyncio.create_task(_cancel_at_disconnect(receive, watched))
    try:
        return await work
    except asyncio.CancelledError:
        if _gone(watching) and watched.cancelling() == cancelling + 1:
            raise ClientDisconnect from None
        raise
    finally:
        if _gone(watching):
            watched.uncancel()
        else:
            watching.cancel()
            await asyncio.wait((watching,))


async def _cancel_at_disconnect(receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


def _gone(watching: "asyncio.Task[None]") -> bool:
    """Whether the client has gone away, and the work was cancelled for it."""
    return watching.done() and not watching.cancelled() and watching.exception() is None


Encode = Callable[[ChatCompletionChunk], bytes]
Keep = Callable[[bytes], Awaitable[None]]
"""Told the whole body before its last event is sent."""


async def write_events(
    batches: AsyncGenerator[list[ChatCompletionChunk], None],
    send: Send,
    headers: Mapping[str, str] | None = None,
    *,
    encode: Encode = encode_chunk,
    keep: Keep | None = None,
    count: Callable[[int], None] = lambda _: None,
) -> None:
    """Answer with chunks as events and ``data: [DONE]``; ``batches`` is closed exactly once.

    The status waits for the first chunk, so that an error before it is a plain HTTP error: it is raised. An error after
    it is one event with the error object, and the end. ``count`` is told of the bytes that are held for ``keep``, and
    may raise ``APIError``.
    """
    async with aclosing(batches):
        events = _Events(batches, encode, keep, count)
        first = await events.first()
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *_raw(headers)]})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        more = True
        while more:
            body, more = await events.next()
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def write_kept_events(body: bytes, send: Send, headers: Mapping[str, str]) -> None:
    """Answer with the events of an earlier answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *_raw(headers)]})
    await send({"type": "http.response.body", "body": body})


def _raw(headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in (headers or {}).items()]


class _Events:
    """Chunks as events, all kept until the last one when somebody wants the whole body."""

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
        """Return the first events. Raises what the batches raise."""
        self._ready.extend(await anext(self._batches))
        return self._joined()

    async def next(self) -> tuple[bytes, bool]:
        """Return the next events and whether others follow them."""
        try:
            if not self._ready:
                self._ready.extend(await anext(self._batches))
            return self._joined(), True
        except StopAsyncIteration:
            return await self._end(), False
        except Exception as error:  # noqa: BLE001 - whatever it is, the stream ends in an event
            return _failure(error), False

    async def _end(self) -> bytes:
        """Return the event of a stream that went well."""
        try:
            if self._keep is not None:
                await self._keep(b"".join([*self._body, DONE]))
        except Exception as error:  # noqa: BLE001 - the same
            return _failure(error)
        return DONE

    def _joined(self) -> bytes:
        """Return the events that are ready, up to the one that makes them :data:`MAX_SENT`."""
        joined = b""
        while self._ready and len(joined) < MAX_SENT:
            joined += self._encode(self._ready.popleft())
        if self._keep is not None:
            self._count(len(joined))
            self._body.append(joined)
        return joined


def _failure(error: Exception) -> bytes:
    """Return the event of a stream that failed; what is none of ours is told to the log alone."""
    if isinstance(error, APIError):
        return encode_error(error)
    logger.error("stream_failed", exc_info=error)
    return encode_error(InternalServerError("The server had an error while it answered."))
