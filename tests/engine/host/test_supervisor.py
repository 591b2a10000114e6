"""The supervisor with fake workers and a fake clock: no process, no thread."""

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
    """A worker that the test controls."""

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


class Trial:
    """A supervisor, its workers and delays, and the events and losses that its listener received."""

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
        """Return the ``n``-th worker after its start."""
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


async def test_start_returns_the_info_of_the_model() -> None:
    trial = Trial()
    await trial.started()
    assert trial.supervisor.ready
    assert INFO == trial.supervisor.info
    await trial.supervisor.close()


async def test_start_raises_the_message_of_the_loader() -> None:
    trial = Trial()
    start = asyncio.create_task(trial.supervisor.start())
    worker = await trial.worker(1)
    worker.deliver([LoadFailed(message="not a GGUF file")])
    worker.end(71)
    with pytest.raises(ServiceUnavailableError, match="not a GGUF file"):
        await start
    assert worker.closed
    assert [] == trial.delays


async def test_start_raises_with_the_end_of_the_worker_and_its_last_lines() -> None:
    trial = Trial()
    start = asyncio.create_task(trial.supervisor.start())
    (await trial.worker(1)).end(-6, "out of memory")
    with pytest.raises(ServiceUnavailableError, match=r"killed by SIGABRT\nout of memory"):
        await start


async def test_message_that_arrives_after_the_exit_is_received() -> None:
    trial = Trial()
    start = asyncio.create_task(trial.supervisor.start())
    worker = await trial.worker(1)
    worker.end(71)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    worker.late = [LoadFailed(message="not a GGUF file")]
    with pytest.raises(ServiceUnavailableError, match="not a GGUF file"):
        await start


async def test_last_events_are_received_before_the_loss() -> None:
    trial = Trial()
    worker = await trial.started()
    trial.unfinished = True
    worker.late = [Started(request_id="a", cached_tokens=0)]
    worker.end(70)
    await trial.worker(2)
    assert [Started(request_id="a", cached_tokens=0)] == trial.events
    assert ["it ended with status 70"] == trial.lost
    await trial.supervisor.close()


async def test_start_raises_when_no_worker_can_be_started() -> None:
    trial = Trial()

    def fail(_: Deliver) -> FakeWorker:
        raise OSError(24, "Too many open files")

    trial.launch = fail
    with pytest.raises(ServiceUnavailableError, match="Too many open files"):
        await trial.supervisor.start()


async def test_cancelled_start_ends_the_worker() -> None:
    trial = Trial()
    start = asyncio.create_task(trial.supervisor.start())
    worker = await trial.worker(1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert worker.closed


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_closing_ends_a_running_start(turns: int) -> None:
    trial = Trial()
    start = asyncio.create_task(trial.supervisor.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    if turns == 0:
        start.cancel()
    await trial.supervisor.close()
    with pytest.raises((ServiceUnavailableError, asyncio.CancelledError)):
        await start
    assert all(worker.closed for worker in trial.workers)


async def test_delay_before_restarts_doubles_up_to_a_limit() -> None:
    trial = Trial()
    worker = await trial.started()
    for n in range(2, 13):
        worker.end(-9)
        worker = await trial.ready(n)
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] == trial.delays
    assert 11 == trial.supervisor.restarts
    await trial.supervisor.close()


async def test_restart_after_a_stable_worker_has_the_first_delay() -> None:
    trial = Trial(Timeouts(stable=60))
    worker = await trial.started()
    worker.end(-9)
    worker = await trial.ready(2)
    trial.now += 60
    worker.end(-9)
    worker = await trial.ready(3)
    worker.end(-9)
    await trial.ready(4)
    assert [0.1, 0.1, 0.2] == trial.delays
    await trial.supervisor.close()


def test_delays_start_again_after_a_stable_period() -> None:
    backoff = Backoff(first=1.0, limit=3.0, stable=10.0)
    assert [1.0, 2.0, 3.0, 3.0, 1.0, 2.0] == [backoff.next(uptime) for uptime in (0, 0, 9.9, 0, 10.0, 0)]


async def test_silent_worker_is_killed_and_replaced() -> None:
    trial = Trial(Timeouts(heartbeat=0.02))
    worker = await trial.started()
    trial.now += 1.0
    assert worker is not await trial.ready(2)
    assert -9 == worker.exited.result().status
    assert ["the engine sent no message for 0.02 s"] == trial.lost
    await trial.supervisor.close()


async def test_messages_that_have_arrived_count_before_silence_does() -> None:
    trial = Trial(Timeouts(heartbeat=0.02))
    worker = await trial.started()
    worker.late = [ScriptedCore(Script().options()).stats()]
    trial.now += 1.0
    await until(lambda: not worker.late)
    assert not worker.exited.done()
    assert trial.supervisor.stats is not None
    await trial.supervisor.close()


async def test_loading_has_its_own_timeout() -> None:
    trial = Trial(Timeouts(heartbeat=0.01, load=0.02))
    start = asyncio.create_task(trial.supervisor.start())
    await trial.worker(1)
    trial.now += 0.015
    await asyncio.sleep(0.03)
    assert not start.done()
    trial.now += 0.01
    with pytest.raises(ServiceUnavailableError, match=r"the engine sent no message for 0\.02 s"):
        await start


async def test_request_waits_for_the_restart() -> None:
    trial = Trial()
    worker = await trial.started()
    worker.end(-9)
    await trial.worker(2)
    waits = asyncio.create_task(trial.supervisor.until_ready())
    await asyncio.sleep(0.01)
    assert not waits.done()
    await trial.ready(2)
    await waits
    await trial.supervisor.close()


async def test_request_waits_no_longer_than_restart_grace() -> None:
    trial = Trial(Timeouts(restart_grace=0.01))
    worker = await trial.started()
    worker.end(-9)
    await trial.worker(2)
    with pytest.raises(ServiceUnavailableError, match="restarting") as raised:
        await trial.supervisor.until_ready()
    assert 1 == raised.value.retry_after
    await trial.supervisor.close()


async def test_closing_refuses_the_waiting_requests() -> None:
    trial = Trial()
    worker = await trial.started()
    worker.end(-9)
    await trial.worker(2)
    waits = asyncio.create_task(trial.supervisor.until_ready())
    await asyncio.sleep(0)
    await trial.supervisor.close()
    with pytest.raises(ServiceUnavailableError):
        await waits


async def test_failed_restart_is_repeated() -> None:
    trial = Trial()
    worker = await trial.started()
    worker.end(-9)
    second = await trial.worker(2)
    second.deliver([LoadFailed(message="the file has gone")])
    second.end(71)
    await trial.ready(3)
    assert trial.supervisor.ready
    assert [0.1, 0.2] == trial.delays
    await trial.supervisor.close()


async def test_closing_kills_a_worker_that_ignores_shutdown() -> None:
    trial = Trial(Timeouts(close=0.01))
    worker = await trial.started()
    worker.obedient = False
    await trial.supervisor.close()
    assert [Shutdown()] == worker.sent
    assert -9 == worker.exited.result().status
    assert worker.closed
    assert not trial.supervisor.ready


async def test_closing_several_times_sends_one_shutdown() -> None:
    trial = Trial()
    worker = await trial.started()

    await asyncio.gather(trial.supervisor.close(), trial.supervisor.close())
    await trial.supervisor.close()
    assert [Shutdown()] == worker.sent
    assert 0 == worker.exited.result().status
    trial.supervisor.send(Abort(request_id="a"))
    assert [Shutdown()] == worker.sent


async def test_closing_during_the_delay_starts_no_worker() -> None:
    trial = Trial()
    worker = await trial.started()
    waiting = asyncio.Event()

    async def wait(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    trial.supervisor._sleep = wait
    worker.end(-9)
    await waiting.wait()
    await trial.supervisor.close()
    assert 1 == len(trial.workers)


async def test_supervisor_that_was_never_started_closes_and_refuses() -> None:
    trial = Trial()
    await trial.supervisor.close()
    with pytest.raises(ServiceUnavailableError, match="not running"):
        await trial.supervisor.until_ready()


async def test_cancelled_supervisor_leaves_no_worker() -> None:
    trial = Trial()
    worker = await trial.started()
    assert trial.supervisor._task is not None
    trial.supervisor._task.cancel()
    await asyncio.wait({trial.supervisor._task})
    assert worker.closed
    assert ["it was given up"] == trial.lost
    await trial.supervisor.close()


async def test_totals_continue_after_a_restart() -> None:
    trial = Trial()
    worker = await trial.started()
    stats = msgspec.structs.replace(ScriptedCore(Script().options()).stats(), steps=3, running=2)
    worker.deliver([stats])
    worker.end(-9)
    worker = await trial.ready(2)
    assert trial.supervisor.totals is not None
    assert (3, 0) == (trial.supervisor.totals.steps, trial.supervisor.totals.running)
    worker.deliver([msgspec.structs.replace(stats, steps=4)])
    assert (7, 2) == (trial.supervisor.totals.steps, trial.supervisor.totals.running)
    await trial.supervisor.close()


async def test_totals_are_none_before_any_statistics() -> None:
    trial = Trial()
    worker = await trial.started()
    worker.end(-9)
    await trial.ready(2)
    assert trial.supervisor.totals is None
    await trial.supervisor.close()


async def test_requests_after_a_failed_restart_are_refused_at_once_with_the_reason() -> None:
    trial = Trial()
    worker = await trial.started()
    worker.end(-9)
    second = await trial.worker(2)
    assert "It was killed by SIGKILL." == str(trial.supervisor.failure)
    waits = asyncio.create_task(trial.supervisor.until_ready())
    await asyncio.sleep(0)
    second.deliver([LoadFailed(message="There is no model file at /a/m.gguf.")])
    second.end(71)
    third = await trial.worker(3)
    refused = r"The engine cannot be restarted\. There is no model file at m\.gguf\.$"
    for waiting in (waits, trial.supervisor.until_ready()):
        with pytest.raises(ServiceUnavailableError, match=refused):
            await waiting
    third.deliver([Ready(info=INFO)])
    await trial.supervisor.until_ready()
    assert trial.supervisor.failure is None
    await trial.supervisor.close()


async def test_refusal_gives_the_seconds_to_the_next_restart() -> None:
    trial = Trial()
    worker = await trial.started()
    for n in range(2, 8):
        worker.end(71)
        worker = await trial.worker(n)
    trial.supervisor._sleep = forever
    worker.end(71)
    await until(lambda: trial.supervisor._worker is None)
    with pytest.raises(ServiceUnavailableError) as raised:
        await trial.supervisor.until_ready()
    assert 6.4 == raised.value.retry_after
    await trial.supervisor.close()


async def forever(_: float) -> None:
    await asyncio.Event().wait()


async def test_replaced_model_file_is_not_served() -> None:
    trial = Trial()
    worker = await trial.started()
    worker.end(-9)
    second = await trial.worker(2)
    second.deliver([Ready(info=msgspec.structs.replace(INFO, fingerprint="another"))])
    await until(second.exited.done)
    await trial.ready(3)
    assert (-9, True, INFO) == (second.exited.result().status, trial.supervisor.ready, trial.supervisor.info)
    await trial.supervisor.close()


@pytest.mark.parametrize(
    ("reason", "sentence"),
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
def test_failure_sentence_names_no_folders(reason: str, sentence: str) -> None:
    assert sentence == _failure_sentence(reason, "/a/of mine")
