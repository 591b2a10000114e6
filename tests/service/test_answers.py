from collections.abc import AsyncGenerator

import msgspec
import pytest

from antiphon.assembly.collector import Collector
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.rate_limits import RateLimitState
from antiphon.protocol.requests import CreateChatCompletion, StreamOptions
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk, ChunkChoice, CompletionUsage, Delta
from antiphon.service.answers import OBFUSCATION_BLOCK, PADDING_BATCH, Answer, Padding, new_completion_id

pytestmark = pytest.mark.anyio

USAGE = CompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
CHUNKS = [
    ChatCompletionChunk(
        id="c",
        created=1,
        model="m",
        service_tier="default",
        system_fingerprint="f",
        choices=[ChunkChoice(index=0, delta=Delta(content=text), finish_reason="stop" if text == "!" else None)],
    )
    for text in ("Hello", " there", "!")
]
LAST = msgspec.structs.replace(CHUNKS[0], choices=[], usage=USAGE)


async def generate(closed: list[bool], collector: Collector) -> AsyncGenerator[list[ChatCompletionChunk], None]:
    try:
        for chunks in (CHUNKS[:2], CHUNKS[2:], [LAST]):
            for chunk in chunks:
                collector.add(chunk)
            yield chunks
    finally:
        closed.append(True)


def answer(options: StreamOptions | None = None, *, closed: list[bool] | None = None) -> Answer:
    request = CreateChatCompletion(messages=[UserMessage(content="Hi")], model="m", stream_options=options)
    collector = Collector()
    chunks = generate([] if closed is None else closed, collector)
    return Answer(request, chunks, rate_limits=RateLimitState(), collector=collector, random_bytes=bytes)


async def read(options: StreamOptions | None = None) -> list[ChatCompletionChunk]:
    return [chunk async for chunks in answer(options).stream() for chunk in chunks]


async def test_completion_has_the_text_of_the_stream() -> None:
    completion = await answer().completion()
    assert ("Hello there!", USAGE) == (completion.choices[0].message.content, completion.usage)


async def test_body_is_the_completion_as_json() -> None:
    assert await answer().completion() == msgspec.json.decode(await answer().body(), type=ChatCompletion)


async def test_batches_stay_together_and_are_never_empty() -> None:
    assert [2, 1] == [len(chunks) async for chunks in answer().stream()]


async def test_usage_chunk_is_sent_only_with_include_usage() -> None:
    assert 3 == len(await read())
    assert USAGE == (await read(StreamOptions(include_usage=True)))[-1].usage


async def framed(options: StreamOptions) -> list[ChatCompletionChunk]:
    """Return the chunks as a client decodes them."""
    whole = answer(options)
    encoder = whole.encoder()
    events = [encoder.encode(chunk) async for chunks in whole.stream() for chunk in chunks]
    return [msgspec.json.decode(event.removeprefix(b"data: "), type=ChatCompletionChunk) for event in events]


async def test_obfuscation_brings_every_delta_to_a_multiple_of_the_block() -> None:
    *chunks, usage = await framed(StreamOptions(include_usage=True))
    assert usage.obfuscation is msgspec.UNSET
    for chunk in chunks:
        assert isinstance(chunk.obfuscation, str)
        assert chunk.obfuscation
        assert 0 == (len(msgspec.json.encode(chunk.choices)) + len(chunk.obfuscation)) % OBFUSCATION_BLOCK


async def test_obfuscation_can_be_turned_off() -> None:
    chunks = await framed(StreamOptions(include_obfuscation=False))
    assert {msgspec.UNSET} == {chunk.obfuscation for chunk in chunks}


def test_padding_is_not_repeated() -> None:
    drawn = iter((b"\0", b"\1"))
    padding = Padding(lambda size: next(drawn) * size)
    given = [padding.fill(0) for _ in range(PADDING_BATCH // OBFUSCATION_BLOCK + 1)]
    assert b"0" * PADDING_BATCH + b"1" * OBFUSCATION_BLOCK == b"".join(given)


@pytest.mark.parametrize("size", [1, 31, 32, 33])
def test_padding_is_never_empty_and_fills_the_block(size: int) -> None:
    missing = len(Padding(bytes).fill(size))
    assert (0, True) == ((size + missing) % OBFUSCATION_BLOCK, 1 <= missing <= OBFUSCATION_BLOCK)


async def test_closing_the_stream_closes_its_batches() -> None:
    closed: list[bool] = []
    chunks = answer(closed=closed).stream()
    await anext(chunks)
    await chunks.aclose()
    assert [True] == closed


def test_completion_ids_are_long_random_and_alphanumeric() -> None:
    ids = {new_completion_id() for _ in range(1000)}
    assert 1000 == len(ids)
    for each in ids:
        head, tail = each.split("-")
        assert ("chatcmpl", 29) == (head, len(tail))
        assert tail.isalnum()


async def test_usage_that_a_chunk_carries_is_sent_with_continuous_usage_stats() -> None:
    async def generate() -> AsyncGenerator[list[ChatCompletionChunk], None]:
        yield [msgspec.structs.replace(CHUNKS[0], usage=USAGE)]

    options = StreamOptions(include_usage=True, continuous_usage_stats=True)
    request = CreateChatCompletion(messages=[UserMessage(content="Hi")], model="m", stream_options=options)
    batches = [batch async for batch in Answer(request, generate(), rate_limits=RateLimitState()).stream()]
    assert USAGE == batches[0][0].usage
