"""A server with HTTP only, on uvicorn, uvloop and httptools as ours: the baseline of our own code's cost.

    python -m bench.bare_server PORT EVENTS

Every answer is the same: one body, or EVENTS events for a streaming request, of the sizes of a short answer. Each event
is written in its own turn of the event loop, as with an engine.
"""

import asyncio
import sys
from typing import Final

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, Delta
from antiphon.protocol.sse import DONE, encode_chunk

STREAMS: Final = b'"stream":true'
"""The part of a request's body that asks for a stream."""
OK: Final[Message] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}
EVENT: Final = encode_chunk(
    ChatCompletionChunk(
        id="chatcmpl-" + "0" * 29,
        created=0,
        model="bench",
        service_tier="default",
        system_fingerprint="fp_0123456789",
        choices=[ChunkChoice(index=0, delta=Delta(content=" garden"))],
        obfuscation="0" * 16,
    )
)
BODY: Final = b"0" * 700
"""As long as a complete answer of one token."""
WHOLE: Final[Message] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}


def application(events: int) -> ASGIApp:
    """Return an application that streams ``events`` events."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        if STREAMS not in await _body(receive):
            await send(WHOLE)
            await send({"type": "http.response.body", "body": BODY})
            return
        await send(OK)
        for _ in range(events):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": DONE})

    return app


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def main() -> None:
    """Serve until a signal arrives."""
    port, events = map(int, sys.argv[1:])
    config = uvicorn.Config(
        application(events), host="127.0.0.1", port=port, loop="uvloop", http="httptools", ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
