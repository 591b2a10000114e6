"""The whole server on one event loop: sockets, HTTP, service, the engine's client and core, over the fake model.

What it holds can be counted from outside, so that a test can show that everything came back. The engine's worker is a
thread of this process; :data:`PACE` lets a test hold its next step.
"""

import asyncio
import gc
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn
from msgspec import Struct

from antiphon.assembly.assembler import Assembler
from antiphon.backends.local import LocalBackend
from antiphon.chat_formats.answer_calls import AnswerCalls
from antiphon.chat_formats.chat_format import HERMES
from antiphon.config import ServerOptions
from antiphon.engine.host.client import EngineClient, RequestStream
from antiphon.engine.interface import EngineOptions
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.core import Core
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.render_job import Rendering
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.server.http_protocol import HTTPProtocol
from antiphon.service import Service
from tests.engine.fake_model import FakeModel, Floats
from tests.scripted_engine import ScriptedRenderer

MODEL = "fake"
WAIT = 30.0
"""Seconds that anything may take before a test gives up."""
CTX_SIZE = 4096
HELD = (RequestStream, Assembler, Sequence)
"""What a request is while it lives, in the client, in the backend and in the engine."""


class Pace:
    """Holds the engine's steps: ``entered`` is set while one waits to go on."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.entered = threading.Event()
        self.free.set()

    def step(self) -> None:
        """Wait, in the engine's thread, until steps are free."""
        if not self.free.is_set():
            self.entered.set()
            assert self.free.wait(WAIT), "nobody let the step go on"
            self.entered.clear()


PACE = Pace()


class PacedModel(FakeModel):
    """The fake model, whose tokens never end an answer."""

    def decode(self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]) -> Floats:
        PACE.step()
        return super().decode(tokens, positions, seq_ids, outputs)


def open_core(options: EngineOptions, *, clock: Callable[[], float], entropy: Callable[[], int]) -> Core:
    """Make a core over the fake model; the worker finds it by its dotted path."""
    return Core(PacedModel(options.ctx_size, eog_ids=frozenset()), options, clock=clock, entropy=entropy)


class Letters:
    """A letter per token, which neither ends a JSON string nor a tool call."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the letter."""
        return bytes((ord("a") + token_id % 26,))

    def token_text(self, token_id: int) -> str:
        """Return the letter."""
        return self.token_bytes(token_id).decode()


class CallingRenderer(ScriptedRenderer):
    """Passes the seed on, and has the answer to a request with tools begin inside the arguments of a call."""

    async def render(self, request: CreateChatCompletion, request_id: str, cache_salt: str) -> Rendering:
        rendering = await super().render(request, request_id, cache_salt)
        sampling = msgspec.structs.replace(rendering.generate.sampling, seed=request.seed)
        generate = msgspec.structs.replace(rendering.generate, sampling=sampling)
        rendering = msgspec.structs.replace(rendering, generate=generate)
        if request.tools is None:
            return rendering
        opening = '<tool_call>\n{"name": "weather", "arguments": {"city": "'
        tools = AnswerCalls(notation=HERMES, tools={"weather": {}}, opening=opening)
        return msgspec.structs.replace(rendering, tools=tools)


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handling: it runs inside a test."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class Counts(Struct, frozen=True):
    """What is held now."""

    tasks: int
    descriptors: int
    running: int
    waiting: int
    leased_cells: int
    """KV cells that a running sequence holds; what is cached beside them is free for whoever needs it."""


class FrontDoor(Struct, frozen=True):
    """A server that runs, and its engine."""

    port: int
    client: EngineClient
    alive_before: dict[str, int]
    """What other tests have left in memory: more is a leak, less is what the collector has found meanwhile."""

    def counts(self) -> Counts:
        """Count it; the engine's figures are as old as its newest statistics."""
        stats = self.client.stats
        assert stats is not None, "the engine runs"
        return Counts(
            tasks=len(asyncio.all_tasks()),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            running=stats.running,
            waiting=stats.waiting,
            leased_cells=stats.kv_cells_used - stats.kv_cells_cached,
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what other tasks and the engine's thread bring about."""
        async with asyncio.timeout(WAIT):
            while not condition():  # noqa: ASYNC110 (nothing signals it)
                await asyncio.sleep(0.01)

    async def until_back(self, before: Counts) -> None:
        """Wait until nothing more is held than ``before``; says what is when the time is up."""
        try:
            await self.until(lambda: self.counts() == before)
        except TimeoutError:
            assert before == self.counts()
        left = {name: count - self.alive_before[name] for name, count in alive().items()}
        assert {} == {name: count for name, count in left.items() if count > 0}


def alive() -> dict[str, int]:
    """Count what requests have left in memory."""
    gc.collect()
    things = gc.get_objects()
    return {kind.__name__: sum(type(thing) is kind for thing in things) for kind in HELD}


@asynccontextmanager
async def front_door(
    *,
    max_num_seqs: int = 8,
    max_waiting: int = 64,
    max_num_batched_tokens: int = 256,
    protocol: type[HTTPProtocol] = HTTPProtocol,
) -> AsyncIterator[FrontDoor]:
    """Serve from this event loop until the block ends."""
    options = EngineOptions(
        model_path="",
        ctx_size=CTX_SIZE,
        max_num_seqs=max_num_seqs,
        max_waiting=max_waiting,
        max_num_batched_tokens=max_num_batched_tokens,
        prefill_chunk_size=max_num_batched_tokens,
    )
    client = EngineClient(options, transport="thread", core_factory="tests.load.front_door:open_core")
    await client.start()
    service = Service(Router({MODEL: [LocalBackend(client, Letters(), CallingRenderer())]}))
    app = create_app(service, ServerOptions())
    config = uvicorn.Config(app, http=protocol, log_config=None, access_log=False, ws="none", lifespan="off")
    server = QuietServer(config)
    with socket.socket() as listener, _quiet_log():
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            door = FrontDoor(listener.getsockname()[1], client, alive())
            await door.until(lambda: server.started)
            idle = door.counts()
            await (await ask(door, "Hi", max_tokens=1)).rest()
            await door.until(lambda: idle == door.counts())
            yield door
        finally:
            PACE.free.set()
            server.should_exit = True
            server.force_exit = True
            await serving
            await service.close()


@contextmanager
def _quiet_log() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


class Conversation:
    """One request on one connection, as far as a client wants to follow it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = b""

    async def until(self, mark: bytes, times: int = 1) -> None:
        """Read until ``mark`` has come so often."""
        async with asyncio.timeout(WAIT):
            while self.received.count(mark) < times:
                data = await self._reader.read(4096)
                assert data, f"{mark!r} did not come: {self.received!r}"
                self.received += data

    async def read(self, size: int) -> bytes:
        """Read a little."""
        data = await asyncio.wait_for(self._reader.read(size), WAIT)
        self.received += data
        return data

    def vanish(self, *, reset: bool = False) -> None:
        """Go away: politely, or with a reset, without reading on."""
        if reset:
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def rest(self) -> bytes:
        """Read to the end, and close."""
        while await self.read(65536):
            pass
        self._writer.close()
        return self.received

    async def events(self) -> list[dict[str, Any]]:
        """Read to the end; give the data of the events, without ``[DONE]``."""
        lines = [line for line in (await self.rest()).splitlines() if line.startswith(b"data: {")]
        return [json.loads(line.removeprefix(b"data: ")) for line in lines]

    @property
    def status(self) -> int:
        """Of the answer."""
        return int(self.received.split(b" ", 2)[1])


async def connect(door: FrontDoor) -> Conversation:
    """Open a connection that takes little at a time, so that a client that does not read is soon noticed."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)  # noqa: FBT003 (the library's signature)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", door.port))
    return Conversation(*await asyncio.open_connection(sock=sock, limit=4096))


async def ask(door: FrontDoor, text: str, *, max_tokens: int, **fields: object) -> Conversation:
    """Ask for a stream that ends after ``max_tokens`` tokens, with its usage."""
    conversation = await connect(door)
    conversation._writer.write(request(text, max_tokens=max_tokens, **fields))
    return conversation


def request(text: str, *, max_tokens: int, **fields: object) -> bytes:
    """Return the bytes of a request."""
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": MODEL, "messages": messages, "max_tokens": max_tokens, **stream, **fields}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
