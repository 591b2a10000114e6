from contextlib import aclosing

import pytest

from antiphon.backends.backend import Call
from antiphon.errors import APIError, InvalidRequestError, RateLimitError, ServiceUnavailableError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.routing.failover import first_available
from tests.scripted_engine import Hang, ends, says
from tests.scripted_upstream import ScriptedUpstream

pytestmark = pytest.mark.anyio

CALL = Call(completion_id="c", created=1, request=CreateChatCompletion(messages=[UserMessage(content="Hi")], model="m"))
DOWN = ServiceUnavailableError("down")


def upstream(text: str) -> ScriptedUpstream:
    return ScriptedUpstream([*says(text), *ends()])


async def said(*candidates: ScriptedUpstream) -> str:
    parts = [part async for part in first_available(candidates, CALL)]
    return "".join(choice.delta.content or "" for part in parts for chunk in part.chunks for choice in chunk.choices)


async def test_the_preferred_candidate_answers() -> None:
    other = upstream("b")
    assert "a" == await said(upstream("a"), other)
    assert [] == other.requests


@pytest.mark.parametrize("refusal", [DOWN, RateLimitError("full")])
async def test_next_candidate_answers_when_the_preferred_one_is_down_or_full(refusal: APIError) -> None:
    assert "b" == await said(ScriptedUpstream(refusal=refusal), upstream("b"))


async def test_next_candidate_answers_after_a_failure_before_the_first_chunk() -> None:
    failing = ScriptedUpstream([DOWN])
    assert "b" == await said(failing, upstream("b"))
    assert (1, 0) == (len(failing.requests), failing.running)


async def test_failure_after_the_first_chunk_is_raised_without_another_try() -> None:
    other = upstream("b")
    with pytest.raises(ServiceUnavailableError, match="down"):
        await said(ScriptedUpstream([*says("a"), DOWN]), other)
    assert [] == other.requests


async def test_invalid_request_is_not_sent_to_the_next_candidate() -> None:
    other = upstream("b")
    with pytest.raises(InvalidRequestError):
        await said(ScriptedUpstream(refusal=InvalidRequestError("bad")), other)
    assert [] == other.requests


async def test_error_of_the_last_candidate_is_raised() -> None:
    with pytest.raises(RateLimitError, match="full"):
        await said(ScriptedUpstream(refusal=DOWN), ScriptedUpstream(refusal=RateLimitError("full")))


@pytest.mark.parametrize("others", [[], [upstream("b")]])
async def test_closing_the_answer_aborts_the_request_at_its_candidate(others: list[ScriptedUpstream]) -> None:
    first = ScriptedUpstream([*says("a"), Hang()])
    async with aclosing(first_available([first, *others], CALL)) as parts:
        await anext(parts)
    assert [("c", None)] == first.aborts
