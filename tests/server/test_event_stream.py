import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import APIError, RateLimitError, ServiceUnavailableError
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, Delta
from antiphon.protocol.sse import DONE, encode_chunk, encode_error
from antiphon.server import event_stream
from antiphon.server.event_stream import MAX_SENT, PING, Keep, replay_events, write_events
from tests.server.asgi import Exchange

pytestmark = pytest.mark.anyio

LONG = 1000.0
"""Seconds that no test takes."""


def chunk(content: str) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id="chatcmpl-1",
        created=1,
        model="m",
        service_tier="default",
        system_fingerprint="fp_1",
        choices=[ChunkChoice(index=0, delta=Delta(content=content))],
    )


class Chunks:
    """A generator of chunks that counts them and records its end. The chunks of a list are ready together."""

    def __init__(self, *items: ChatCompletionChunk | list[ChatCompletionChunk] | Exception | asyncio.Event) -> None:
        self.items = items
        self.begun = asyncio.Event()
        self.given = 0
        self.ended = ""

    async def generate(self) -> AsyncGenerator[list[ChatCompletionChunk], None]:
        self.begun.set()
        try:
            for item in self.items:
                match item:
                    case Exception():
                        raise item  # noqa: TRY301 - an item of the script
                    case asyncio.Event():
                        await item.wait()
                    case list():
                        self.given += len(item)
                        yield item
                    case _:
                        self.given += 1
                        yield [item]
            self.ended = "exhausted"
        except BaseException as error:
            # A second cancellation would interrupt these: a backend may have to send an abort here.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.ended = type(error).__name__
            raise

    def stream(
        self,
        keep: Keep | None = None,
        count: Callable[[int], None] = lambda _: None,
        *,
        headers_after: float = LONG,
    ) -> ASGIApp:
        """Return an application that answers with the chunks until the client disconnects."""

        async def app(scope: Scope, _receive: Receive, send: Send) -> None:
            events = write_events(
                self.generate(), send, lambda: {"x-one": "1"}, headers_after=headers_after, keep=keep, count=count
            )
            await scope["state"]["disconnect"].run(events)

        return app


async def wait_until(exchange: Exchange, sent: int) -> None:
    async with asyncio.timeout(5):
        while len(exchange.sent) < sent:  # noqa: ASYNC110 - the exchange is kept simple
            await asyncio.sleep(0)


async def test_chunks_are_events_and_done_ends_them() -> None:
    exchange = Exchange()
    await exchange.run(Chunks(chunk("a"), chunk("b")).stream())
    assert encode_chunk(chunk("a")) + encode_chunk(chunk("b")) + DONE == exchange.body
    assert exchange.complete


async def test_chunks_that_are_ready_together_are_sent_together() -> None:
    exchange = Exchange()
    await exchange.run(Chunks([chunk("a"), chunk("b")], [chunk("c"), chunk("d")]).stream())
    texts = [b"".join(map(encode_chunk, map(chunk, pair))) for pair in ("ab", "cd")]
    assert [*texts, DONE] == [message["body"] for message in exchange.sent[1:]]


async def test_no_more_is_sent_together_than_a_slow_reader_should_hold() -> None:
    exchange, large = Exchange(), [chunk("x" * (MAX_SENT // 2)) for _ in range(5)]
    await exchange.run(Chunks(large).stream())
    assert [2, 2, 1, 0] == [message["body"].count(b"chatcmpl") for message in exchange.sent[1:]]
    assert b"".join(map(encode_chunk, large)) + DONE == exchange.body


async def test_stream_has_the_headers_of_server_sent_events() -> None:
    exchange = Exchange()
    await exchange.run(Chunks(chunk("a")).stream())
    assert 200 == exchange.status
    assert {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        "x-one": "1",
    } == dict(exchange.headers)


async def test_an_error_before_the_first_chunk_is_raised_and_nothing_is_sent() -> None:
    exchange = Exchange()
    with pytest.raises(RateLimitError):
        await exchange.run(Chunks(RateLimitError("full")).stream())
    assert [] == exchange.sent


async def test_the_status_waits_for_the_first_chunk() -> None:
    ready, exchange = asyncio.Event(), Exchange()
    running = asyncio.create_task(exchange.run(Chunks(ready, chunk("a")).stream()))
    await asyncio.sleep(0.01)
    assert [] == exchange.sent
    ready.set()
    await running
    assert 200 == exchange.status


async def test_stream_without_a_chunk_begins_after_some_time() -> None:
    ready, exchange = asyncio.Event(), Exchange()
    running = asyncio.create_task(exchange.run(Chunks(ready, chunk("a"), chunk("b")).stream(headers_after=0)))
    await wait_until(exchange, 2)
    assert (200, "1", PING, False) == (exchange.status, exchange.headers["x-one"], exchange.body, exchange.complete)
    ready.set()
    await running
    assert PING + encode_chunk(chunk("a")) + encode_chunk(chunk("b")) + DONE == exchange.body
    assert 1 == sum(message["type"] == "http.response.start" for message in exchange.sent)


async def test_comments_are_sent_until_the_first_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "PING_INTERVAL", 0.001)
    first, second, exchange = asyncio.Event(), asyncio.Event(), Exchange()
    chunks = Chunks(first, chunk("a"), second, chunk("b"))
    running = asyncio.create_task(exchange.run(chunks.stream(headers_after=0)))
    await wait_until(exchange, 5)
    first.set()
    await asyncio.sleep(0.01)
    second.set()
    await running
    pings, _, rest = exchange.body.partition(encode_chunk(chunk("a")))
    assert pings == PING * pings.count(PING)
    assert encode_chunk(chunk("b")) + DONE == rest


async def test_stream_whose_first_chunk_is_ready_has_no_comment() -> None:
    exchange = Exchange()
    await exchange.run(Chunks(chunk("a")).stream(headers_after=0))
    assert encode_chunk(chunk("a")) + DONE == exchange.body


@pytest.mark.parametrize("error", [RateLimitError("full"), ServiceUnavailableError("The engine stopped.")])
async def test_an_error_before_the_first_chunk_is_an_event_when_the_stream_has_begun(error: APIError) -> None:
    ready, exchange = asyncio.Event(), Exchange()
    running = asyncio.create_task(exchange.run(Chunks(ready, error).stream(headers_after=0)))
    await wait_until(exchange, 2)
    ready.set()
    await running
    assert (200, PING + encode_error(error)) == (exchange.status, exchange.body)
    assert exchange.complete


async def test_kept_answer_has_no_comment() -> None:
    ready, exchange, kept = asyncio.Event(), Exchange(), []

    async def keep(body: bytes) -> None:
        kept.append(body)

    running = asyncio.create_task(exchange.run(Chunks(ready, chunk("a")).stream(keep, headers_after=0)))
    await wait_until(exchange, 2)
    ready.set()
    await running
    assert [encode_chunk(chunk("a")) + DONE] == kept


@pytest.mark.parametrize("reads", [True, False])
async def test_client_that_leaves_after_the_first_comment_ends_the_generator_at_once(*, reads: bool) -> None:
    before, chunks, exchange = asyncio.all_tasks(), Chunks(asyncio.Event()), Exchange()
    if not reads:
        exchange.writable.clear()
    running = asyncio.create_task(exchange.run(chunks.stream(headers_after=0)))
    await wait_until(exchange, 2 if reads else 1)
    exchange.disconnect()
    with pytest.raises(ClientDisconnect):
        await running
    assert "CancelledError" == chunks.ended
    assert before == asyncio.all_tasks()


async def test_an_error_after_the_first_chunk_is_an_event_and_the_end() -> None:
    exchange, error = Exchange(), ServiceUnavailableError("The engine stopped.")
    await exchange.run(Chunks(chunk("a"), error, chunk("b")).stream())
    assert encode_chunk(chunk("a")) + encode_error(error) == exchange.body
    assert exchange.complete


async def test_a_fault_after_the_first_chunk_shows_nothing_of_itself() -> None:
    exchange = Exchange()
    await exchange.run(Chunks(chunk("a"), ValueError("a secret")).stream())
    assert b"server_error" in exchange.body
    assert b"secret" not in exchange.body
    assert b"[DONE]" not in exchange.body


@pytest.mark.parametrize("chunks_before", [0, 1, 3])
async def test_a_disconnect_ends_the_generator_before_the_call_returns(chunks_before: int) -> None:
    chunks = Chunks(*[chunk("a")] * chunks_before, asyncio.Event())
    exchange = Exchange()
    running = asyncio.create_task(exchange.run(chunks.stream()))
    await chunks.begun.wait()
    await wait_until(exchange, 0 if chunks_before == 0 else 1 + chunks_before)
    exchange.disconnect()
    with pytest.raises(ClientDisconnect):
        await running
    assert "CancelledError" == chunks.ended
    assert not exchange.complete


async def test_a_disconnect_while_the_client_reads_nothing_closes_the_generator() -> None:
    chunks = Chunks(*[chunk("a")] * 10)
    exchange = Exchange()
    exchange.writable.clear()
    running = asyncio.create_task(exchange.run(chunks.stream()))
    await wait_until(exchange, 1)
    exchange.disconnect()
    with pytest.raises(ClientDisconnect):
        await running
    assert "GeneratorExit" == chunks.ended


async def test_a_slow_reader_holds_the_generator_back() -> None:
    chunks = Chunks(*[chunk("a")] * 10)
    exchange = Exchange()
    exchange.writable.clear()
    running = asyncio.create_task(exchange.run(chunks.stream()))
    await asyncio.sleep(0.01)
    assert 1 == chunks.given
    exchange.writable.set()
    await running
    assert 10 == chunks.given


async def test_the_end_of_the_server_cancels_the_stream_and_closes_the_generator() -> None:
    chunks = Chunks(chunk("a"), asyncio.Event())
    exchange = Exchange()
    running = asyncio.create_task(exchange.run(chunks.stream()))
    await wait_until(exchange, 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "CancelledError" == chunks.ended


async def test_no_task_outlives_the_call() -> None:
    before = asyncio.all_tasks()
    await Exchange().run(Chunks(chunk("a")).stream())
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize("kept", [False, True])
async def test_events_held_for_keeping_are_counted(*, kept: bool) -> None:
    async def keep(_body: bytes) -> None:
        pass

    counted: list[int] = []
    await Exchange().run(Chunks(chunk("a"), chunk("b")).stream(keep if kept else None, counted.append))
    assert ([len(encode_chunk(chunk(text))) for text in "ab"] if kept else []) == counted


async def test_stream_ends_in_the_error_of_the_memory_count() -> None:
    async def keep(_body: bytes) -> None:
        raise AssertionError("nothing is whole")

    held = 0

    def count(size: int) -> None:
        nonlocal held
        held += size
        if held > size:
            raise RateLimitError("full")

    exchange = Exchange()
    await exchange.run(Chunks(chunk("a"), chunk("b")).stream(keep, count))
    assert encode_chunk(chunk("a")) + encode_error(RateLimitError("full")) == exchange.body


async def test_answer_is_kept_before_its_last_event_is_sent() -> None:
    exchange, kept = Exchange(), []

    async def keep(body: bytes) -> None:
        kept.append(body)
        assert DONE not in exchange.body

    await exchange.run(Chunks(chunk("a"), chunk("b")).stream(keep))
    assert [exchange.body] == kept


async def test_an_answer_that_failed_is_not_kept() -> None:
    exchange, kept = Exchange(), []

    async def keep(body: bytes) -> None:
        kept.append(body)

    await exchange.run(Chunks(chunk("a"), ServiceUnavailableError("died")).stream(keep))
    assert [] == kept


async def test_an_answer_that_cannot_be_kept_ends_in_an_error_event() -> None:
    exchange, error = Exchange(), ServiceUnavailableError("The database is busy.")

    async def keep(_body: bytes) -> None:
        raise error

    await exchange.run(Chunks(chunk("a")).stream(keep))
    assert encode_chunk(chunk("a")) + encode_error(error) == exchange.body


async def test_kept_events_are_sent_as_they_were() -> None:
    exchange = Exchange()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await replay_events(b"data: 1\n\n", send, {"x-two": "2"})

    await exchange.run(app)
    assert (200, "2", b"data: 1\n\n") == (exchange.status, exchange.headers["x-two"], exchange.body)
