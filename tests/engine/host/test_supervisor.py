"""The supervisor over workers that a test plays by hand: no process, no thread, no time that passes."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from antiphon.engine.channel import Deliver
from antiphon.engine.host.launcher import WorkerExit
from antiphon.engine.host.supervisor import Backoff, Supervisor, Timeouts, _failure_sentence
from antiphon.engine.interface import (
    Abort,
    FromWorker,
    LoadFailed,
    Ready,
    Shutdown,
    Started,
    StreamEvent,
    ToWorker,
)
from antiphon.errors import ServiceUnavailableError
from tests.engine.scripted_core import Script, ScriptedCore, model_info, until

pytestmark = pytest.mark.anyio

INFO = model_info(Script().options())


class FakeWorker:
    """A worker that does what the test says."""

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.exited: asyncio.Future[WorkerExit] = asyncio.get_running_loop().create_future()
        self.sent: list[ToWorker] = []
        self.late: list[FromWorker] = []
        self.closed = False
        self.obedient = True

    def send(self, message: ToWorker) -> None:
        self.sent.append(message)
        if self.obedient and isinstance(message, Shutdown):
            self.end(0)

    def receive(self) -> None:
        if self.late:
            late, self.late = self.late, []
            self.deliver(late)

    def kill(self) -> None:
        self.end(-9)

    def close(self) -> None:
        self.closed = True

    def end(self, status: int, *output: str) -> None:
        if not self.exited.done():
            self.exited.set_result(WorkerExit(status, output))


class World:
    """A supervisor, the workers that it started, the delays that it waited, and what it told its client."""

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self.workers: list[FakeWorker] = []
        self.delays: list[float] = []
        self.events: list[StreamEvent] = []
        self.lost: list[str] = []
        self.unfinished = False
        self.now = 0.0
        self.launch: Callable[[Deliver], FakeWorker] = FakeWorker
        self.supervisor = Supervisor(
            self._launch, self, timeouts or Timeouts(), clock=lambda: self.now, sleep=self._sleep
        )

    def _launch(self, deliver: Deliver) -> FakeWorker:
        self.workers.append(self.launch(deliver))
        return self.workers[-1]

    async def _sleep(self, delay: float) -> None:
        self.delays.append(delay)
        await asyncio.sleep(0)

    def receive(self, event: StreamEvent) -> None:
        self.events.append(event)

    def expects_events(self) -> bool:
        return self.unfinished

    def fail_all(self, reason: str, output: tuple[str, ...]) -> None:
        self.lost.append(" ".join((reason, *output)))

    async def worker(self, n: int) -> FakeWorker:
        """The ``n``-th worker, once it has been started."""
        await until(lambda: len(self.workers) >= n)
        return self.workers[-1]

    async def ready(self, n: int = 1) -> FakeWorker:
        worker = await self.worker(n)
        worker.deliver([Ready(info=INFO)])
        return worker

    async def started(self) -> FakeWorker:
        start = asyncio.create_task(self.supervisor.start())
        worker = await self.ready()
        assert INFO == await start
        return worker


async def test_start_returns_what_the_worker_says_of_its_model() -> None:
    world = World()
    await world.started()
    assert world.supervisor.ready
    assert INFO == world.supervisor.info
    await world.supervisor.close()


async def test_start_raises_the_message_of_the_loader() -> None:
    world = World()
    start = asyncio.create_task(world.supervisor.start())
    worker = await world.worker(1)
    worker.deliver([LoadFailed(message="not a GGUF file")])
    worker.end(71)
    with pytest.raises(ServiceUnavailableError, match="not a GGUF file"):
        await start
    assert worker.closed
    assert [] == world.delays


async def test_start_raises_how_the_worker_ended_and_its_last_lines() -> None:
    world = World()
    start = asyncio.create_task(world.supervisor.start())
    (await world.worker(1)).end(-6, "out of memory")
    with pytest.raises(ServiceUnavailableError, match=r"killed by SIGABRT\nout of memory"):
        await start


async def test_a_message_that_arrives_after_the_exit_is_heard() -> None:
    world = World()
    start = asyncio.create_task(world.supervisor.start())
    worker = await world.worker(1)
    worker.end(71)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    worker.late = [LoadFailed(message="not a GGUF file")]
    with pytest.raises(ServiceUnavailableError, match="not a GGUF file"):
        await start


async def test_the_last_events_are_heard_before_the_loss_is_failure_sentence() -> None:
    world = World()
    worker = await world.started()
    world.unfinished = True
    worker.late = [Started(request_id="a", cached_tokens=0)]
    worker.end(70)
    await world.worker(2)
    assert [Started(request_id="a", cached_tokens=0)] == world.events
    assert ["it ended with status 70"] == world.lost
    await world.supervisor.close()


async def test_start_raises_when_no_worker_can_be_started() -> None:
    world = World()

    def fail(_: Deliver) -> FakeWorker:
        raise OSError(24, "Too many open files")

    world.launch = fail
    with pytest.raises(ServiceUnavailableError, match="Too many open files"):
        await world.supervisor.start()


async def test_a_cancelled_start_ends_the_worker() -> None:
    world = World()
    start = asyncio.create_task(world.supervisor.start())
    worker = await world.worker(1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert worker.closed


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_closing_while_it_starts_ends_the_start(turns: int) -> None:
    world = World()
    start = asyncio.create_task(world.supervisor.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    if turns == 0:
        start.cancel()
    await world.supervisor.close()
    with pytest.raises((ServiceUnavailableError, asyncio.CancelledError)):
        await start
    assert all(worker.closed for worker in world.workers)


async def test_restarts_wait_longer_each_time_up_to_a_limit() -> None:
    world = World()
    worker = await world.started()
    for n in range(2, 13):
        worker.end(-9)
        worker = await world.ready(n)
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] == world.delays
    assert 11 == world.supervisor.restarts
    await world.supervisor.close()


async def test_a_stable_worker_makes_the_next_restart_quick_again() -> None:
    world = World(Timeouts(stable=60))
    worker = await world.started()
    worker.end(-9)
    worker = await world.ready(2)
    world.now += 60
    worker.end(-9)
    worker = await world.ready(3)
    worker.end(-9)
    await world.ready(4)
    assert [0.1, 0.1, 0.2] == world.delays
    await world.supervisor.close()


def test_the_delay_begins_anew_after_a_stable_period() -> None:
    backoff = Backoff(first=1.0, limit=3.0, stable=10.0)
    assert [1.0, 2.0, 3.0, 3.0, 1.0, 2.0] == [backoff.next(uptime) for uptime in (0, 0, 9.9, 0, 10.0, 0)]


async def test_a_silent_worker_is_killed_and_replaced() -> None:
    world = World(Timeouts(heartbeat=0.02))
    worker = await world.started()
    world.now += 1.0
    assert worker is not await world.ready(2)
    assert -9 == worker.exited.result().status
    assert ["nothing was heard from the engine for 0.02 s"] == world.lost
    await world.supervisor.close()


async def test_what_has_arrived_counts_before_silence_is_judged() -> None:
    world = World(Timeouts(heartbeat=0.02))
    worker = await world.started()
    worker.late = [ScriptedCore(Script().options()).stats()]
    world.now += 1.0
    await until(lambda: not worker.late)
    assert not worker.exited.done()
    assert world.supervisor.stats is not None
    await world.supervisor.close()


async def test_loading_has_a_limit_of_its_own() -> None:
    world = World(Timeouts(heartbeat=0.01, load=0.02))
    start = asyncio.create_task(world.supervisor.start())
    await world.worker(1)
    world.now += 0.015
    await asyncio.sleep(0.03)
    assert not start.done()
    world.now += 0.01
    with pytest.raises(ServiceUnavailableError, match=r"nothing was heard from the engine for 0\.02 s"):
        await start


async def test_a_request_waits_for_the_restart() -> None:
    world = World()
    worker = await world.started()
    worker.end(-9)
    await world.worker(2)
    waits = asyncio.create_task(world.supervisor.until_ready())
    await asyncio.sleep(0.01)
    assert not waits.done()
    await world.ready(2)
    await waits
    await world.supervisor.close()


async def test_a_request_waits_no_longer_than_the_grace() -> None:
    world = World(Timeouts(restart_grace=0.01))
    worker = await world.started()
    worker.end(-9)
    await world.worker(2)
    with pytest.raises(ServiceUnavailableError, match="restarting") as raised:
        await world.supervisor.until_ready()
    assert 1 == raised.value.retry_after
    await world.supervisor.close()


async def test_closing_wakes_who_waits() -> None:
    world = World()
    worker = await world.started()
    worker.end(-9)
    await world.worker(2)
    waits = asyncio.create_task(world.supervisor.until_ready())
    await asyncio.sleep(0)
    await world.supervisor.close()
    with pytest.raises(ServiceUnavailableError):
        await waits


async def test_a_restart_that_cannot_load_is_repeated() -> None:
    world = World()
    worker = await world.started()
    worker.end(-9)
    second = await world.worker(2)
    second.deliver([LoadFailed(message="the file has gone")])
    second.end(71)
    await world.ready(3)
    assert world.supervisor.ready
    assert [0.1, 0.2] == world.delays
    await world.supervisor.close()


async def test_closing_asks_first_and_kills_after_the_deadline() -> None:
    world = World(Timeouts(close=0.01))
    worker = await world.started()
    worker.obedient = False
    await world.supervisor.close()
    assert [Shutdown()] == worker.sent
    assert -9 == worker.exited.result().status
    assert worker.closed
    assert not world.supervisor.ready


async def test_closing_twice_and_at_once_ends_it_once() -> None:
    world = World()
    worker = await world.started()

    await asyncio.gather(world.supervisor.close(), world.supervisor.close())
    await world.supervisor.close()
    assert [Shutdown()] == worker.sent
    assert 0 == worker.exited.result().status
    world.supervisor.send(Abort(request_id="a"))
    assert [Shutdown()] == worker.sent


async def test_closing_ends_the_wait_before_a_restart() -> None:
    world = World()
    worker = await world.started()
    waiting = asyncio.Event()

    async def wait(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    world.supervisor._sleep = wait
    worker.end(-9)
    await waiting.wait()
    await world.supervisor.close()
    assert 1 == len(world.workers)


async def test_one_that_was_never_started_closes_and_refuses() -> None:
    world = World()
    await world.supervisor.close()
    with pytest.raises(ServiceUnavailableError, match="not running"):
        await world.supervisor.until_ready()


async def test_a_cancelled_supervisor_leaves_no_worker() -> None:
    world = World()
    worker = await world.started()
    assert world.supervisor._task is not None
    world.supervisor._task.cancel()
    await asyncio.wait({world.supervisor._task})
    assert worker.closed
    assert ["it was given up"] == world.lost
    await world.supervisor.close()


async def test_what_was_counted_is_counted_on_after_a_restart() -> None:
    world = World()
    worker = await world.started()
    stats = msgspec.structs.replace(ScriptedCore(Script().options()).stats(), steps=3, running=2)
    worker.deliver([stats])
    worker.end(-9)
    worker = await world.ready(2)
    assert world.supervisor.totals is not None
    assert (3, 0) == (world.supervisor.totals.steps, world.supervisor.totals.running)
    worker.deliver([msgspec.structs.replace(stats, steps=4)])
    assert (7, 2) == (world.supervisor.totals.steps, world.supervisor.totals.running)
    await world.supervisor.close()


async def test_nothing_is_counted_before_a_worker_has_said_so() -> None:
    world = World()
    worker = await world.started()
    worker.end(-9)
    await world.ready(2)
    assert world.supervisor.totals is None
    await world.supervisor.close()


async def test_after_a_restart_that_failed_requests_are_refused_at_once_with_the_reason() -> None:
    world = World()
    worker = await world.started()
    worker.end(-9)
    second = await world.worker(2)
    assert "It was killed by SIGKILL." == str(world.supervisor.failure)
    waits = asyncio.create_task(world.supervisor.until_ready())
    await asyncio.sleep(0)
    second.deliver([LoadFailed(message="There is no model file at /a/m.gguf.")])
    second.end(71)
    third = await world.worker(3)
    refused = r"The engine cannot be restarted\. There is no model file at m\.gguf\.$"
    for waiting in (waits, world.supervisor.until_ready()):
        with pytest.raises(ServiceUnavailableError, match=refused):
            await waiting
    third.deliver([Ready(info=INFO)])
    await world.supervisor.until_ready()
    assert world.supervisor.failure is None
    await world.supervisor.close()


async def test_the_refusal_says_when_the_next_restart_comes() -> None:
    world = World()
    worker = await world.started()
    for n in range(2, 8):
        worker.end(71)
        worker = await world.worker(n)
    world.supervisor._sleep = forever
    worker.end(71)
    await until(lambda: world.supervisor._worker is None)
    with pytest.raises(ServiceUnavailableError) as raised:
        await world.supervisor.until_ready()
    assert 6.4 == raised.value.retry_after
    await world.supervisor.close()


async def forever(_: float) -> None:
    await asyncio.Event().wait()


async def test_another_model_in_the_file_is_not_served() -> None:
    world = World()
    worker = await world.started()
    worker.end(-9)
    second = await world.worker(2)
    second.deliver([Ready(info=msgspec.structs.replace(INFO, fingerprint="another"))])
    await until(second.exited.done)
    await world.ready(3)
    assert (-9, True, INFO) == (second.exited.result().status, world.supervisor.ready, world.supervisor.info)
    await world.supervisor.close()


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("it was killed by SIGKILL", "It was killed by SIGKILL."),
        ("There is no model file at /a/b/c.gguf.", "There is no model file at c.gguf."),
        ("/a/b/c.gguf could not be loaded", "c.gguf could not be loaded."),
        ("no such file: '/usr/bin/python'", "No such file: 'python'."),
        ("There is no model file at /a/of mine/c.gguf.", "There is no model file at c.gguf."),
        ("llama.cpp 1/2 failed", "Llama.cpp 1/2 failed."),
        ("", "."),
    ],
)
def test_a_failure_is_told_without_folders(reason: str, told: str) -> None:
    assert told == _failure_sentence(reason, "/a/of mine")
