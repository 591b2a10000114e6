import pytest

from antiphon.assembly.collector import Collector
from antiphon.backends.backend import Call
from antiphon.errors import DatabaseUnavailableError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, CompletionUsage, Delta, FinishReason
from antiphon.service.access import Caller
from antiphon.service.recorder import Recorder
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.keys import Principal
from tests.store.rows import OTHER, PROJECT, add_project

pytestmark = pytest.mark.anyio

USAGE = CompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
REQUEST = decode_request(
    b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "store": true, "metadata": {"a": "b"},'
    b' "temperature": 0, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": -1, "seed": 3, "user": "u",'
    b' "safety_identifier": "s",'
    b' "tools": [{"type": "function", "function": {"name": "look", "parameters": {"default": null}}}],'
    b' "tool_choice": "none", "response_format": {"type": "text"}}'
)


def chunk(content: str = "", finish: FinishReason | None = None, *, index: int = 0) -> ChatCompletionChunk:
    choice = ChunkChoice(index=index, delta=Delta(content=content), finish_reason=finish)
    return ChatCompletionChunk(
        id="c", created=5, model="m", service_tier="flex", system_fingerprint="fp", choices=[choice]
    )


def last() -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id="c", created=5, model="m", service_tier="flex", system_fingerprint="fp", choices=[], usage=USAGE
    )


def recorder(database: Database, *, project: str = PROJECT) -> Recorder:
    caller = Caller(principal=Principal(project_id=project), request_id="req_1")
    call = Call(completion_id="c", created=5, request=REQUEST)
    return Recorder(CompletionStore(database), call, caller, Collector())


async def test_request_is_stored_with_its_answer(database: Database) -> None:
    keeps = recorder(database)
    for each in (chunk("Hel"), chunk("lo", "stop"), last()):
        keeps.collector.add(each)
    await keeps.save("completed")
    stored = await CompletionStore(database).get(PROJECT, "c")
    assert ("Hello", "stop", USAGE) == (
        stored.choices[0].message.content,
        stored.choices[0].finish_reason,
        stored.usage,
    )
    assert ("req_1", 5, "flex", "fp", {"a": "b"}) == (
        stored.request_id,
        stored.created,
        stored.service_tier,
        stored.system_fingerprint,
        stored.metadata,
    )
    assert (0.0, 0.5, 1.0, -1.0, 3, "u", "s") == (
        stored.temperature,
        stored.top_p,
        stored.presence_penalty,
        stored.frequency_penalty,
        stored.seed,
        stored.input_user,
        stored.safety_identifier,
    )


async def test_tools_and_formats_are_stored_unchanged(database: Database) -> None:
    keeps = recorder(database)
    keeps.collector.add(chunk("x", "stop"))
    await keeps.save("completed")
    stored = await CompletionStore(database).get(PROJECT, "c")
    function = {"name": "look", "parameters": {"default": None}}
    assert [{"type": "function", "function": function}] == stored.tools
    assert ("none", {"type": "text"}) == (stored.tool_choice, stored.response_format)


async def test_partial_answer_is_stored(database: Database) -> None:
    keeps = recorder(database)
    for each in (chunk("a", index=1), chunk("b"), chunk("c", "stop", index=1)):
        keeps.collector.add(each)
    await keeps.save("cancelled")
    stored = await CompletionStore(database).get(PROJECT, "c")
    assert [(0, "b", None), (1, "ac", "stop")] == [
        (choice.index, choice.message.content, choice.finish_reason) for choice in stored.choices
    ]
    assert stored.usage is None


async def test_recorder_is_empty_before_the_first_chunk_and_unsaved_before_save(database: Database) -> None:
    keeps = recorder(database)
    assert (True, False) == (keeps.empty, keeps.saved)
    keeps.collector.add(chunk("a"))
    assert not keeps.empty
    await keeps.save("completed")
    assert keeps.saved


async def test_stored_completion_belongs_to_the_project_of_the_caller(database: Database) -> None:
    await add_project(database)
    keeps = recorder(database, project=OTHER)
    keeps.collector.add(chunk("a", "stop"))
    await keeps.save("completed")
    store = CompletionStore(database)
    pages = [(await store.list(project)).data for project in (PROJECT, OTHER)]
    assert [[], ["c"]] == [[row.id for row in page] for page in pages]


async def test_failure_to_store_says_that_the_answer_was_generated(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError("The database is busy. Please try again.", retry_after=1)

    monkeypatch.setattr(database, "write", fail)
    keeps = recorder(database)
    keeps.collector.add(chunk("a", "stop"))
    with pytest.raises(DatabaseUnavailableError, match=r"generated, but not stored\. The database is busy") as caught:
        await keeps.save("completed")
    assert (1, True) == (caught.value.retry_after, keeps.saved)
