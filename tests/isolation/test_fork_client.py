"""The parent's side of one fork server: its processes, their ends, and a server that does not answer."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from antiphon.isolation import fork_client
from antiphon.isolation.fork_client import ForkServer, JobProcess, PreloadedForkServer
from antiphon.isolation.fork_server import EXIT_JOB_FAILED, IDLE_SECONDS
from tests.isolation.jobs import settings

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(factory: str = "open_handler") -> AsyncIterator[ForkServer]:
    server = ForkServer(settings(factory=factory))
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def forked(server: ForkServer) -> AsyncIterator[JobProcess]:
    """Yield a process; end it afterwards."""
    process = await server.fork()
    try:
        yield process
    finally:
        await process.end()


async def test_each_fork_is_a_separate_process() -> None:
    async with opened() as server, forked(server) as one, forked(server) as other:
        assert 2 == len({await one.run(b"pid"), await other.run(b"pid")})
        assert [b"1", b"1"] == [await one.run(b"number"), await other.run(b"number")]


async def test_process_reports_the_stage_of_its_job() -> None:
    async with opened() as server, forked(server) as process:
        await process.run(b"echo maple")
        assert "echo" == process.stage


async def test_preloaded_server_is_taken_once_by_its_own_settings() -> None:
    preloaded = PreloadedForkServer(settings())
    assert preloaded.take(settings(factory="decline")) is None
    started = preloaded.take(settings())
    assert started is not None
    assert preloaded.take(settings()) is None
    server = ForkServer(settings(), started)
    try:
        async with forked(server) as process:
            assert b"maple" == await process.run(b"word")
    finally:
        await server.close()


async def test_preloaded_server_that_nobody_takes_is_ended() -> None:
    preloaded = PreloadedForkServer(settings())
    assert preloaded._started is not None
    process = preloaded._started.process
    preloaded.close()
    assert process.returncode is not None


async def test_idle_server_prepares_the_parts_that_were_deferred() -> None:
    async with opened("open_in_parts") as server, forked(server) as early:
        assert b"0" == await early.run(b"idle")
        for _ in range(5):
            await anyio.sleep(1.5 * IDLE_SECONDS)
            async with forked(server) as late:
                if (parts := await late.run(b"idle")) == b"1":
                    break
        assert (b"1", b"0") == (parts, await early.run(b"idle"))


async def test_end_returns_the_status_of_the_process() -> None:
    async with opened() as server:
        process = await server.fork()
        with pytest.raises(EOFError):
            await process.run(b"fail maple")
        assert EXIT_JOB_FAILED == await process.end()


async def test_job_times_out_after_the_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as server, forked(server) as process:
        await process.run(b"pid")
        monkeypatch.setattr(fork_client, "WALL_SECONDS", 0.2)
        with pytest.raises(TimeoutError):
            await process.run(b"sleep 60")


async def test_a_server_that_does_not_end_a_process_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_client, "END_SECONDS", 0.2)
    async with opened() as server:
        process = await server.fork()
        await process.run(b"pid")
        os.kill(server._process.pid, signal.SIGSTOP)
        assert await process.end() is None
        assert server.ended


async def test_failed_preparation_ends_the_streams_of_processes_at_once() -> None:
    async with opened("refuse") as server:
        process = await server.fork()
        with pytest.raises((EOFError, OSError)):
            await process.run(b"pid")
        assert await process.end() is None
