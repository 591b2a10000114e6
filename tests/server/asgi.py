"""One request to an ASGI application without a socket: the test decides which messages arrive, and when."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.server.disconnect import DisconnectSignal

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
    """Return the messages of a body in pieces; unless ``complete``, the last one announces more."""
    last = len(pieces) - 1
    return [
        {"type": "http.request", "body": piece, "more_body": index < last or not complete}
        for index, piece in enumerate(pieces)
    ]


def with_signals(app: ASGIApp) -> ASGIApp:
    """Return ``app`` for a transport without our HTTP protocol: each request gets a signal that is never set."""

    async def with_signal(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"disconnect": DisconnectSignal()}}, receive, send)

    return with_signal


class Exchange:
    """A client that sends ``messages``, and disconnects on :meth:`disconnect`. It keeps the application's messages."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.signal = DisconnectSignal()
        self.sent: list[Message] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self._messages.put_nowait(message)

    def disconnect(self) -> None:
        self._messages.put_nowait(DISCONNECT)
        self.signal.set()

    async def receive(self) -> Message:
        return await self._messages.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        await self.writable.wait()

    async def run(self, app: ASGIApp, **request: Any) -> None:  # noqa: ANN401 - passed to scope
        state = {"disconnect": self.signal}
        await asyncio.wait_for(app({**scope(**request), "state": state}, self.receive, self.send), 5)

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
