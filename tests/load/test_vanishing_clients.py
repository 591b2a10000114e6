"""Clients that go away at every stage: they cost nobody else anything, and everything they held comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.load.front_door import PACE, Conversation, FrontDoor, alive, ask, connect, front_door, request

pytestmark = pytest.mark.anyio

ENDLESS = 3000
"""Tokens: longer than any test waits for."""
LONG = "word " * 200
TOOLS = [{"type": "function", "function": {"name": "weather"}}]

Stage = Callable[[FrontDoor], Awaitable[Conversation]]
"""Brings a request to a stage and gives the connection, for the client to vanish."""


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    async with front_door(max_num_seqs=2, max_num_batched_tokens=32) as door:
        yield door


async def in_the_head(door: FrontDoor) -> Conversation:
    return await sent(door, request("Hi", max_tokens=1)[:40])


async def in_the_body(door: FrontDoor) -> Conversation:
    return await sent(door, request("Hi", max_tokens=1)[:-10])


async def sent(door: FrontDoor, data: bytes) -> Conversation:
    conversation = await connect(door)
    conversation._writer.write(data)
    await conversation._writer.drain()
    return conversation


async def in_prefill(door: FrontDoor) -> Conversation:
    PACE.free.clear()
    conversation = await ask(door, LONG, max_tokens=ENDLESS)
    await door.until(PACE.entered.is_set)
    return conversation


async def in_decode(door: FrontDoor) -> Conversation:
    conversation = await ask(door, "Hi", max_tokens=ENDLESS)
    await conversation.until(b'"content":"', 5)
    return conversation


async def in_decode_of_several_choices(door: FrontDoor) -> Conversation:
    conversation = await ask(door, "Hi", max_tokens=ENDLESS, n=3)
    await conversation.until(b'"content":"', 5)
    return conversation


async def in_a_tool_call(door: FrontDoor) -> Conversation:
    conversation = await ask(door, "Hi", max_tokens=ENDLESS, tools=TOOLS)
    await conversation.until(b'"arguments":"', 5)
    return conversation


async def after_the_last_token(door: FrontDoor) -> Conversation:
    conversation = await ask(door, "Hi", max_tokens=5)
    await conversation.until(b'"finish_reason":"length"')
    return conversation


async def after_done(door: FrontDoor) -> Conversation:
    conversation = await ask(door, "Hi", max_tokens=5)
    await conversation.until(b"[DONE]")
    return conversation


STAGES = [
    in_the_head,
    in_the_body,
    in_prefill,
    in_decode,
    in_decode_of_several_choices,
    in_a_tool_call,
    after_the_last_token,
    after_done,
]


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
async def test_a_client_that_vanishes_leaves_nothing_behind(door: FrontDoor, stage: Stage, reset: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    before = door.counts()
    conversation = await stage(door)
    conversation.vanish(reset=reset)
    await door.until(lambda: len(asyncio.all_tasks()) <= before.tasks)
    PACE.free.set()
    await door.until_back(before)


async def test_a_client_that_vanishes_while_it_waits_leaves_its_place(door: FrontDoor) -> None:
    first, second = [await in_decode(door) for _ in range(2)]
    held = alive()
    waiting = await ask(door, "Hi", max_tokens=1)
    await door.until(lambda: door.client.stats is not None and door.client.stats.waiting == 1)
    waiting.vanish()
    await door.until(lambda: not door.client._unstarted and door.counts().waiting == 0)
    assert held == alive()
    first.vanish()
    second.vanish()


async def test_others_get_the_same_answer_while_clients_come_and_vanish(door: FrontDoor) -> None:
    alone = await (await ask(door, "Tell me", max_tokens=60, seed=7)).events()
    other = await ask(door, "Tell me", max_tokens=60, seed=7)
    for stage in (in_decode, in_the_body, in_a_tool_call, in_decode):
        (await stage(door)).vanish(reset=True)
    assert text(alone) == text(await other.events())


def text(events: list[dict[str, object]]) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        for choice in event["choices"]  # type: ignore[attr-defined] # JSON
    )
