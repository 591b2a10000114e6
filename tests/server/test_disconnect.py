import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import ClientDisconnect

from antiphon.errors import RateLimitError
from antiphon.server.disconnect import DisconnectSignal

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(signal: DisconnectSignal, error: Exception | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """Run work that ends only by a cancellation, and then raises ``error`` if there is one."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if error is not None:
                raise error

    task = asyncio.create_task(signal.run(work()))
    await begun.wait()
    yield task


async def test_run_returns_the_result_of_the_work() -> None:
    assert 7 == await DisconnectSignal().run(asyncio.sleep(0, 7))


async def test_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise RateLimitError("full")

    with pytest.raises(RateLimitError):
        await DisconnectSignal().run(work())


@pytest.mark.parametrize("times", [1, 2])
async def test_disconnect_cancels_the_work_once(times: int) -> None:
    signal = DisconnectSignal()
    async with running(signal) as task:
        for _ in range(times):
            signal.set()
        with pytest.raises(ClientDisconnect):
            await task


async def test_error_of_the_work_during_its_cancellation_is_raised() -> None:
    signal = DisconnectSignal()
    async with running(signal, RateLimitError("full")) as task:
        signal.set()
        with pytest.raises(RateLimitError):
            await task


async def test_cancellation_by_the_server_is_no_disconnect() -> None:
    async with running(DisconnectSignal()) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancellation_by_the_server_during_a_disconnect_is_raised() -> None:
    signal = DisconnectSignal()
    async with running(signal) as task:
        signal.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_task_can_go_on_after_a_disconnect() -> None:
    signal = DisconnectSignal()

    async def go_on() -> int:
        asyncio.get_running_loop().call_soon(signal.set)
        with pytest.raises(ClientDisconnect):
            await signal.run(asyncio.sleep(10))
        async with asyncio.timeout(5):
            return await asyncio.sleep(0, 7)

    assert 7 == await asyncio.create_task(go_on())


async def test_work_does_not_begin_after_a_disconnect() -> None:
    signal, begun = DisconnectSignal(), []
    signal.set()

    async def work() -> None:
        begun.append(1)

    async def go_on() -> int:
        with pytest.raises(ClientDisconnect):
            await signal.run(work())
        return await asyncio.sleep(0, 7)

    assert 7 == await asyncio.create_task(go_on())
    assert [] == begun


async def test_disconnect_after_the_work_cancels_nothing() -> None:
    signal = DisconnectSignal()
    assert 7 == await signal.run(asyncio.sleep(0, 7))
    signal.set()
    assert 8 == await asyncio.sleep(0, 8)
