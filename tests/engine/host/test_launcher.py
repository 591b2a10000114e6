"""A worker from its start to its end."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from antiphon.engine.host.launcher import ProcessWorker, ThreadWorker, WorkerExit
from antiphon.engine.interface import EngineStats, FromWorker, LoadFailed, Ready, Shutdown
from antiphon.engine.worker.loop import EXIT_LOAD_FAILED, EXIT_SHUTDOWN, EXIT_STEP_FAILED
from antiphon.telemetry.exception_texts import EXCEPTION_TEXTS
from tests.engine.scripted_core import ABORT_PROCESS, RAISE_IN_STEP, REFUSE, SLEEP, Script, request, until

pytestmark = pytest.mark.anyio

FACTORY = "tests.engine.scripted_core:open_core"
BOTH = pytest.mark.parametrize("worker_type", [ProcessWorker, ThreadWorker])


class Launched:
    """A worker and the messages that it has sent."""

    def __init__(self) -> None:
        self.messages: list[FromWorker] = []
        self.worker: ProcessWorker | ThreadWorker

    async def until(self, kind: type[FromWorker]) -> None:
        await until(lambda: any(isinstance(message, kind) for message in self.messages))

    async def end(self) -> WorkerExit:
        async with asyncio.timeout(30):
            return await asyncio.shield(self.worker.exited)


@asynccontextmanager
async def launching(
    worker_type: type[ProcessWorker | ThreadWorker], script: Script | None = None
) -> AsyncIterator[Launched]:
    launch = Launched()
    options = (script or Script()).options()
    launch.worker = worker_type(launch.messages.extend, options, FACTORY, 0.05)
    try:
        yield launch
    finally:
        launch.worker.close()


def standard_input(pid: int) -> Path:
    return Path(f"/proc/{pid}/fd/0").readlink()


@BOTH
async def test_worker_sends_ready_and_ends_on_shutdown(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launching(worker_type) as launch:
        await launch.until(Ready)
        launch.worker.send(Shutdown())
        assert EXIT_SHUTDOWN == (await launch.end()).status


@BOTH
async def test_idle_worker_sends_statistics(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launching(worker_type) as launch:
        await launch.until(Ready)
        launch.messages.clear()
        await launch.until(EngineStats)


@BOTH
async def test_failed_load_is_reported(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launching(worker_type, Script(load="raise")) as launch:
        assert EXIT_LOAD_FAILED == (await launch.end()).status
        await launch.until(LoadFailed)
        assert [LoadFailed(message="no such model")] == launch.messages


@BOTH
async def test_failed_step_ends_the_worker(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launching(worker_type) as launch:
        await launch.until(Ready)
        launch.worker.send(request("a", RAISE_IN_STEP))
        assert EXIT_STEP_FAILED == (await launch.end()).status


@pytest.mark.parametrize("shown", [False, True])
async def test_text_of_an_exception_is_written_only_where_logs_show_it(
    monkeypatch: pytest.MonkeyPatch, *, shown: bool
) -> None:
    monkeypatch.setattr(EXCEPTION_TEXTS, "shown", shown)
    async with launching(ProcessWorker) as launch:
        await launch.until(Ready)
        launch.worker.send(request("a", REFUSE))
        launch.worker.send(request("b", RAISE_IN_STEP))
        output = "\n".join((await launch.end()).output)
    assert ["ValueError", "RuntimeError"] == re.findall(r"^\w+Error", output, re.MULTILINE)
    assert [shown] * 2 == ["this request is refused" in output, "the step failed" in output]


async def test_process_abort_is_reported_with_its_last_lines() -> None:
    async with launching(ProcessWorker) as launch:
        await launch.until(Ready)
        launch.worker.send(request("a", ABORT_PROCESS))
        end = await launch.end()
        assert -signal.SIGABRT == end.status
        assert "it was killed by SIGABRT" == end.describe()
        assert not end.is_orderly
        assert "GGML_ASSERT(scripted) failed" in end.output


async def test_interrupt_and_termination_signals_do_not_end_the_process() -> None:
    async with launching(ProcessWorker) as launch:
        await launch.until(Ready)
        assert isinstance(launch.worker, ProcessWorker)
        os.kill(launch.worker._process.pid, signal.SIGINT)
        os.kill(launch.worker._process.pid, signal.SIGTERM)
        launch.messages.clear()
        await launch.until(EngineStats)
        assert os.getpgid(0) != os.getpgid(launch.worker._process.pid)


async def test_stopped_process_can_be_killed() -> None:
    async with launching(ProcessWorker) as launch:
        await launch.until(Ready)
        assert isinstance(launch.worker, ProcessWorker)
        os.kill(launch.worker._process.pid, signal.SIGSTOP)
        launch.worker.kill()
        assert -signal.SIGKILL == (await launch.end()).status


async def test_closing_ends_a_process_that_still_loads() -> None:
    async with launching(ProcessWorker, Script(load="sleep")) as launch:
        assert isinstance(launch.worker, ProcessWorker)
        pid = launch.worker._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_hanging_thread_is_abandoned_and_its_messages_are_dropped() -> None:
    async with launching(ThreadWorker, Script(step_seconds=0.2)) as launch:
        await launch.until(Ready)
        launch.worker.send(request("a"))
        launch.worker.kill()
        assert WorkerExit(None) == await launch.end()
        launch.messages.clear()
        await asyncio.sleep(0.3)
        assert [] == launch.messages
        assert "it was given up" == launch.worker.exited.result().describe()


async def test_standard_input_of_a_process_is_the_null_device() -> None:
    async with launching(ProcessWorker) as launch:
        await launch.until(Ready)
        assert isinstance(launch.worker, ProcessWorker)
        assert Path(os.devnull) == standard_input(launch.worker._process.pid)


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "it ended with status 0"), (-11, "it was killed by SIGSEGV"), (-63, "it was killed by signal 63")],
)
async def test_exit_is_described_by_its_status(status: int, text: str) -> None:
    assert text == WorkerExit(status).describe()


async def test_closing_ends_a_process_during_a_long_step() -> None:
    async with launching(ProcessWorker) as launch:
        await launch.until(Ready)
        launch.worker.send(request("a", SLEEP))
        await asyncio.sleep(0.1)
    assert launch.worker.exited.cancelled()
