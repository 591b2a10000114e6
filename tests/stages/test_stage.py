import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from antiphon.backends.backend import AnswerPart, AnswerParts, Call
from antiphon.errors import InvalidRequestError, ServiceUnavailableError
from antiphon.protocol.messages import UserMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk
from antiphon.routing.router import Router
from antiphon.service import Service
from antiphon.service.records import RequestRecord
from antiphon.service.storage import Storage
from antiphon.stages.stage import Stage, through_stages
from antiphon.store.database import Database
from tests.scripted_engine import Hang, Item, Pause, ends, says
from tests.scripted_upstream import ScriptedUpstream

pytestmark = pytest.mark.anyio

REQUEST = CreateChatCompletion(messages=[UserMessage(content="Hi")], model="m")
CALL = Call(completion_id="c", created=1, request=REQUEST)


class DoNothing:
    """Changes nothing."""

    async def before(self, call: Call) -> Call:
        return call

    async def after(self, call: Call, parts: AnswerParts) -> AnswerParts:  # noqa: ARG002 (a stage's signature)
        async with aclosing(parts):
            async for part in parts:
                yield part


class UpperCase(DoNothing):
    """Writes the question and the answer in capitals; counts its open streams."""

    def __init__(self) -> None:
        self.open = 0

    async def before(self, call: Call) -> Call:
        await asyncio.sleep(0)
        text = str(call.request.messages[-1].content)
        request = msgspec.structs.replace(call.request, messages=[UserMessage(content=text.upper())])
        return msgspec.structs.replace(call, request=request)

    async def after(self, call: Call, parts: AnswerParts) -> AnswerParts:  # noqa: ARG002 (a stage's signature)
        self.open += 1
        try:
            async with aclosing(parts):
                async for part in parts:
                    await asyncio.sleep(0)
                    yield AnswerPart([_upper(chunk) for chunk in part.chunks], part.spent)
        finally:
            self.open -= 1


class Marking(DoNothing):
    """Puts a letter around the texts, to show the order of stages."""

    def __init__(self, letter: str) -> None:
        self._letter = letter

    async def before(self, call: Call) -> Call:
        text = str(call.request.messages[-1].content)
        request = msgspec.structs.replace(call.request, messages=[UserMessage(content=text + self._letter)])
        return msgspec.structs.replace(call, request=request)

    async def after(self, call: Call, parts: AnswerParts) -> AnswerParts:  # noqa: ARG002 (a stage's signature)
        async with aclosing(parts):
            async for part in parts:
                yield AnswerPart([_changed(chunk, self._letter) for chunk in part.chunks], part.spent)


class Refusing(DoNothing):
    async def before(self, call: Call) -> Call:  # noqa: ARG002 (a stage's signature)
        raise InvalidRequestError("not this", param="messages")


class Stopping(DoNothing):
    """Ends the answer with an error after its first chunk."""

    async def after(self, call: Call, parts: AnswerParts) -> AnswerParts:  # noqa: ARG002 (a stage's signature)
        async with aclosing(parts):
            yield await anext(parts)
        raise InvalidRequestError("not that", code="content_filter")


def _upper(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    choices = [
        msgspec.structs.replace(
            choice, delta=msgspec.structs.replace(choice.delta, content=(choice.delta.content or "").upper())
        )
        if choice.delta.content
        else choice
        for choice in chunk.choices
    ]
    return msgspec.structs.replace(chunk, choices=choices)


def _changed(chunk: ChatCompletionChunk, letter: str) -> ChatCompletionChunk:
    choices = [
        msgspec.structs.replace(
            choice, delta=msgspec.structs.replace(choice.delta, content=f"{choice.delta.content}{letter}")
        )
        if choice.delta.content
        else choice
        for choice in chunk.choices
    ]
    return msgspec.structs.replace(chunk, choices=choices)


def upstream(*script: Item) -> ScriptedUpstream:
    return ScriptedUpstream([*(script or says("hello")), *ends()])


async def answered(stages: list[Stage], source: ScriptedUpstream, call: Call = CALL) -> str:
    parts = [part async for part in through_stages(stages, call, source.stream)]
    return "".join(choice.delta.content or "" for part in parts for chunk in part.chunks for choice in chunk.choices)


@pytest.mark.parametrize("stages", [[], [DoNothing()], [DoNothing(), DoNothing()]])
async def test_stages_that_do_nothing_change_nothing(stages: list[Stage]) -> None:
    source = upstream()
    bare = [part async for part in upstream().stream(CALL)]
    assert bare == [part async for part in through_stages(stages, CALL, source.stream)]
    assert [CALL] == source.requests


async def test_stage_changes_the_call_for_the_backend_and_the_answer_for_the_client() -> None:
    source = upstream()
    assert "HELLO" == await answered([UpperCase()], source)
    assert ["HI"] == [message.content for message in source.requests[0].request.messages]


async def test_outermost_stage_gets_the_call_first_and_the_answer_last() -> None:
    source = upstream(*says("x"))
    assert "xba" == await answered([Marking("a"), Marking("b")], source)
    assert ["Hiab"] == [message.content for message in source.requests[0].request.messages]


async def test_request_that_a_stage_refuses_does_not_reach_the_backend() -> None:
    source = upstream()
    with pytest.raises(InvalidRequestError, match="not this"):
        await answered([DoNothing(), Refusing(), UpperCase()], source)
    assert [] == source.requests


async def test_a_stage_that_ends_the_answer_closes_the_backend() -> None:
    source = upstream(*says("a"), Hang())
    with pytest.raises(InvalidRequestError, match="not that"):
        await answered([DoNothing(), Stopping()], source)
    assert [("c", None)] == source.aborts


async def test_error_of_the_backend_passes_through_the_stages() -> None:
    stage = UpperCase()
    with pytest.raises(ServiceUnavailableError, match="died"):
        await answered([stage], upstream(*says("a"), ServiceUnavailableError("died")))
    assert 0 == stage.open


async def test_cancelled_request_closes_its_stages_and_its_backend() -> None:
    for turns in itertools.count():
        stage, source = UpperCase(), upstream(Pause(), *says("ab"), Pause())
        task = asyncio.create_task(answered([stage, DoNothing()], source))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        await asyncio.wait([task])
        assert (0, 0) == (stage.open, source.running)
        if not cancelled:
            assert turns > 4
            return


@asynccontextmanager
async def served(
    database: Database, source: ScriptedUpstream, *stages: Stage
) -> AsyncIterator[tuple[Service, list[RequestRecord]]]:
    records: list[RequestRecord] = []
    storage = Storage(database, holder="test")
    yield Service(Router({"m": [source]}), storage, stages=stages, log=records.append), records


async def test_stored_answer_is_the_answer_after_the_stages(database: Database) -> None:
    async with served(database, upstream(), UpperCase()) as (service, records):
        sent = await service.create(msgspec.structs.replace(REQUEST, store=True))
        stored = await service.get_completion(sent.id)
    assert ("HELLO", "HELLO") == (sent.choices[0].message.content, stored.choices[0].message.content)
    assert ["completed"] == [record.outcome for record in records]


async def test_a_refusal_of_a_stage_is_logged_as_the_request_s_end(database: Database) -> None:
    async with served(database, upstream(), Refusing()) as (service, records):
        with pytest.raises(InvalidRequestError):
            await service.create(REQUEST)
    assert [("failed", "InvalidRequestError")] == [(record.outcome, record.error) for record in records]


async def test_disconnect_closes_the_stages_and_the_backend(database: Database) -> None:
    stage, source = UpperCase(), upstream(*says("a"), Hang())
    async with served(database, source, stage) as (service, records):
        chunks = service.stream(msgspec.structs.replace(REQUEST, stream=True))
        await anext(chunks)
        await chunks.aclose()
    assert (0, 0, ["cancelled"]) == (stage.open, source.running, [record.outcome for record in records])
