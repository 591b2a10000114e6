"""Stored completions over HTTP, by the official SDK, on both databases."""

import json
import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from antiphon.errors import ServiceUnavailableError
from antiphon.store.completions import CompletionStore
from tests.databases import Site
from tests.scripted_engine import Hang, ScriptedEngine, ends, says
from tests.server.conftest import MODEL, WAIT
from tests.server.storing import StoringServer, storing
from tests.store.rows import PROJECT, completion, messages

HI: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
ROWS = 250


@pytest.fixture
def server(site: Site) -> Iterator[StoringServer]:
    with storing(site) as server:
        yield server


@pytest.fixture
def client(server: StoringServer) -> Iterator[OpenAI]:
    with server.sdk() as client:
        yield client


def create(client: OpenAI, **fields: Any) -> ChatCompletion:  # noqa: ANN401 (of the SDK)
    answer = client.chat.completions.create(model=MODEL, messages=HI, store=True, **fields)
    assert isinstance(answer, ChatCompletion)
    return answer


def stored_by_id(client: OpenAI, identifier: str) -> dict[str, Any]:
    stored: dict[str, Any] = client.chat.completions.retrieve(identifier).to_dict()
    return stored


def until_stored(server: StoringServer) -> dict[str, Any]:
    """Wait for the one completion that is stored after the client is gone."""
    deadline = time.monotonic() + WAIT
    while not (data := server.http.get("/v1/chat/completions").json()["data"]):
        assert time.monotonic() < deadline, "nothing was stored"
    only: dict[str, Any] = data[0]
    return only


def test_stored_completion_is_retrieved(client: OpenAI) -> None:
    asked = {"temperature": 0.5, "seed": 7, "user": "someone", "safety_identifier": "somebody"}
    answer = create(client, metadata={"topic": "greeting"}, **asked)
    stored = stored_by_id(client, answer.id)
    expected = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": MODEL,
        "service_tier": "default",
        "system_fingerprint": answer.system_fingerprint,
        "metadata": {"topic": "greeting"},
        "temperature": 0.5,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "input_user": "someone",
        "safety_identifier": "somebody",
        "seed": 7,
        "tools": None,
        "tool_choice": None,
        "response_format": None,
    }
    assert expected == {name: stored[name] for name in expected}
    assert answer.to_dict()["usage"] == stored["usage"]
    assert answer.choices[0].message.content == stored["choices"][0]["message"]["content"]
    assert stored["request_id"].startswith("req_")


def test_a_stream_is_stored_as_the_same_answer_whole(client: OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=HI, store=True, stream=True) as stream:
        chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    choice = stored_by_id(client, chunks[0].id)["choices"][0]
    assert (said, "stop") == (choice["message"]["content"], choice["finish_reason"])


def test_without_store_nothing_is_kept(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HI)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(answer.id)
    assert [] == client.chat.completions.list().data


def test_metadata_without_store_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=HI, metadata={"a": "b"})
    assert "metadata" == caught.value.param


def test_the_messages_of_the_request_are_listed(client: OpenAI) -> None:
    answer = create(client)
    found = client.chat.completions.messages.list(answer.id)
    expected = [(f"{answer.id}-0", "system", "Be kind."), (f"{answer.id}-1", "user", "Hi")]
    assert expected == [(message.id, message.role, message.content) for message in found]


def test_messages_come_page_by_page_in_either_order(client: OpenAI) -> None:
    answer = create(client)
    found = client.chat.completions.messages.list(answer.id, limit=1, order="desc")
    assert [f"{answer.id}-1", f"{answer.id}-0"] == [message.id for message in found]


def test_metadata_is_replaced_as_a_whole(client: OpenAI) -> None:
    answer = create(client, metadata={"a": "1", "b": "2"})
    updated = client.chat.completions.update(answer.id, metadata={"c": "3"})
    assert {"c": "3"} == updated.metadata == stored_by_id(client, answer.id)["metadata"]


def test_deleted_completion_is_404(client: OpenAI) -> None:
    answer = create(client)
    deleted = client.chat.completions.delete(answer.id)
    assert (answer.id, True, "chat.completion.deleted") == (deleted.id, deleted.deleted, deleted.object)
    for call in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError):
            call(answer.id)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/messages")],
)
def test_unknown_completion_is_404_with_an_error_object(server: StoringServer, method: str, path: str) -> None:
    body = {"metadata": None} if method == "POST" else None
    answer = server.http.request(method, f"/v1/chat/completions/chatcmpl-none{path}", json=body)
    error = answer.json()["error"]
    assert (404, "invalid_request_error", "not_found") == (answer.status_code, error["type"], error["code"])


def fill(site: Site) -> list[str]:
    """Store completions of two models in the database; return their ids, the oldest first."""

    async def save() -> None:
        async with site.open() as database:
            store = CompletionStore(database)
            for number in range(ROWS):
                metadata = {"parity": str(number % 2), "ten": str(number % 10)}
                row = completion(f"c{number:03}", created=number, model=f"m{number % 3}", metadata=metadata)
                await store.save(PROJECT, row, messages(row.id))

    anyio.run(save)
    return [f"c{number:03}" for number in range(ROWS)]


def test_the_sdk_pages_through_all_of_250_and_filters_combine(client: OpenAI, site: Site) -> None:
    ids = fill(site)
    completions = client.chat.completions
    assert ids == [row.id for row in completions.list(limit=100)]
    assert ids[::-1] == [row.id for row in completions.list(order="desc")]
    assert ids[200:] == [row.id for row in completions.list(after="c199", limit=7)]
    both = completions.list(model="m0", metadata={"parity": "1", "ten": "3"}, limit=3)
    assert [f"c{number:03}" for number in range(3, ROWS, 30)] == [row.id for row in both]


def test_page_has_first_id_last_id_and_has_more(server: StoringServer, site: Site) -> None:
    fill(site)
    page = server.http.get("/v1/chat/completions", params={"limit": 2}).json()
    assert ("list", "c000", "c001", True) == (page["object"], page["first_id"], page["last_id"], page["has_more"])


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("order=up", "order"), ("after=c9", "after"), ("page=2", "page")]
)
def test_a_query_that_cannot_be_is_refused_by_name(server: StoringServer, query: str, param: str) -> None:
    answer = server.http.get(f"/v1/chat/completions?{query}")
    assert (param, True) == (answer.json()["error"]["param"], 400 <= answer.status_code < 500)


def test_stream_of_a_disconnected_client_is_stored_in_part(site: Site) -> None:
    engine = ScriptedEngine([*says("Half an ans"), Hang()])
    body = {"model": MODEL, "messages": HI, "store": True, "stream": True, "metadata": {"a": "b"}}
    with storing(site, engine) as server:
        with server.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines, said = answer.iter_lines(), ""
            while said != "Half an ans":
                for choice in json.loads(next(lines).removeprefix("data: ") or '{"choices": []}')["choices"]:
                    said += choice["delta"].get("content") or ""
        stored = until_stored(server)
    choice = stored["choices"][0]
    assert ("Half an ans", None, None) == (choice["message"]["content"], choice["finish_reason"], stored["usage"])
    assert {"a": "b"} == stored["metadata"]


def test_failed_stream_is_stored_in_part(site: Site) -> None:
    engine = ScriptedEngine([*says("Half"), ServiceUnavailableError("The engine died.")])
    body = {"model": MODEL, "messages": HI, "store": True, "stream": True}
    with storing(site, engine) as server:
        assert "The engine died." in server.http.post("/v1/chat/completions", json=body).text
        assert "Half" == until_stored(server)["choices"][0]["message"]["content"]


def test_an_answer_that_failed_whole_is_not_stored(site: Site) -> None:
    engine = ScriptedEngine([*says("Half"), ServiceUnavailableError("The engine died.")])
    with storing(site, engine) as server:
        body = {"model": MODEL, "messages": HI, "store": True}
        assert 503 == server.http.post("/v1/chat/completions", json=body).status_code
        assert [] == server.http.get("/v1/chat/completions").json()["data"]


@pytest.mark.parametrize("stream", [False, True])
def test_failure_to_store_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch, *, stream: bool) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise ServiceUnavailableError("The database has no space left.")

    monkeypatch.setattr(CompletionStore, "save", fail)
    body = {"model": MODEL, "messages": HI, "store": True, "stream": stream}
    with storing(site, ScriptedEngine([*says("Hello"), *ends()])) as server:
        answer = server.http.post("/v1/chat/completions", json=body)
    assert "The database has no space left." in answer.text
    assert (200 if stream else 503) == answer.status_code
    assert "[DONE]" not in answer.text


def test_tools_and_their_calls_are_stored_as_they_came(server: StoringServer) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sea"}'}}
    conversation = [
        {"role": "user", "content": [{"type": "text", "text": "Look"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Blue."},
    ]
    body = {"model": MODEL, "messages": conversation, "store": True}
    identifier = server.http.post("/v1/chat/completions", json=body).json()["id"]
    data = server.http.get(f"/v1/chat/completions/{identifier}/messages").json()["data"]
    assert [{"type": "text", "text": "Look"}] == data[0]["content_parts"]
    assert [call] == data[1]["tool_calls"]
    assert ("call_1", "Blue.") == (data[2]["tool_call_id"], data[2]["content"])


def test_an_update_must_be_json(server: StoringServer) -> None:
    answer = server.http.post("/v1/chat/completions/c", content=b"{}", headers={"content-type": "text/plain"})
    assert 415 == answer.status_code


def test_a_retrieved_completion_is_json_of_the_sdk_s_type(server: StoringServer, client: OpenAI) -> None:
    answer: httpx2.Response = server.http.get(f"/v1/chat/completions/{create(client).id}")
    ChatCompletion.model_validate(json.loads(answer.content))
