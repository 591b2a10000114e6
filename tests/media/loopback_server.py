"""A server on 127.0.0.1 that answers with any bytes, and a network that reaches it under any name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from antiphon.media.guarded_network import GuardedNetwork

LOOPBACK = "127.0.0.1"
Script = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""The bytes of an answer, or a function that writes it."""


def answer(
    body: bytes = b"", *, status: int = 200, content_type: str = "image/png", length: int | None = None, **more: str
) -> bytes:
    """Return an answer; further headers have underscores for hyphens, ``length`` is the declared one."""
    headers = {"Content-Length": str(len(body) if length is None else length), "Content-Type": content_type, **more}
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    """Return a redirect."""
    return answer(status=status, Location=location)


class LoopbackServer:
    """Answers requests by their path."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.heads: list[str] = []
        """The heads of all requests."""
        self.port = 0
        self._scripts = scripts
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        self._tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            script = self._scripts[head.split()[1]]
            if isinstance(script, bytes):
                writer.write(script)
            else:
                await script(reader, writer)
            await writer.drain()
        writer.close()

    async def end(self) -> None:
        """End the connections."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def served(scripts: Mapping[str, Script]) -> AsyncIterator[LoopbackServer]:
    """Serve on a free port."""
    server = LoopbackServer(scripts)
    listening = await asyncio.start_server(server.answer, LOOPBACK, 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.end()


class Names:
    """A resolver: each name has lists of addresses, given out in turn; the last one stays."""

    def __init__(self, **addresses: list[list[str]]) -> None:
        self.asked: list[tuple[str, int]] = []
        self._addresses = addresses

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answers = self._addresses.get(host.partition(".")[0], [[LOOPBACK]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def network(names: Names | None = None) -> GuardedNetwork:
    """Return a network for which only 127.0.0.1 is public."""
    return GuardedNetwork(Names() if names is None else names, lambda address: address == LOOPBACK)
