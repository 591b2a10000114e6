"""The memory of all request bodies together: what it accepts and refuses, and its release."""

import asyncio
import gc
import re
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.config import ServerOptions
from antiphon.engine.interface import GenerateRequest
from antiphon.errors import APIError, BodyMemoryError, PayloadTooLargeError, RateLimitError
from antiphon.server import body_memory
from antiphon.server.body_memory import (
    MAX_STRUCTURE,
    SMALL_BODY,
    SMALL_DECODED,
    STRUCTURE_BYTES,
    BodyMemory,
    structural_characters,
)
from antiphon.server.completion_answer import CompletionAnswer
from antiphon.server.middleware import ErrorBoundary, RequestBounds
from tests.scripted_engine import Script, ScriptedEngine
from tests.server.asgi import Exchange, body
from tests.server.conftest import MODEL, Server, StartServer, scripted_app

LIMIT = 200_000
LARGE = 150_000
"""Bytes of a body beside which there is no room for another."""
SIZES = (0, 1, 40_000, SMALL_BODY, SMALL_BODY + 1, LARGE, LIMIT, 2 * LIMIT)
PATH = "/v1/chat/completions"
QUESTION = msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})


@pytest.mark.parametrize("size", [SMALL_BODY + 1, LIMIT])
def test_body_that_fits_is_accepted(size: int) -> None:
    memory = BodyMemory(LIMIT)
    memory.grow(0, size)
    assert size == memory.held


@pytest.mark.parametrize("size", [SMALL_BODY + 1, LIMIT])
def test_body_that_does_not_fit_is_refused_and_does_not_count(size: int) -> None:
    memory = BodyMemory(LIMIT)
    memory.grow(0, LARGE)
    with pytest.raises(BodyMemoryError, match="200000 bytes"):
        memory.grow(0, size)
    assert LARGE == memory.held


def test_a_small_body_is_counted_and_never_refused() -> None:
    memory = BodyMemory(LIMIT)
    memory.grow(0, LIMIT)
    memory.grow(0, SMALL_BODY)
    assert LIMIT + SMALL_BODY == memory.held


def test_a_body_that_grows_is_counted_once() -> None:
    memory = BodyMemory(LIMIT)
    memory.grow(0, 1)
    memory.grow(1, LIMIT)
    assert LIMIT == memory.held


def test_announced_bytes_do_not_count() -> None:
    memory = BodyMemory(LIMIT)
    memory.check(0, LIMIT)
    assert 0 == memory.held


def test_released_memory_is_free_for_other_bodies() -> None:
    memory = BodyMemory(LIMIT)
    memory.grow(0, LIMIT)
    memory.release(LIMIT)
    memory.grow(0, LARGE)
    assert LARGE == memory.held


def test_more_cannot_be_given_back_than_was_granted() -> None:
    with pytest.raises(AssertionError, match="-1 >= 0"):
        BodyMemory(LIMIT).release(1)


STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
TEXTS = st.lists(st.sampled_from(["", "a", '"', "\\", "\\\\", '[{"', ",:", "é", "\n"]), max_size=6).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.recursive(TEXTS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_structure_is_counted_across_pieces_and_strings(value: object) -> None:
    text = msgspec.json.encode(value)
    structure = re.findall(r"[][{}:,]", STRINGS.sub("", text.decode()))
    with mock.patch.multiple(body_memory, _FEW=-1, _SLICE=3):
        assert len(structure) == structural_characters(text)


def test_strings_count_in_a_text_with_little_structure() -> None:
    assert 4 == structural_characters(b'["a,b"] ,')


HEAVIEST = {
    "arrays": "[]",
    "nested arrays": "[[[[]]]]",
    "objects": "{}",
    "objects of one": '{"":0}',
    "objects of a text": '{"a":"b"}',
    "texts": '"a"',
    "decimals": "1.5",
    "integers": "999",
}


@pytest.mark.parametrize("value", HEAVIEST.values(), ids=HEAVIEST)
def test_memory_of_decoded_json_is_at_most_the_granted_memory(value: str) -> None:
    text = f"[{','.join([value] * 20_000)}]".encode()
    tracemalloc.start()
    try:
        decoded = msgspec.json.decode(text)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 20_000 == len(decoded)
    assert taken <= BodyMemory(1 << 30).grow_decoded(0, text)


def test_decoded_form_of_a_body_counts() -> None:
    memory = BodyMemory(1 << 20)
    memory.grow(0, 8_000)
    assert 8_000 + 8_000 * STRUCTURE_BYTES == memory.grow_decoded(8_000, b"[]" * 4_000)
    assert 8_000 + 8_000 * STRUCTURE_BYTES == memory.held


def test_body_that_decodes_to_more_than_the_free_memory_is_refused() -> None:
    memory = BodyMemory(1 << 20)
    memory.grow(0, LARGE)
    with pytest.raises(BodyMemoryError):
        memory.grow_decoded(0, b"[]" * 8_000)
    assert LARGE == memory.held


def test_body_that_decodes_to_more_than_the_whole_memory_is_413() -> None:
    with pytest.raises(PayloadTooLargeError, match="1048576 bytes when it is decoded"):
        BodyMemory(1 << 20).grow_decoded(0, b"[]" * 16_000)


def test_body_with_too_many_values_is_413() -> None:
    memory = BodyMemory(1 << 40)
    with pytest.raises(PayloadTooLargeError, match="too many values"):
        memory.grow_decoded(0, b"[]" * (MAX_STRUCTURE // 2 + 1))
    assert 0 == memory.held


def test_decoded_form_of_a_small_body_counts_and_is_never_refused() -> None:
    memory = BodyMemory(LIMIT)
    memory.grow(0, LIMIT)
    assert SMALL_DECODED == memory.grow_decoded(0, b"[]" * (SMALL_DECODED // STRUCTURE_BYTES // 2))


class Upload(msgspec.Struct, frozen=True):
    """A request: its body and its end."""

    pieces: tuple[int, ...]
    """Bytes."""
    declared: bool
    end: Literal["answered", "fails", "unread", "cancelled", "vanishes", "stalls"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Length": str(sum(self.pieces))} if self.declared else {}

    @property
    def whole(self) -> bool:
        return self.end not in {"vanishes", "stalls"}

    def messages(self) -> list[Message]:
        return body(*(bytes(size) for size in self.pieces), complete=self.whole)


UPLOADS = st.builds(
    Upload,
    pieces=st.lists(st.sampled_from(SIZES), min_size=1, max_size=4).map(tuple),
    declared=st.booleans(),
    end=st.sampled_from(["answered", "fails", "unread", "cancelled", "vanishes", "stalls"]),
)


def bounded(app: ASGIApp, memory: BodyMemory, *, body_timeout: float = 5) -> RequestBounds:
    return RequestBounds(app, max_body_size=2 * LIMIT, body_timeout=body_timeout, memory=memory)


async def run(upload: Upload, memory: BodyMemory) -> None:
    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        if upload.end == "unread":
            return
        await Request(scope, receive).body()
        await asyncio.sleep(0)
        if upload.end == "fails":
            raise LookupError
        if upload.end == "cancelled":
            await asyncio.Event().wait()

    exchange = Exchange(upload.messages())
    if upload.end == "vanishes":
        exchange.disconnect()
    bounds = bounded(app, memory, body_timeout=0.001 if upload.end == "stalls" else 5)
    running = asyncio.create_task(exchange.run(bounds, headers=upload.headers))
    for _ in range(10):
        await asyncio.sleep(0)
        assert memory.held <= memory.limit + 12 * SMALL_BODY
    if upload.end == "cancelled":
        running.cancel()
    await asyncio.wait({running})
    if not running.cancelled():
        assert isinstance(running.exception(), APIError | ClientDisconnect | LookupError | None)


@settings(max_examples=40, deadline=None)
@given(st.lists(UPLOADS, min_size=1, max_size=12))
def test_every_end_of_a_request_releases_its_memory(uploads: list[Upload]) -> None:
    memory = BodyMemory(LIMIT)

    async def all_at_once() -> None:
        await asyncio.gather(*(run(upload, memory) for upload in uploads))

    asyncio.run(all_at_once())
    assert 0 == memory.held


@contextmanager
def taken(memory: BodyMemory) -> Iterator[None]:
    """Hold so much that no large body fits."""
    memory.grow(0, LARGE)
    yield
    memory.release(LARGE)


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.anyio
async def test_a_declared_length_that_does_not_fit_is_refused_unread() -> None:
    memory = BodyMemory(LIMIT)
    exchange = Exchange(body(b"0"))
    with taken(memory), pytest.raises(BodyMemoryError):
        await exchange.run(bounded(reads, memory), headers={"Content-Length": str(LARGE)})
    assert b"0" == (await exchange.receive())["body"]


@pytest.mark.anyio
async def test_declared_body_counts_by_its_received_bytes() -> None:
    memory = BodyMemory(LIMIT)
    running = asyncio.create_task(
        Exchange(body(b"000", complete=False)).run(bounded(reads, memory), headers={"Content-Length": str(LIMIT)})
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert 3 == memory.held
    running.cancel()
    await asyncio.wait({running})


@pytest.mark.anyio
async def test_chunked_body_is_refused_when_it_no_longer_fits() -> None:
    memory = BodyMemory(LIMIT)
    exchange = Exchange(body(bytes(40_000), bytes(40_000), b"the rest"))
    with taken(memory), pytest.raises(BodyMemoryError):
        await exchange.run(bounded(reads, memory))
    assert b"the rest" == (await exchange.receive())["body"]


@pytest.mark.anyio
async def test_body_larger_than_the_whole_memory_is_413() -> None:
    exchange = Exchange(body(b"0"))
    app = ErrorBoundary(bounded(reads, BodyMemory(LIMIT)))
    await exchange.run(app, headers={"Content-Length": str(LIMIT + 1)})
    assert 413 == exchange.status


class Piece(bytearray):
    """Bytes that can be referenced weakly."""


@pytest.mark.anyio
async def test_refused_body_is_freed_before_the_answer_is_sent() -> None:
    piece = Piece(40_000)
    seen = weakref.ref(piece)
    begin: Message = {"type": "http.request", "body": piece, "more_body": True}
    exchange = Exchange([begin, *body(bytes(40_000))])
    del piece, begin
    left: list[object] = []

    async def send(message: Message) -> None:
        left.append(seen())
        await exchange.send(message)

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        await ErrorBoundary(bounded(reads, memory))(scope, receive, send)

    memory = BodyMemory(LIMIT)
    with taken(memory):
        await exchange.run(app)
    assert 429 == exchange.status
    assert {None} == set(left)


def full(_request: GenerateRequest) -> Script:
    raise RateLimitError("full")


@pytest.mark.anyio
async def test_failed_request_is_freed_without_a_garbage_collection() -> None:
    app = scripted_app(ScriptedEngine(full))
    exchange = Exchange(body(QUESTION))
    gc.collect()
    gc.disable()
    try:
        before = len(answers_held())
        await exchange.run(app, method="POST", path=PATH, headers={"Content-Type": "application/json"})
        left = len(answers_held()) - before
    finally:
        gc.enable()
    assert (429, 0) == (exchange.status, left)


def answers_held() -> list[CompletionAnswer]:
    return [thing for thing in gc.get_objects() if type(thing) is CompletionAnswer]


LARGE_QUESTION = QUESTION + b" " * 700_000


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """Start a server with 1 MiB for bodies: room for one such body."""
    return start_server(options=ServerOptions(max_body_memory=1))


def status(server: Server, content: bytes) -> int:
    return server.http.post(PATH, content=content, headers={"Content-Type": "application/json"}).status_code


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"


@contextmanager
def half_sent(server: Server) -> Iterator[None]:
    """Send a part of a large body, so that no other large body fits."""
    with server.connect() as slow:
        slow.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE_QUESTION))
        assert slow.recv(65536).startswith(b"HTTP/1.1 100 ")
        slow.sendall(LARGE_QUESTION[:400_000])
        server.wait_until(lambda: status(server, LARGE_QUESTION) == 429)
        yield


def test_disconnect_during_the_upload_releases_the_memory(server: Server) -> None:
    with half_sent(server):
        assert 200 == status(server, QUESTION)
    server.wait_until(lambda: status(server, LARGE_QUESTION) == 200)


def test_refusal_names_the_memory_and_the_time_to_retry(server: Server) -> None:
    with half_sent(server):
        answer = server.http.post(PATH, content=LARGE_QUESTION, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert ("rate_limit_error", "body_memory_exceeded", None) == (error["type"], error["code"], error["param"])
    assert "1048576 bytes" in error["message"]
    assert ("1", "close") == (answer.headers["retry-after"], answer.headers["connection"])


def test_complete_answer_releases_the_memory(server: Server) -> None:
    assert 200 == status(server, LARGE_QUESTION)
    server.wait_until(lambda: status(server, LARGE_QUESTION) == 200)
