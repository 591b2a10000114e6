"""Server-sent events as an ASGI response of our own, and work that ends when its client goes away.

Why not a streaming response of the framework: on a disconnect it differs between versions of ASGI whether the
generator is closed, and when. Here one task writes, another waits for ``http.disconnect``, and both are over before the
call returns. ``asyncio`` cancels once, at an edge, so that what the generator awaits while it unwinds is not cancelled
again.

Chunks that are ready together are written in one turn of the event loop, and uvloop joins such writes into one system
call; nothing here collects them. A slow reader holds back ``send``, which holds back the generator.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final, TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

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

logger = structlog.get_logger(__name__)


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns, or cancel it when the client goes away; it is over in either case.

    Call it once the request body is read: every message of ``receive`` but the disconnect is dropped. Raises
    ``ClientDisconnect``, and whatever ``work`` raises.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.wait((working, watching))
    if working.cancelled():
        raise ClientDisconnect
    return working.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream:
    """Answers with chunks as events and ``data: [DONE]``.

    The status waits for the first chunk, so that an error before it is a plain HTTP error. An error after it is one
    event with the error object, and the end. ``chunks`` is closed exactly once.
    """

    def __init__(self, chunks: AsyncGenerator[ChatCompletionChunk, None]) -> None:
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises what ``chunks`` raises before its first chunk, and ``ClientDisconnect``."""
        assert scope["type"] == "http"
        try:
            await until_disconnect(receive, self._write(send))
        finally:
            await self._chunks.aclose()

    async def _write(self, send: Send) -> None:
        first = encode_chunk(await anext(self._chunks))
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        more = True
        while more:
            event, more = await self._next_event()
            await send({"type": "http.response.body", "body": event, "more_body": more})

    async def _next_event(self) -> tuple[bytes, bool]:
        """Return the next event and whether another follows it."""
        try:
            return encode_chunk(await anext(self._chunks)), True
        except StopAsyncIteration:
            return DONE, False
        except APIError as error:
            return encode_error(error), False
        except Exception:
            logger.exception("stream_failed")
            return encode_error(InternalServerError("The server had an error while it answered.")), False
