"""One request to an ASGI application without a socket, so that a test decides what arrives and when."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

DISCONNECT: Message = {"type": "http.disconnect"}


def scope(
    method: str = "GET", path: str = "/", headers: dict[str, str] | None = None, query: bytes = b""
) -> dict[str, Any]:
    fields = {"Host": "x", **(headers or {})}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def body(*pieces: bytes, complete: bool = True) -> list[Message]:
    """Return the messages of a body in pieces; the last one says that more follows when it is not ``complete``."""
    last = len(pieces) - 1
    return [
        {"type": "http.request", "body": piece, "more_body": index < last or not complete}
        for index, piece in enumerate(pieces)
    ]


class Exchange:
    """A client: gives ``messages``, then waits; ``disconnect`` ends it. Keeps what the application sends."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.sent: list[Message] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self._messages.put_nowait(message)

    def disconnect(self) -> None:
        self._messages.put_nowait(DISCONNECT)

    async def receive(self) -> Message:
        return await self._messages.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        await self.writable.wait()

    async def run(self, app: ASGIApp, **request: Any) -> None:  # noqa: ANN401 - passed to scope
        await asyncio.wait_for(app(scope(**request), self.receive, self.send), 5)

    @property
    def status(self) -> int:
        status = self.sent[0]["status"]
        assert isinstance(status, int)
        return status

    @property
    def headers(self) -> Headers:
        return Headers(raw=self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", False)
