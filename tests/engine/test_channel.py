"""Tests of both ends of the channels, in one process."""

import asyncio
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zmq

from antiphon.engine.channel import HIGH_WATER_MARK, Address, PairChannel, PairServer, QueueChannel
from antiphon.engine.interface import Abort, EngineStats, FromWorker, Shutdown, Started, TokenEvent
from tests.engine.scripted_core import Script, ScriptedCore, request, until

pytestmark = pytest.mark.anyio


class Pair:
    """A server and a channel that is connected to it."""

    def __init__(self, directory: Path) -> None:
        self.received: list[list[FromWorker]] = []
        self.broken: list[str] = []
        self.server = PairServer(self.received.append, self.broken.append, directory=directory)
        self.channel = PairChannel(self.server.address)

    async def until_received(self, n: int) -> list[FromWorker]:
        await until(lambda: sum(map(len, self.received)) >= n)
        return [message for messages in self.received for message in messages]


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[Pair]:
    pair = Pair(directory)
    try:
        yield pair
    finally:
        pair.channel.close()
        pair.server.close()


def token(token_id: int) -> TokenEvent:
    return TokenEvent(request_id="a", index=0, token_ids=[token_id])


def stats() -> EngineStats:
    return ScriptedCore(Script().options()).stats()


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_commands_and_events_arrive_as_they_were_sent(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        step: list[FromWorker] = [Started(request_id="a", cached_tokens=1), token(5), stats()]
        pair.channel.send(step)
        assert step == await pair.until_received(3)
        assert [step] == pair.received
        pair.server.send(request("a"))
        pair.server.send(Abort(request_id="a"))
        commands = pair.channel.receive(5.0)
        commands += pair.channel.receive(0.2) if len(commands) < 2 else []
        assert [request("a"), Abort(request_id="a")] == commands


async def test_events_are_delivered_while_commands_are_sent(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        pair.channel.send([token(0)])
        await pair.until_received(1)
        for number in range(1, 200):
            pair.channel.send([token(number)])
            pair.server.send(Abort(request_id="b"))
        assert [token(number) for number in range(200)] == await pair.until_received(200)


async def test_receive_waits_no_longer_than_its_timeout(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        assert [] == pair.channel.receive(0.0)
        assert [] == pair.channel.receive(0.01)


async def test_client_that_does_not_read_loses_no_event_and_does_not_block_the_worker(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        n = 20 * HIGH_WATER_MARK
        for number in range(n):  # the event loop does not run meanwhile
            pair.channel.send([token(number), stats()])
        assert isinstance(pair.channel._unsent[0], TokenEvent)
        assert 1 == len(pair.channel._unsent_stats)
        flushed = asyncio.create_task(asyncio.to_thread(pair.channel.flush, 10.0))
        tokens: list[FromWorker] = []
        async with asyncio.timeout(10):
            while len(tokens) < n:
                await asyncio.sleep(0.005)
                tokens = [m for messages in pair.received for m in messages if isinstance(m, TokenEvent)]
        assert [token(number) for number in range(n)] == tokens
        assert await flushed


async def test_kept_messages_are_sent_while_the_worker_is_idle(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        for number in range(20 * HIGH_WATER_MARK):
            pair.channel.send([token(number)])
        pair.server.receive()
        while pair.channel._unsent:
            assert [] == pair.channel.receive(5.0)
            pair.server.receive()


async def test_only_this_user_can_reach_the_socket(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        (directory,) = files(tmp_path)
        assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
        assert pair.server.address.endpoint == f"ipc://{directory}/worker"


async def test_no_file_is_left_after_the_first_message_of_the_worker(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        pair.channel.send([stats()])
        await pair.until_received(1)
        assert [] == files(tmp_path)


async def test_no_file_is_left_without_a_message_of_the_worker(tmp_path: Path) -> None:
    async with connected(tmp_path):
        pass
    assert [] == files(tmp_path)


async def test_long_path_is_replaced_by_a_loopback_port_with_a_key(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    async with connected(directory) as pair:
        assert pair.server.address.endpoint.startswith("tcp://127.0.0.1:")
        pair.channel.send([token(1)])
        assert [token(1)] == await pair.until_received(1)
        pair.server.send(Shutdown())
        assert [Shutdown()] == pair.channel.receive(5.0)


async def test_peer_without_the_key_is_not_admitted(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    received: list[list[FromWorker]] = []
    server = PairServer(received.append, lambda _: None, directory=directory)
    public, _ = zmq.curve_keypair()
    strangers = [
        PairChannel(Address(server.address.endpoint)),
        PairChannel(Address(server.address.endpoint, public.decode())),
    ]
    channel = PairChannel(server.address)
    try:
        for number, sender in enumerate([*strangers, channel]):
            sender.send([token(number)])
        await until(lambda: received)
        assert [[token(2)]] == received
    finally:
        for sender in strangers:
            sender._socket.close(0)
            sender._context.term()
        channel.close()
        server.close()


async def test_undecodable_message_breaks_the_channel(tmp_path: Path) -> None:
    async with connected(tmp_path) as pair:
        pair.channel._socket.send(b"\xc1")
        await until(lambda: pair.broken)
        assert "cannot be read" in pair.broken[0]
        assert [] == pair.received


async def test_missing_directory_raises_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        PairServer(lambda _: None, lambda _: None, directory=tmp_path / "nowhere")


async def test_closed_channel_leaves_no_descriptor(tmp_path: Path) -> None:
    async with connected(tmp_path):
        pass
    before = len(files(Path("/proc/self/fd")))
    for _ in range(5):
        async with connected(tmp_path):
            pass
    assert before == len(files(Path("/proc/self/fd")))


async def test_queue_delivers_on_the_event_loop_of_the_client() -> None:
    received: list[tuple[list[FromWorker], threading.Thread]] = []
    arrived = asyncio.Event()

    def deliver(messages: list[FromWorker]) -> None:
        received.append((messages, threading.current_thread()))
        arrived.set()

    channel = QueueChannel(asyncio.get_running_loop(), deliver)
    await asyncio.to_thread(channel.send, [token(1)])
    await arrived.wait()
    assert [([token(1)], threading.current_thread())] == received


async def test_queue_returns_all_commands_at_once() -> None:
    channel = QueueChannel(asyncio.get_running_loop(), lambda _: None)
    assert [] == channel.receive(0.0)
    channel.put(request("a"))
    channel.put(Shutdown())
    assert [request("a"), Shutdown()] == channel.receive(1.0)
    assert [] == channel.receive(0.01)
    assert channel.flush(0.0)
