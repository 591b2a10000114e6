"""The client with a scripted core, in a process and in a thread."""

import asyncio
import gc
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from antiphon.engine.host import client as client_module
from antiphon.engine.host.client import Engine, EngineClient, RequestStream
from antiphon.engine.host.launcher import ProcessWorker
from antiphon.engine.host.supervisor import Timeouts
from antiphon.engine.interface import Finished, GenerateRequest, Started, StreamEvent, TokenEvent
from antiphon.errors import APIError, RateLimitError, RequestTimeoutError, ServiceUnavailableError
from tests.engine.scripted_core import ABORT_PROCESS, RAISE_IN_STEP, REFUSE, SLEEP, Script, request, until

pytestmark = pytest.mark.anyio

FACTORY = "tests.engine.scripted_core:open_core"
SLOW = Script(step_seconds=0.01)
ENDLESS = 10**6

Transport = Literal["process", "thread"]


@pytest.fixture(params=["process", "thread"])
def transport(request: pytest.FixtureRequest) -> Transport:
    value: Transport = request.param
    return value


@asynccontextmanager
async def running(
    transport: Transport,
    script: Script | None = None,
    *,
    max_num_seqs: int = 32,
    max_waiting: int = 256,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[EngineClient]:
    options = (script or Script()).options(max_num_seqs=max_num_seqs, max_waiting=max_waiting)
    client = EngineClient(options, transport=transport, core_factory=FACTORY, timeouts=timeouts, sleep=_no_sleep)
    await client.start()
    try:
        async with asyncio.timeout(60):
            yield client
    finally:
        await client.close()
        assert not client._streams


async def _no_sleep(_: float) -> None:
    await asyncio.sleep(0)


async def collect(client: EngineClient, generate: GenerateRequest) -> list[StreamEvent]:
    return [event async for events in client.generate(generate) for event in events]


async def count(stream: AsyncIterator[list[StreamEvent]]) -> int:
    return sum([len(events) async for events in stream])


async def idle(client: EngineClient) -> None:
    """Wait until client and worker have no request."""
    await until(lambda: not (client._streams or client._unstarted or client._arriving))
    await until(lambda: client.stats and not client.stats.running and not client.stats.waiting)


def process_id(client: EngineClient) -> int:
    worker = client._supervisor._worker
    assert isinstance(worker, ProcessWorker)
    return worker._process.pid


async def signal_while_streaming(client: EngineClient, number: signal.Signals) -> None:
    """Send the worker a signal after the third event of a stream, and go on reading."""
    n = 0
    async for events in client.generate(request("a", max_tokens=ENDLESS)):
        if n < 3 <= n + len(events):
            os.kill(process_id(client), number)
        n += len(events)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def exists(path: str) -> bool:
    return Path(path).exists()


def reasons(events: list[StreamEvent]) -> list[tuple[int, str]]:
    return sorted((event.index, event.reason) for event in events if isinstance(event, Finished))


async def test_events_come_in_order_and_end_with_finished(transport: Transport) -> None:
    async with running(transport) as client:
        assert [
            Started(request_id="a", cached_tokens=0),
            TokenEvent(request_id="a", index=0, token_ids=[7]),
            TokenEvent(request_id="a", index=0, token_ids=[8]),
            TokenEvent(request_id="a", index=0, token_ids=[7]),
            Finished(request_id="a", index=0, reason="length", prompt_tokens=2, completion_tokens=3),
        ] == await collect(client, request("a", 7, 8, max_tokens=3))


async def test_every_choice_of_every_request_finishes_once(transport: Transport) -> None:
    async with running(transport, max_num_seqs=4) as client:
        answers = await asyncio.gather(
            *(collect(client, request(f"r{i}", i + 1, max_tokens=i % 5 + 1, n=i % 3 + 1)) for i in range(40))
        )
        for i, events in enumerate(answers):
            assert [(index, "length") for index in range(i % 3 + 1)] == reasons(events)
            assert {f"r{i}"} == {event.request_id for event in events}
            for index in range(i % 3 + 1):
                tokens = [e.token_ids[0] for e in events if isinstance(e, TokenEvent) and e.index == index]
                assert [i + 1] * (i % 5 + 1) == tokens
        await idle(client)


async def test_aborting_one_choice_does_not_end_the_others(transport: Transport) -> None:
    async with running(transport, SLOW) as client:
        events: list[StreamEvent] = []
        async for arrived in client.generate(request("a", max_tokens=5, n=2)):
            if any(isinstance(event, Started) for event in arrived):
                client.abort("a", 1)
            events += arrived
        assert [(0, "length"), (1, "abort")] == reasons(events)
        client.abort("a")
        client.abort("unknown", 3)


@pytest.mark.parametrize("taken", [1, 2, 5])
async def test_closing_a_stream_aborts_its_request(transport: Transport, taken: int) -> None:
    async with running(transport, SLOW) as client:
        stream = client.generate(request("a", max_tokens=ENDLESS))
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
        assert not client._streams
        await idle(client)


async def test_cancelling_a_consumer_that_waits_aborts_its_request(transport: Transport) -> None:
    async with running(transport, SLOW) as client:
        task = asyncio.create_task(collect(client, request("a", max_tokens=ENDLESS)))
        await until(lambda: client._streams and not client._unstarted)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not client._streams
        await idle(client)


async def test_cancelling_before_the_request_has_started_aborts_it(transport: Transport) -> None:
    async with (
        running(transport, SLOW, max_num_seqs=1) as client,
        aclosing(client.generate(request("first", max_tokens=ENDLESS))) as first,
    ):
        await anext(first)
        task = asyncio.create_task(collect(client, request("second")))
        await asyncio.sleep(0.05)
        assert {"second"} == set(client._unstarted)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not client._unstarted)


async def test_stream_that_is_never_read_sends_no_request(transport: Transport) -> None:
    async with running(transport) as client:
        stream = client.generate(request("a"))
        await stream.aclose()
        assert not client._streams
        assert not client._unstarted


async def test_one_request_more_than_max_waiting_is_refused_at_once(transport: Transport) -> None:
    async with running(transport, SLOW, max_num_seqs=1, max_waiting=2) as client:
        async with aclosing(client.generate(request("first", max_tokens=ENDLESS))) as first:
            await anext(first)
            waiting = [asyncio.create_task(collect(client, request(f"w{i}"))) for i in range(2)]
            await asyncio.sleep(0.05)
            with pytest.raises(RateLimitError) as refused:
                await anext(client.generate(request("one more")))
            assert 1 == refused.value.retry_after
            with pytest.raises(RateLimitError):
                client.check_room()
        assert [[(0, "length")]] * 2 == [reasons(events) for events in await asyncio.gather(*waiting)]
        assert await collect(client, request("later"))


async def test_refused_request_fails_no_other(transport: Transport) -> None:
    async with running(transport) as client:
        events = await collect(client, request("bad", REFUSE, n=2))
        assert [(0, "error"), (1, "error")] == reasons(events)
        assert isinstance(events[0], Finished)
        assert "this request is refused" == events[0].message
        assert [(0, "length")] == reasons(await collect(client, request("good")))
        assert 0 == client.restarts


async def test_failed_step_ends_all_requests_and_the_next_one_succeeds(transport: Transport) -> None:
    async with running(transport, SLOW) as client:
        bystander = asyncio.create_task(collect(client, request("bystander", max_tokens=ENDLESS, n=2)))
        await asyncio.sleep(0.05)
        failed = await collect(client, request("failed", RAISE_IN_STEP))
        assert [(0, "error"), (1, "error")] == reasons(await bystander)
        assert isinstance(failed[-1], Finished)
        assert "The engine failed: RuntimeError." == failed[-1].message
        await until(lambda: client.restarts)
        assert [(0, "length")] == reasons(await collect(client, request("next")))
        assert 1 == client.restarts


async def test_start_raises_when_the_model_cannot_be_loaded(transport: Transport) -> None:
    client = EngineClient(Script(load="raise").options(), transport=transport, core_factory=FACTORY)
    with pytest.raises(ServiceUnavailableError, match="no such model"):
        await client.start()
    with pytest.raises(ServiceUnavailableError, match="not running"):
        await anext(client.generate(request("a")))
    await client.close()


async def test_start_raises_with_the_last_lines_of_a_process_that_dies_while_loading() -> None:
    client = EngineClient(Script(load="abort").options(), core_factory=FACTORY)
    with pytest.raises(ServiceUnavailableError, match=r"(?s)SIGABRT.*out of memory, says the library"):
        await client.start()


async def test_closing_while_streaming_finishes_the_choices_with_abort(transport: Transport) -> None:
    async with running(transport, SLOW) as client:
        streams = [asyncio.create_task(collect(client, request(f"r{i}", max_tokens=ENDLESS, n=2))) for i in range(3)]
        await asyncio.sleep(0.1)
        await client.close()
        for events in await asyncio.gather(*streams):
            assert [(0, "abort"), (1, "abort")] == reasons(events)
        with pytest.raises(ServiceUnavailableError):
            await collect(client, request("late"))


async def test_closing_leaves_no_task_no_process_no_file(transport: Transport) -> None:
    before = asyncio.all_tasks()
    async with running(transport) as client:
        await collect(client, request("a"))
        worker = client._supervisor._worker
        await asyncio.gather(client.close(), client.close())
    await client.close()
    assert before == asyncio.all_tasks()
    if isinstance(worker, ProcessWorker):
        assert 0 == worker._process.returncode
        assert not exists(worker._channel._directory)
        assert not worker._waiter.is_alive()


async def test_killed_worker_fails_only_the_requests_in_flight() -> None:
    async with running("process", SLOW) as client:
        with pytest.raises(ServiceUnavailableError, match="killed by SIGKILL") as failure:
            await signal_while_streaming(client, signal.SIGKILL)
        assert 1 == failure.value.retry_after
        assert [(0, "length")] == reasons(await collect(client, request("next")))
        assert 1 == client.restarts
        assert client.ready


async def test_process_abort_in_a_step_fails_the_requests_in_flight() -> None:
    async with running("process", SLOW) as client:
        bystander = asyncio.create_task(collect(client, request("bystander", max_tokens=ENDLESS)))
        await asyncio.sleep(0.05)
        with pytest.raises(ServiceUnavailableError, match="killed by SIGABRT") as failure:
            await collect(client, request("culprit", ABORT_PROCESS))
        assert "GGML_ASSERT(scripted) failed" in failure.value.__notes__[0]
        with pytest.raises(ServiceUnavailableError):
            await bystander
        assert [(0, "length")] == reasons(await collect(client, request("next")))


async def test_stopped_worker_is_detected_by_its_silence() -> None:
    async with running("process", SLOW, timeouts=Timeouts(heartbeat=1.0)) as client:
        with pytest.raises(ServiceUnavailableError, match="the engine sent no message"):
            await signal_while_streaming(client, signal.SIGSTOP)
        assert [(0, "length")] == reasons(await collect(client, request("next")))


async def test_idle_worker_is_not_killed(transport: Transport) -> None:
    async with running(transport, timeouts=Timeouts(heartbeat=0.8)) as client:
        await asyncio.sleep(2.0)
        assert 0 == client.restarts


async def test_hanging_step_is_detected_by_its_silence(transport: Transport) -> None:
    async with running(transport, timeouts=Timeouts(heartbeat=1.0)) as client:
        with pytest.raises(ServiceUnavailableError, match="the engine sent no message"):
            await collect(client, request("a", SLEEP))
        assert [(0, "length")] == reasons(await collect(client, request("next")))


async def test_number_of_requests_that_wait_for_a_restart_is_limited() -> None:
    async with running("process", max_waiting=2, timeouts=Timeouts(restart_grace=0.2)) as client:
        held = asyncio.Event()

        async def hold(_: float) -> None:
            await held.wait()

        client._supervisor._sleep = hold
        os.kill(process_id(client), signal.SIGKILL)
        await until(lambda: not client.ready)
        outcomes = await asyncio.gather(*(collect(client, request(f"r{i}")) for i in range(3)), return_exceptions=True)
        assert [RateLimitError, ServiceUnavailableError, ServiceUnavailableError] == sorted(
            (type(outcome) for outcome in outcomes), key=lambda kind: kind.__name__
        )
        assert 0 == client._arriving
        held.set()
        await until(lambda: client.ready)
        assert [(0, "length")] == reasons(await collect(client, request("next")))


async def test_random_cancellations_leave_no_request(transport: Transport) -> None:
    chance = random.Random(0)  # noqa: S311 - not for secrets
    async with running(transport, Script(step_seconds=0.001), max_num_seqs=8) as client:
        tasks = [
            asyncio.create_task(collect(client, request(f"r{i}", max_tokens=chance.randint(1, 30), n=i % 2 + 1)))
            for i in range(200)
        ]
        while any(not task.done() for task in tasks):
            chance.choice(tasks).cancel()
            await asyncio.sleep(0.005)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        complete = [events for events in outcomes if not isinstance(events, BaseException)]
        assert all({"length"} == {reason for _, reason in reasons(events)} for events in complete)
        assert not any(isinstance(outcome, APIError) for outcome in outcomes)
        await idle(client)


async def test_restarts_leak_no_descriptor() -> None:
    async with running("process", timeouts=Timeouts(stable=0.0)) as client:
        counts: list[int] = []
        for _ in range(20):
            os.kill(process_id(client), signal.SIGKILL)
            await until(lambda: client.restarts > len(counts) and client.ready)
            counts.append(descriptors())
        assert max(counts[:10]) >= max(counts[10:])


async def test_abandoned_stream_aborts_its_request(transport: Transport) -> None:
    async with running(transport, SLOW) as client:
        stream = client.generate(request("a", max_tokens=ENDLESS))
        await anext(stream)
        del stream
        gc.collect()
        await idle(client)


async def test_request_of_a_slow_consumer_fails(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_UNREAD", 8)
    async with running(transport, SLOW) as client:
        stream = client.generate(request("a", max_tokens=ENDLESS))
        await anext(stream)
        await idle(client)
        with pytest.raises(RequestTimeoutError, match="read too slowly"):
            await count(stream)


async def test_answer_that_has_arrived_whole_is_passed_on_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "EVENTS_PER_TURN", 2)
    async with running("thread") as client:
        stream = client.generate(request("a", max_tokens=99))
        first = len(await anext(stream))
        await until(lambda: "a" not in client._streams)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        assert 101 == first + await count(stream)
        task.cancel()
        assert 40 < turns


async def test_client_implements_the_engine_protocol() -> None:
    engine: Engine = EngineClient(Script().options())
    assert not engine.ready
    assert engine.info is None
    assert engine.stats is None
    await engine.close()


async def test_request_that_cannot_be_encoded_is_not_registered() -> None:
    async with running("process") as client:
        with pytest.raises(OverflowError):
            await collect(client, request("a", 2**70))
        assert not client._streams
        assert not client._unstarted


async def test_stream_gives_the_events_before_its_error() -> None:
    stream = RequestStream(1)
    started = Started(request_id="a", cached_tokens=0)
    stream.put(started)
    stream.fail(ServiceUnavailableError("gone"))
    assert [started] == await stream.take()
    with pytest.raises(ServiceUnavailableError, match="gone"):
        await stream.take()
