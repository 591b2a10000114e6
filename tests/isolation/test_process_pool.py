"""Jobs in forked processes: limits, deaths, cancellation, and processes that are kept between jobs."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import structlog.testing
from msgspec.structs import replace

from antiphon.isolation import fork_client
from antiphon.isolation.fork_client import PreparationError
from antiphon.isolation.fork_server import EXIT_PREPARATION_FAILED
from antiphon.isolation.process_pool import JobLostError, PoolFullError, PoolLoad, PoolUnavailableError, ProcessPool
from tests.isolation.jobs import LIMITS, MEBIBYTE, settings

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(*, size: int = 1, max_waiting: int = 8, cpu_seconds: int = 2) -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(settings(replace(LIMITS, cpu_seconds=cpu_seconds)), size=size, max_waiting=max_waiting)
    try:
        yield pool
    finally:
        await pool.close()


async def lost(pool: ProcessPool, job: bytes) -> tuple[str, str]:
    with pytest.raises(JobLostError) as caught:
        await pool.run(job)
    return caught.value.cause, caught.value.stage


def state(pid: int) -> str:
    """Return the kernel's letter for the state of a process; X when it does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


async def reaches(pid: int, states: str) -> bool:
    for _ in range(500):
        if state(pid) in states:
            return True
        await anyio.sleep(0.02)
    return False


async def gone(pid: int) -> bool:
    return await reaches(pid, "ZX")


async def test_result_of_a_job_comes_from_the_handler() -> None:
    async with opened() as pool:
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_factory_gets_the_argument() -> None:
    async with opened() as pool:
        assert b"maple" == await pool.run(b"word")


async def test_long_payload_and_long_result_are_complete() -> None:
    text = os.urandom(1 << 20).hex().encode()
    async with opened() as pool:
        assert text == await pool.run(b"echo " + text)


async def test_a_process_is_kept_for_the_next_job() -> None:
    async with opened() as pool:
        assert [b"1", b"2", b"3"] == [await pool.run(b"number") for _ in range(3)]


async def test_jobs_run_at_the_same_time_in_processes_of_their_own() -> None:
    async with opened(size=2) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, b"sleep 60")
        assert b"falcon" == await pool.run(b"echo falcon")
        tasks.cancel_scope.cancel()


async def test_job_over_its_processor_time_is_lost_alone() -> None:
    async with opened(cpu_seconds=1) as pool:
        assert ("time", "spin") == await lost(pool, b"spin")
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_processor_time_is_counted_for_each_job_anew() -> None:
    async with opened(cpu_seconds=2) as pool:
        for _ in range(3):
            began = time.monotonic()
            await pool.run(b"echo " + b"x" * 1000)
            assert 60 > time.monotonic() - began


async def test_job_over_its_memory_is_lost_alone() -> None:
    async with opened() as pool:
        assert ("memory", "allocate") == await lost(pool, b"allocate %d" % (300 * MEBIBYTE))
        assert b"1000" == await pool.run(b"allocate 1000")


async def test_job_within_its_memory_succeeds() -> None:
    async with opened() as pool:
        assert b"%d" % (100 * MEBIBYTE) == await pool.run(b"allocate %d" % (100 * MEBIBYTE))


async def test_a_crash_of_native_code_loses_its_job_alone() -> None:
    async with opened() as pool:
        assert ("crash", "crash") == await lost(pool, b"crash")
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_exception_of_the_handler_loses_the_job_with_cause_fault() -> None:
    async with opened() as pool:
        assert ("fault", "fail") == await lost(pool, b"fail maple")
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_a_cancelled_job_is_killed() -> None:
    async with opened() as pool:
        pid = int(await pool.run(b"pid"))
        with anyio.move_on_after(0.2):
            await pool.run(b"spin")
        assert await gone(pid)
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_a_job_that_is_cancelled_before_its_process_is_prepared_leaves_no_process() -> None:
    async with opened() as pool:
        with anyio.move_on_after(0.0):
            await pool.run(b"spin")
        assert b"falcon" == await pool.run(b"echo falcon")
        assert PoolLoad() == pool.load


@pytest.mark.parametrize("factory", ["open_handler", "open_slowly"])
async def test_jobs_cancelled_at_once_do_not_block_another_job(factory: str) -> None:
    pool = ProcessPool(settings(factory=factory), size=2, max_waiting=8)
    try:
        server = None
        if factory == "open_handler":
            server = parent_of(int(await pool.run(b"pid")))
        for _ in range(400):
            job = asyncio.create_task(pool.run(b"spin"))
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            job.cancel()
            await asyncio.wait({job})
        assert server in {None, parent_of(int(await pool.run(b"pid")))}
    finally:
        await pool.close()


async def test_job_is_refused_when_the_queue_is_full() -> None:
    async with opened(max_waiting=1) as pool, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(pool.run, b"sleep 60")
        while (1, 1) != (pool.load.running, pool.load.waiting):
            await anyio.lowlevel.checkpoint()
        with pytest.raises(PoolFullError):
            await pool.run(b"echo falcon")
        tasks.cancel_scope.cancel()


async def test_long_jobs_delay_no_short_ones() -> None:
    pool = ProcessPool(settings(), size=1, max_waiting=1, short=1, max_waiting_short=1)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(pool.run, b"sleep 60")
            while (1, 1) != (pool.load.running, pool.load.waiting):
                await anyio.lowlevel.checkpoint()
            assert b"falcon" == await pool.run(b"echo falcon", short=True)
            with pytest.raises(PoolFullError):
                await pool.run(b"echo falcon")
            tasks.cancel_scope.cancel()
    finally:
        await pool.close()


async def test_short_jobs_have_processes_of_their_own() -> None:
    pool = ProcessPool(settings(), size=1, max_waiting=1, short=1, max_waiting_short=1)
    try:
        pids = [await pool.run(b"pid", short=short) for short in (True, False, True, False)]
        assert (pids[:2], 2) == (pids[2:], len(set(pids)))
    finally:
        await pool.close()


async def test_pool_is_prepared_without_a_job() -> None:
    async with opened() as pool:
        await pool.prepared()
        assert PoolLoad() == pool.load


async def test_refused_preparation_has_its_reason() -> None:
    pool = ProcessPool(settings(factory="decline"), size=1, max_waiting=8)
    try:
        with pytest.raises(PreparationError, match=r"Not .*maple") as caught, structlog.testing.capture_logs() as logs:
            await pool.prepared()
        assert (EXIT_PREPARATION_FAILED, []) == (caught.value.status, logs)
    finally:
        await pool.close()


@pytest.mark.parametrize(("status", "factory"), [(-signal.SIGXCPU, "open_endlessly"), (71, "refuse")])
async def test_failed_preparation_has_the_status_of_the_server(status: int, factory: str) -> None:
    pool = ProcessPool(settings(factory=factory), size=1, max_waiting=8)
    try:
        with pytest.raises(PreparationError) as caught:
            await pool.prepared()
        assert (status, "") == (caught.value.status, caught.value.reason)
    finally:
        await pool.close()


async def test_limits_of_the_preparation_end_with_it() -> None:
    pool = ProcessPool(settings(factory="open_unlimited"), size=1, max_waiting=8)
    try:
        assert b"%d" % (100 * MEBIBYTE) == await pool.run(b"allocate %d" % (100 * MEBIBYTE))
    finally:
        await pool.close()


async def test_process_that_sends_a_message_without_a_job_does_no_further_job() -> None:
    async with opened() as pool:
        pid = await pool.run(b"pid")
        assert b"" == await pool.run(b"babble")
        assert await gone(int(pid))
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_load_has_the_running_time_of_the_oldest_job() -> None:
    async with opened(size=2) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, b"sleep 60")
        await pool.run(b"sleep 0.2")
        assert (1, 0, True) == (pool.load.running, pool.load.waiting, 0.2 <= pool.load.oldest_seconds)
        tasks.cancel_scope.cancel()
    assert 0 == pool.load.oldest_seconds


async def test_process_killed_from_outside_makes_the_pool_unavailable_for_its_job() -> None:
    async with opened() as pool:
        with pytest.raises(PoolUnavailableError):
            await pool.run(b"kill")
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_process_with_excess_memory_does_no_further_job() -> None:
    async with opened() as pool:
        pids = [await pool.run(b"keep %d" % (100 * MEBIBYTE)) for _ in range(4)]
        assert (4, 4) == (len(set(pids)), len(pids))
        assert await gone(int(pids[0]))


async def test_memory_of_earlier_jobs_does_not_count_against_the_next() -> None:
    async with opened() as pool:
        pid = await pool.run(b"keep %d" % (50 * MEBIBYTE))
        assert b"%d" % (230 * MEBIBYTE) == await pool.run(b"allocate %d" % (230 * MEBIBYTE))
        assert pid == await pool.run(b"pid")


@pytest.mark.parametrize("message", [b"r 4294967295", b"l 268435457", b"s 257", b"x 0", b"j 0"])
async def test_process_that_sends_an_invalid_message_is_killed(message: bytes) -> None:
    async with opened() as pool:
        assert ("fault", "send") == await lost(pool, b"send " + message)
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_endless_output_of_a_process_does_not_block_other_jobs() -> None:
    async with opened(size=2) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, b"shout")
        for _ in range(20):
            assert b"falcon" == await pool.run(b"echo falcon")
        tasks.cancel_scope.cancel()


async def test_stopped_process_is_killed_after_the_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as pool:
        pid = int(await pool.run(b"pid"))
        os.kill(pid, signal.SIGSTOP)
        assert await reaches(pid, "T")
        monkeypatch.setattr(fork_client, "WALL_SECONDS", 0.2)
        with pytest.raises(PoolUnavailableError):
            await pool.run(b"echo falcon")
        monkeypatch.undo()
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_process_that_died_while_idle_is_replaced() -> None:
    async with opened() as pool:
        pid = int(await pool.run(b"pid"))
        os.kill(pid, signal.SIGKILL)
        assert await gone(pid)
        await anyio.sleep(0.1)
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_killed_fork_server_ends_its_processes_and_is_restarted() -> None:
    async with opened() as pool:
        pid = int(await pool.run(b"pid"))
        os.kill(parent_of(pid), signal.SIGKILL)
        assert await gone(pid)
        with suppress(PoolUnavailableError):
            await pool.run(b"echo falcon")
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_fork_server_that_dies_during_a_job_makes_the_pool_unavailable() -> None:
    async with opened() as pool, anyio.create_task_group() as tasks:
        server = parent_of(int(await pool.run(b"pid")))

        async def kill() -> None:
            await anyio.sleep(0.2)
            os.kill(server, signal.SIGKILL)

        tasks.start_soon(kill)
        with pytest.raises(PoolUnavailableError):
            await pool.run(b"sleep 60")


async def test_a_stopped_fork_server_is_killed_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_client, "END_SECONDS", 0.2)
    async with opened() as pool:
        pid = int(await pool.run(b"pid"))
        os.kill(parent_of(pid), signal.SIGSTOP)
        assert await reaches(parent_of(pid), "T")
        with pytest.raises(PoolUnavailableError):
            await pool.run(b"crash")
        assert b"falcon" == await pool.run(b"echo falcon")


async def test_a_handler_that_cannot_be_prepared_makes_the_pool_unavailable() -> None:
    pool = ProcessPool(settings(factory="refuse"), size=1, max_waiting=8)
    try:
        with pytest.raises(PoolUnavailableError), structlog.testing.capture_logs() as logs:
            await pool.run(b"echo falcon")
        assert "ValueError" in str([log["output"] for log in logs if log["event"] == "fork_server_ended"])
    finally:
        await pool.close()


async def test_a_handler_that_takes_too_long_to_prepare_makes_the_pool_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = ProcessPool(settings(factory="open_slowly"), size=1, max_waiting=8)
    try:
        monkeypatch.setattr(fork_client, "WALL_SECONDS", 0.2)
        with pytest.raises(PoolUnavailableError):
            await pool.run(b"echo falcon")
        monkeypatch.undo()
        await anyio.sleep(0.1)
        assert b"falcon" == await pool.run(b"echo falcon")
    finally:
        await pool.close()


async def test_a_pool_may_be_closed_twice() -> None:
    async with opened() as pool:
        await pool.run(b"pid")
        await pool.close()


async def test_closed_pool_has_no_process_and_refuses_jobs() -> None:
    async with opened() as pool:
        pid = int(await pool.run(b"pid"))
        server = parent_of(pid)
    assert (True, True) == (await gone(pid), await gone(server))
    with pytest.raises(PoolUnavailableError):
        await pool.run(b"echo falcon")


async def test_jobs_that_run_when_the_pool_closes_are_lost() -> None:
    pool = ProcessPool(settings(), size=1, max_waiting=8)
    await pool.run(b"pid")
    outcome: list[Exception] = []

    async def run() -> None:
        try:
            await pool.run(b"sleep 60")
        except PoolUnavailableError as error:
            outcome.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(0.2)
        await pool.close()
    assert 1 == len(outcome)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
