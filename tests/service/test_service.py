import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress

import anyio
import msgspec
import pytest
import structlog
from sqlalchemy import select

from antiphon.backends.backend import Backend
from antiphon.engine.interface import Started
from antiphon.errors import (
    AnswerMemoryError,
    DatabaseUnavailableError,
    ModelNotFoundError,
    RateLimitError,
    ServiceUnavailableError,
)
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion, StreamOptions
from antiphon.protocol.responses import ChatCompletionChunk, CompletionUsage, Model, ModelList
from antiphon.routing.router import Router
from antiphon.service import Service, answer_memory
from antiphon.service.records import RequestRecord, log_request
from antiphon.service.service import CUT_OFF, Clocks
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.limits import Limits
from antiphon.store.schema import completions
from tests.scripted_engine import Hang, Item, Pause, ScriptedEngine, ends, says, scripted_backend
from tests.scripted_upstream import ScriptedUpstream

pytestmark = pytest.mark.anyio

SCRIPT: list[Item] = [Started(request_id="", cached_tokens=2), *says("Hello"), *ends(prompt_tokens=4)]


class Source:
    """A backend for these tests: an engine that generates tokens, or an upstream that sends chunks."""

    kind: type[ScriptedEngine] | type[ScriptedUpstream] = ScriptedEngine


@pytest.fixture(autouse=True, params=[ScriptedEngine, ScriptedUpstream], ids=["engine", "upstream"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with both backends."""
    monkeypatch.setattr(Source, "kind", request.param)


def backend(source: ScriptedEngine | ScriptedUpstream) -> Backend:
    return scripted_backend(source) if isinstance(source, ScriptedEngine) else source


class Harness:
    """A service over a script, with clocks that advance one second per call, and counted ids."""

    def __init__(self, script: Sequence[Item] = SCRIPT) -> None:
        self.engine = Source.kind(script)
        self.records: list[RequestRecord] = []
        ids, ticks = itertools.count(1), itertools.count()
        self.service = Service(
            Router({"m": [backend(self.engine)]}),
            clocks=Clocks(
                clock=lambda: 1700000000.9,
                timer=lambda: float(next(ticks)),
                ids=lambda: f"c{next(ids)}",
                random_bytes=bytes,
            ),
            log=self.records.append,
        )

    async def read(self, request: CreateChatCompletion) -> list[ChatCompletionChunk]:
        return [chunk async for chunk in self.service.stream(request)]


def request(options: StreamOptions | None = None, *, model: str = "m", n: int = 1) -> CreateChatCompletion:
    return CreateChatCompletion(messages=[UserMessage(content="Hi")], model=model, stream_options=options, n=n)


async def test_create_collects_the_stream() -> None:
    completion = await Harness().service.create(request())
    assert ("c1", 1700000000, "Hello") == (completion.id, completion.created, completion.choices[0].message.content)
    assert (4, 5) == (completion.usage.prompt_tokens, completion.usage.completion_tokens)


async def test_chunks_have_no_usage_field_without_include_usage() -> None:
    chunks = await Harness().read(request())
    assert {msgspec.UNSET} == {chunk.usage for chunk in chunks}
    assert [1] * len(chunks) == [len(chunk.choices) for chunk in chunks]
    assert b"usage" not in msgspec.json.encode(chunks)


async def test_include_usage_adds_null_usage_and_a_last_chunk_with_the_counts() -> None:
    *chunks, last = await Harness().read(request(StreamOptions(include_usage=True)))
    assert {None} == {chunk.usage for chunk in chunks}
    assert [] == last.choices
    assert isinstance(last.usage, CompletionUsage)
    assert 9 == last.usage.total_tokens


async def test_all_chunks_have_the_same_id_and_time() -> None:
    chunks = await Harness().read(request())
    assert {("c1", 1700000000)} == {(chunk.id, chunk.created) for chunk in chunks}


async def test_stream_and_create_have_the_same_text() -> None:
    chunks = await Harness().read(request())
    completion = await Harness().service.create(request())
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert completion.choices[0].message.content == said


async def test_an_unknown_model_raises_before_the_first_chunk_and_is_logged() -> None:
    harness = Harness()
    with pytest.raises(ModelNotFoundError):
        await harness.read(request(model="x"))
    with pytest.raises(ModelNotFoundError):
        await harness.service.create(request(model="x"))
    assert ["model_not_found"] * 2 == [record.error for record in harness.records]


async def test_a_finished_request_leaves_one_line_with_counts_and_durations() -> None:
    harness = Harness()
    await harness.service.create(request())
    assert harness.records == [
        RequestRecord(
            completion_id="c1",
            model="m",
            project="default",
            end_user=None,
            stream=False,
            requested_service_tier=None,
            service_tier="default",
            outcome="completed",
            error=None,
            prompt_tokens=4,
            completion_tokens=5,
            cached_tokens=2,
            reasoning_tokens=0,
            accepted_prediction_tokens=0,
            rejected_prediction_tokens=0,
            finish_reasons=["stop"],
            time_to_first_token=1.0,
            duration=2.0,
        )
    ]


async def test_disconnect_after_the_usage_is_logged_as_completed() -> None:
    harness = Harness()
    chunks = harness.service.stream(request(StreamOptions(include_usage=True)))
    while (await anext(chunks)).choices:
        pass
    await chunks.aclose()
    assert [("completed", 5)] == [(record.outcome, record.completion_tokens) for record in harness.records]


async def test_a_failed_request_leaves_one_line_with_its_error() -> None:
    harness = Harness([*says("a"), ServiceUnavailableError("died")])
    with pytest.raises(ServiceUnavailableError):
        await harness.read(request())
    assert [("failed", "service_unavailable", None)] == [
        (record.outcome, record.error, record.completion_tokens) for record in harness.records
    ]


async def test_unexpected_error_is_logged_by_its_class() -> None:
    harness = Harness([*says("a"), ZeroDivisionError()])
    with pytest.raises(ZeroDivisionError):
        await harness.read(request())
    assert ["ZeroDivisionError"] == [record.error for record in harness.records]


async def test_line_is_structured_and_has_no_text_of_the_conversation() -> None:
    harness = Harness([*says("a secret"), *ends()])
    await harness.service.create(request())
    with structlog.testing.capture_logs() as lines:
        log_request(harness.records[0])
    assert ["request"] == [line["event"] for line in lines]
    assert "m" == lines[0]["model"]
    assert "secret" not in str(lines)


def expected_outcome(harness: Harness) -> None:
    """Check that the request has at most one log line and ended once at the engine."""
    engine = harness.engine
    assert 0 == engine.running
    assert len(engine.requests) == len(engine.aborts) + len(engine.ended)
    assert len(engine.requests) <= len(harness.records) <= 1
    if engine.aborts:
        assert ["cancelled"] == [record.outcome for record in harness.records]


SLOW: list[Item] = [Pause(), *[item for letter in "abc" for item in (*says(letter), Pause())], *ends(), *ends(index=1)]


async def create(harness: Harness) -> None:
    await harness.service.create(request(n=2))


async def stream(harness: Harness) -> None:
    async with aclosing(harness.service.stream(request(n=2))) as chunks:
        async for _ in chunks:
            await asyncio.sleep(0)


@pytest.mark.parametrize("consume", [create, stream])
async def test_a_task_cancelled_at_any_await_aborts_exactly_once(
    consume: Callable[[Harness], Coroutine[None, None, None]],
) -> None:
    for turns in itertools.count():
        harness = Harness(SLOW)
        task = asyncio.create_task(consume(harness))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        await asyncio.wait([task])
        expected_outcome(harness)
        if not cancelled:
            assert ["completed"] == [record.outcome for record in harness.records]
            assert turns > 3
            return


@pytest.mark.parametrize("consume", [create, stream])
async def test_a_scope_cancelled_at_any_await_aborts_exactly_once(
    consume: Callable[[Harness], Coroutine[None, None, None]],
) -> None:
    for turns in range(20):
        harness = Harness(SLOW)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume, harness)
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks.cancel_scope.cancel()
        expected_outcome(harness)


async def test_a_stream_closed_after_any_chunk_aborts_exactly_once() -> None:
    total = len(await Harness(SLOW).read(request(n=2)))
    for count in range(total):
        harness = Harness(SLOW)
        chunks = harness.service.stream(request(n=2))
        for _ in range(count):
            await anext(chunks)
        await chunks.aclose()
        expected_outcome(harness)
        assert ["cancelled"] * (count > 0) == [record.outcome for record in harness.records]


async def test_a_slow_close_of_the_engine_is_not_cut_off_by_a_cancelled_scope() -> None:
    harness = Harness([*says("a"), Hang()])
    chunks = harness.service.stream(request())
    await anext(chunks)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await chunks.aclose()
    expected_outcome(harness)


async def test_models_are_those_of_the_router_created_when_registered() -> None:
    service = Harness().service
    served = Model(id="m", created=1700000000, context_length=1024)
    assert ModelList(data=[served]) == service.models()
    assert served == service.model("m")
    with pytest.raises(ModelNotFoundError):
        service.model("x")


async def test_start_and_close_reach_the_backends() -> None:
    harness = Harness()
    await harness.service.start()
    started = harness.service.ready
    await harness.service.close()
    assert (True, False) == (started, harness.service.ready)
    assert ["m"] == list(harness.service.router)


async def until_closed(script: list[Item]) -> ServiceUnavailableError:
    """Return the error of an answer whose service is closed after its first chunk."""
    harness = Harness([*says("a"), Pause(), *script])
    async with harness.service.answer(request()) as answer, aclosing(answer.stream()) as chunks:
        await anext(chunks)
        await harness.service.close()
        with pytest.raises(ServiceUnavailableError) as caught:
            async for _ in chunks:
                pass
    return caught.value


@pytest.mark.parametrize("end", [ends("abort"), [ServiceUnavailableError("The engine stopped: killed by SIGKILL.")]])
async def test_answer_cut_off_by_the_shutdown_ends_in_its_error(end: list[Item]) -> None:
    error = await until_closed(end)
    assert CUT_OFF == error.message
    assert (503, "service_unavailable", {"connection": "close"}) == (error.status, error.code, error.headers)


async def test_database_error_during_the_shutdown_is_raised_unchanged() -> None:
    assert "The database is busy." == (await until_closed([DatabaseUnavailableError("The database is busy.")])).message


async def test_engine_error_without_a_shutdown_is_raised_unchanged() -> None:
    harness = Harness([*says("a"), ServiceUnavailableError("died")])
    with pytest.raises(ServiceUnavailableError, match="died"):
        await harness.read(request())


async def test_stream_that_ends_after_an_error_is_logged_as_failed() -> None:
    harness = Harness([*says("a"), ServiceUnavailableError("died")])
    async with harness.service.answer(request()) as answer:
        with pytest.raises(ServiceUnavailableError):
            async for _ in answer.stream():
                pass
    assert [("failed", "service_unavailable")] == [(record.outcome, record.error) for record in harness.records]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([*says("a"), *ends()], "completed"),
        ([*says("a"), ServiceUnavailableError("died")], "failed"),
        ([*says("a"), Hang()], "cancelled"),
    ],
)
async def test_stream_is_stored_with_its_status(database: Database, script: list[Item], status: str) -> None:
    storage = Storage(database, holder="test")
    service = Service(Router({"m": [backend(Source.kind(script))]}), storage, log=lambda _: None)
    asked = msgspec.structs.replace(request(), store=True, stream=True)
    async with service.answer(asked) as answer:
        with suppress(ServiceUnavailableError):
            async for chunks in answer.stream():
                if chunks[-1].choices[0].delta.content and status == "cancelled":
                    break
    stored = await database.read(lambda connection: connection.execute(select(completions.c.status)).scalars().all())
    assert [status] == stored


@pytest.mark.parametrize(
    ("script", "admitted"),
    [([Started(request_id="", cached_tokens=0), Hang()], 3), ([Hang()], 11)],
    ids=["begun", "not"],
)
async def test_disconnect_does_not_evade_the_token_limit(database: Database, script: list[Item], admitted: int) -> None:
    engine = Source.kind(script)
    limits = Limits(tokens_per_minute=21_100)
    storage = Storage(database, holder="test", project_limits=limits, clock=lambda: 1_000_000.0)
    service = Service(Router({"m": [backend(engine)]}), storage, log=lambda _: None)
    asked = CreateChatCompletion(messages=[UserMessage(content="x" * 7000)], model="m")
    for _ in range(13):
        task = asyncio.create_task(service.create(asked))
        for _ in range(10_000):
            if engine.running or task.done():
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError, RateLimitError):
            await task
    # An upstream does not say when it begins with a prompt: the estimate is charged in either case.
    assert (admitted if Source.kind is ScriptedEngine else 11) == len(engine.requests)


ENDLESS: list[Item] = [*says("x" * 3000, tokens_per_event=100), *ends()]


@pytest.mark.parametrize(
    ("fields", "collected"),
    [({}, True), ({"stream": True}, False), ({"stream": True, "store": True}, True), ({"store": True}, True)],
)
async def test_collected_answer_counts_and_ends_when_the_memory_is_full(
    database: Database, monkeypatch: pytest.MonkeyPatch, fields: dict[str, bool], *, collected: bool
) -> None:
    monkeypatch.setattr(answer_memory, "SMALL_ANSWER", 1000)
    engine = Source.kind(ENDLESS)
    service = Service(Router({"m": [backend(engine)]}), Storage(database, holder="test"), log=lambda _: None)
    service.answer_memory.limit = 2000
    asked = msgspec.structs.replace(request(), **fields)

    async def read() -> int:
        async with service.answer(asked) as answer:
            if not asked.stream:
                return len(await answer.body())
            return sum([service.answer_memory.held async for _ in answer.stream()])

    if collected:
        with pytest.raises(AnswerMemoryError):
            await read()
        assert 1 == len(engine.aborts)
    else:
        assert 0 == await read()
    assert (0, 0) == (service.answer_memory.held, engine.running)


async def test_stored_whole_answer_is_collected_once(database: Database) -> None:
    service = Service(
        Router({"m": [backend(Source.kind(SCRIPT))]}), Storage(database, holder="test"), log=lambda _: None
    )
    with service.answer_memory.share() as share:
        async with service.answer(msgspec.structs.replace(request(), store=True), share=share) as answer:
            assert b"Hello" in await answer.body()
        assert len("Hello") == share.held


async def test_answers_are_counted_on_the_metrics_page() -> None:
    harness = Harness()
    await harness.service.create(request())
    with pytest.raises(ModelNotFoundError):
        await harness.service.create(request(model="x"))
    page = harness.service.metrics.page().body.decode()
    for line in (
        'antiphon:requests_total{model_name="m",outcome="completed"} 1.0',
        'antiphon:requests_total{model_name="unknown",outcome="failed"} 1.0',
        'antiphon:time_to_first_token_seconds_count{model_name="m",service_tier="default"} 1.0',
        'antiphon:e2e_request_latency_seconds_sum{model_name="m",service_tier="default"} 2.0',
    ):
        assert line in page.splitlines()
