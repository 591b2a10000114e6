"""Clients that read slowly or not at all: they cost nobody else anything, and are not kept for ever."""

import asyncio

import pytest

from antiphon.engine.host import client as client_module
from antiphon.server.http_protocol import with_write_timeout
from tests.load.front_door import ask, front_door

pytestmark = pytest.mark.anyio

READERS = 6
TOKENS = 40
LONG = 200
WORDY = {"logprobs": True, "top_logprobs": 20}
"""Makes events so long that ``LONG`` tokens do not fit into the buffers between the server and its client."""


async def test_readers_of_one_byte_at_a_time_do_not_hold_up_others() -> None:
    async with front_door(max_num_seqs=READERS + 1) as door:
        before = door.counts()
        slow = [await ask(door, f"Slow {number}", max_tokens=TOKENS) for number in range(READERS)]
        for reader in slow:
            assert b"H" == await reader.read(1)
        assert b"[DONE]" in await (await ask(door, "Quick", max_tokens=TOKENS)).rest()
        await door.until(lambda: door.counts().running == 0)
        for reader in slow:
            assert b"TTP/" == b"".join([await reader.read(1) for _ in range(4)])
        for answer in await asyncio.gather(*(reader.rest() for reader in slow)):
            assert 1 == answer.count(b"[DONE]")
        await door.until_back(before)


async def test_a_reader_that_stalls_holds_no_place_of_the_engine() -> None:
    async with front_door(max_num_seqs=1) as door:
        stalled = await ask(door, "Stalled", max_tokens=LONG, **WORDY)
        assert b"[DONE]" in await (await ask(door, "Next", max_tokens=TOKENS)).rest()
        assert 1 == (await stalled.rest()).count(b"[DONE]")


async def test_a_reader_that_stalls_is_cut_off_in_the_end() -> None:
    async with front_door(protocol=with_write_timeout(0.5)) as door:
        before = door.counts()
        stalled = await ask(door, "Stalled", max_tokens=LONG, **WORDY)
        await stalled.until(b"data: ")
        await door.until(lambda: len(asyncio.all_tasks()) == before.tasks)
        assert b"[DONE]" not in await stalled.rest()
        await door.until_back(before)


async def test_a_reader_too_far_behind_is_told_so_and_its_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_UNREAD", 20)
    async with front_door() as door:
        before = door.counts()
        behind = await ask(door, "Behind", max_tokens=3000, **WORDY)
        await behind.until(b"data: ")
        await door.until(lambda: not door.client._streams)
        received = await behind.rest()
        assert (1, 0) == (received.count(b"event: error\n"), received.count(b"[DONE]"))
        assert b"read too slowly" in received
        await door.until_back(before)
