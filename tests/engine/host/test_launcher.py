"""One worker, from its start to its end."""

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


class Heard:
    """What a worker has said."""

    def __init__(self) -> None:
        self.messages: list[FromWorker] = []
        self.worker: ProcessWorker | ThreadWorker

    async def until(self, kind: type[FromWorker]) -> None:
        await until(lambda: any(isinstance(message, kind) for message in self.messages))

    async def end(self) -> WorkerExit:
        async with asyncio.timeout(30):
            return await asyncio.shield(self.worker.exited)


@asynccontextmanager
async def launched(
    worker_type: type[ProcessWorker | ThreadWorker], script: Script | None = None
) -> AsyncIterator[Heard]:
    heard = Heard()
    options = (script or Script()).options()
    heard.worker = worker_type(heard.messages.extend, options, FACTORY, 0.05)
    try:
        yield heard
    finally:
        heard.worker.close()


def standard_input(pid: int) -> Path:
    return Path(f"/proc/{pid}/fd/0").readlink()


@BOTH
async def test_it_says_that_it_is_ready_and_ends_when_told_to(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launched(worker_type) as heard:
        await heard.until(Ready)
        heard.worker.send(Shutdown())
        assert EXIT_SHUTDOWN == (await heard.end()).status


@BOTH
async def test_it_gives_signs_of_life_while_it_idles(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launched(worker_type) as heard:
        await heard.until(Ready)
        heard.messages.clear()
        await heard.until(EngineStats)


@BOTH
async def test_a_failed_load_is_told(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launched(worker_type, Script(load="raise")) as heard:
        assert EXIT_LOAD_FAILED == (await heard.end()).status
        await heard.until(LoadFailed)
        assert [LoadFailed(message="no such model")] == heard.messages


@BOTH
async def test_a_failed_step_ends_it(worker_type: type[ProcessWorker | ThreadWorker]) -> None:
    async with launched(worker_type) as heard:
        await heard.until(Ready)
        heard.worker.send(request("a", RAISE_IN_STEP))
        assert EXIT_STEP_FAILED == (await heard.end()).status


@pytest.mark.parametrize("shown", [False, True])
async def test_what_an_exception_says_is_written_only_where_logs_show_it(
    monkeypatch: pytest.MonkeyPatch, *, shown: bool
) -> None:
    monkeypatch.setattr(EXCEPTION_TEXTS, "shown", shown)
    async with launched(ProcessWorker) as heard:
        await heard.until(Ready)
        heard.worker.send(request("a", REFUSE))
        heard.worker.send(request("b", RAISE_IN_STEP))
        output = "\n".join((await heard.end()).output)
    assert ["ValueError", "RuntimeError"] == re.findall(r"^\w+Error", output, re.MULTILINE)
    assert [shown] * 2 == ["this request is refused" in output, "the step failed" in output]


async def test_an_abort_is_reported_with_the_last_lines() -> None:
    async with launched(ProcessWorker) as heard:
        await heard.until(Ready)
        heard.worker.send(request("a", ABORT_PROCESS))
        end = await heard.end()
        assert -signal.SIGABRT == end.status
        assert "it was killed by SIGABRT" == end.describe()
        assert not end.orderly
        assert "GGML_ASSERT(scripted) failed" in end.output


async def test_signals_for_the_group_do_not_end_it() -> None:
    async with launched(ProcessWorker) as heard:
        await heard.until(Ready)
        assert isinstance(heard.worker, ProcessWorker)
        os.kill(heard.worker._process.pid, signal.SIGINT)
        os.kill(heard.worker._process.pid, signal.SIGTERM)
        heard.messages.clear()
        await heard.until(EngineStats)
        assert os.getpgid(0) != os.getpgid(heard.worker._process.pid)


async def test_a_stopped_process_can_be_killed() -> None:
    async with launched(ProcessWorker) as heard:
        await heard.until(Ready)
        assert isinstance(heard.worker, ProcessWorker)
        os.kill(heard.worker._process.pid, signal.SIGSTOP)
        heard.worker.kill()
        assert -signal.SIGKILL == (await heard.end()).status


async def test_closing_ends_a_process_that_still_loads() -> None:
    async with launched(ProcessWorker, Script(load="sleep")) as heard:
        assert isinstance(heard.worker, ProcessWorker)
        pid = heard.worker._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_thread_that_hangs_is_given_up_and_no_longer_heard() -> None:
    async with launched(ThreadWorker, Script(step_seconds=0.2)) as heard:
        await heard.until(Ready)
        heard.worker.send(request("a"))
        heard.worker.kill()
        assert WorkerExit(None) == await heard.end()
        heard.messages.clear()
        await asyncio.sleep(0.3)
        assert [] == heard.messages
        assert "it was given up" == heard.worker.exited.result().describe()


async def test_standard_input_is_empty_for_the_model() -> None:
    async with launched(ProcessWorker) as heard:
        await heard.until(Ready)
        assert isinstance(heard.worker, ProcessWorker)
        assert Path(os.devnull) == standard_input(heard.worker._process.pid)


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "it ended with status 0"), (-11, "it was killed by SIGSEGV"), (-63, "it was killed by signal 63")],
)
async def test_an_exit_is_described(status: int, text: str) -> None:
    assert text == WorkerExit(status).describe()


async def test_a_long_step_does_not_keep_a_process_alive() -> None:
    async with launched(ProcessWorker) as heard:
        await heard.until(Ready)
        heard.worker.send(request("a", SLEEP))
        await asyncio.sleep(0.1)
    assert heard.worker.exited.cancelled()
