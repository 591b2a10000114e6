"""500 streams at once where 64 may wait: each is answered in one way, and what was let in runs to its end."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from antiphon.engine.host.client import EngineClient
from tests.load.front_door import Conversation, FrontDoor, ask, front_door

pytestmark = pytest.mark.anyio

STREAMS = 500
MAX_WAITING = 64
MAX_NUM_SEQS = 32
TOKENS = 4


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    async with front_door(max_num_seqs=MAX_NUM_SEQS, max_waiting=MAX_WAITING) as door:
        yield door


async def answered(door: FrontDoor, number: int) -> Conversation:
    conversation = await ask(door, f"Question {number}", max_tokens=TOKENS)
    await conversation.rest()
    return conversation


def most_waiting(client: EngineClient) -> int:
    return len(client._unstarted) + client._arriving


async def test_every_one_of_500_streams_is_answered_or_refused_and_nothing_is_held_afterwards(door: FrontDoor) -> None:
    before = door.counts()
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, most_waiting(door.client))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*(answered(door, number) for number in range(STREAMS)))
    watching.cancel()
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert STREAMS == len(accepted) + len(refused)
    assert MAX_WAITING <= len(accepted) < STREAMS
    assert MAX_WAITING == highest
    assert [] == [answer.received for answer in accepted if not finished(answer)]
    assert [] == [answer.received for answer in refused if not refused_as_documented(answer)]
    await door.until_back(before)


def finished(answer: Conversation) -> bool:
    """Say whether the stream ended in exactly one way, with all its tokens."""
    received = answer.received
    done = received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and received.count(b"[DONE]") == 1
    ends = re.findall(rb'"finish_reason":"(\w+)"', received)
    tokens = re.findall(rb'"completion_tokens":(\d+)', received)
    return done and ends == [b"length"] and tokens == [b"%d" % TOKENS] and b"event: error" not in received


def refused_as_documented(answer: Conversation) -> bool:
    """Say whether the refusal has the reference's shape and says when to come back."""
    head, _, body = answer.received.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    shaped = {"message", "type", "param", "code"} == set(error) and error["type"] == "rate_limit_error"
    return shaped and error["code"] == "rate_limit_exceeded" and b"\r\nretry-after: 1\r\n" in head + b"\r\n"


async def test_after_the_crowd_has_gone_requests_are_taken_as_before(door: FrontDoor) -> None:
    await asyncio.gather(*(answered(door, number) for number in range(2 * (MAX_WAITING + MAX_NUM_SEQS))))
    assert finished(await answered(door, 0))
