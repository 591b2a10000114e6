"""Idempotent requests and rate limits over HTTP, on both databases."""

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec
import openai
import pytest
from starlette.types import Receive, Scope, Send

from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.requests import receive_request
from antiphon.rendering.unenforced import Unenforced
from antiphon.routing.router import Router
from antiphon.server.completion_answer import CompletionAnswer
from antiphon.service import Service, answer_memory
from antiphon.service.access import Caller
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.limits import Limits
from tests.databases import Site
from tests.scripted_engine import Hang, ScriptedEngine, ScriptedRenderer, ends, says, scripted_backend
from tests.server.asgi import Exchange
from tests.server.conftest import MODEL, served
from tests.server.storing import StoringServer, storing

BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"


@pytest.fixture
def server(site: Site) -> Iterator[StoringServer]:
    with storing(site) as server:
        yield server


def post(server: StoringServer, key: str = "k", **fields: Any) -> httpx2.Response:  # noqa: ANN401 (of the body)
    return server.http.post(PATH, json=BODY | fields, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("stream", [False, True])
def test_a_repeat_gets_the_first_answer_and_generates_nothing(server: StoringServer, *, stream: bool) -> None:
    first, second = (post(server, stream=stream) for _ in range(2))
    assert (first.content, first.headers["content-type"]) == (second.content, second.headers["content-type"])
    assert (None, "true") == tuple(answer.headers.get("idempotent-replayed") for answer in (first, second))
    assert 1 == len(server.engine.requests)


def test_another_body_is_a_409(server: StoringServer) -> None:
    post(server)
    answer = post(server, temperature=0.5)
    assert (409, "conflict", "Idempotency-Key") == (
        answer.status_code,
        answer.json()["error"]["code"],
        answer.json()["error"]["param"],
    )


def test_a_failure_is_no_answer(site: Site) -> None:
    engine = ScriptedEngine(scripts=[[ServiceUnavailableError("died")], [*says("ok"), *ends()]])
    with storing(site, engine) as server:
        assert [503, 200] == [post(server).status_code for _ in range(2)]


def test_a_stream_that_broke_off_is_no_answer(site: Site) -> None:
    engine = ScriptedEngine(scripts=[[*says("a"), Hang()], [*says("ok"), *ends()]])
    with storing(site, engine) as server:
        headers = {"Idempotency-Key": "k"}
        with server.http.stream("POST", PATH, json=BODY | {"stream": True}, headers=headers) as answer:
            next(answer.iter_lines())
        while (again := post(server, stream=True)).status_code == 409:  # until the server has seen the client go
            pass
    assert "[DONE]" in again.text


def test_the_sdk_waits_for_an_answer_that_is_still_made(site: Site) -> None:
    engine = ScriptedEngine([*says("ok"), *ends()])
    with storing(site, engine) as server, server.sdk(max_retries=3) as client:
        answers: list[str] = []

        def ask() -> None:
            answer = client.chat.completions.create(**BODY, extra_headers={"Idempotency-Key": "k"})
            answers.append(answer.id)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (3, 1, 1) == (len(answers), len(set(answers)), len(engine.requests))


def test_every_answer_has_the_rate_limit_headers(site: Site) -> None:
    with storing(site, project=Limits(requests_per_minute=10, tokens_per_minute=10_000)) as server:
        for stream in (False, True):
            headers = server.http.post(PATH, json=BODY | {"stream": stream}).headers
            assert ("10", "10000") == (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-limit-tokens"])
            assert {"x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens"} <= set(headers)


def test_429_over_the_limit_has_retry_after(site: Site) -> None:
    with storing(site, project=Limits(requests_per_minute=1)) as server:
        answers = [server.http.post(PATH, json=BODY) for _ in range(2)]
    assert [200, 429] == [answer.status_code for answer in answers]
    headers, error = answers[1].headers, answers[1].json()["error"]
    assert ("rate_limit_error", "rate_limit_exceeded", "0") == (
        error["type"],
        error["code"],
        headers["x-ratelimit-remaining-requests"],
    )
    assert 0 < int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000


def test_429_of_an_end_users_limit_does_not_show_the_identifier(site: Site) -> None:
    asked = BODY | {"safety_identifier": "ada@example.com", "user": "lovelace"}
    with storing(site, end_user=Limits(requests_per_minute=1)) as server:
        answers = [server.http.post(PATH, json=asked) for _ in range(2)]
        others = [server.http.post(PATH, json=body).status_code for body in (BODY, BODY, asked | {"user": "x"})]
    assert [200, 429] == [answer.status_code for answer in answers]
    assert [200, 200, 429] == others
    headers, error = answers[1].headers, answers[1].json()["error"]
    assert error["message"].startswith(
        "Rate limit reached for requests per minute of an end user: Limit 1, Requested 1."
    )
    assert ("rate_limit_exceeded", "1", "0") == (
        error["code"],
        headers["x-ratelimit-limit-requests"],
        headers["x-ratelimit-remaining-requests"],
    )
    assert 0 < int(headers["retry-after"]) <= 60
    assert not {"ada", "lovelace"} & set(re.findall(r"\w+", f"{answers[1].text} {headers}"))


def test_sdk_retries_after_the_time_in_the_answer(site: Site) -> None:
    with storing(site, project=Limits(requests_per_minute=120)) as server, server.sdk(max_retries=5) as client:
        for _ in range(125):
            client.chat.completions.create(**BODY)
    assert 125 == len(server.engine.requests)


def test_limits_hold_across_two_servers_of_one_database(site: Site) -> None:
    limits = Limits(requests_per_minute=2)
    with storing(site, project=limits) as one, storing(site, project=limits) as two:
        answers = [server.http.post(PATH, json=BODY).status_code for server in (one, two, one, two)]
    assert [200, 200, 429, 429] == answers


def test_disconnect_frees_the_concurrency_slot(site: Site) -> None:
    engine = ScriptedEngine(scripts=[[*says("a"), Hang()], [*says("ok"), *ends()]])
    with storing(site, engine, project=Limits(concurrent_requests=1)) as server:
        with server.http.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
            lines = answer.iter_lines()  # held: the stream is closed with it
            assert "data" in next(lines)
            assert 429 == server.http.post(PATH, json=BODY).status_code
        with server.sdk(max_retries=5) as client:
            assert "ok" == client.chat.completions.create(**BODY).choices[0].message.content


def test_a_request_too_large_for_its_limit_is_not_to_be_repeated(site: Site) -> None:
    with (
        storing(site, project=Limits(tokens_per_minute=10)) as server,
        server.sdk(max_retries=5) as client,
        pytest.raises(openai.RateLimitError, match="Request too large"),
    ):
        client.chat.completions.create(**BODY, max_completion_tokens=11)
    assert [] == server.engine.requests


LONG = [*says("x" * 50), *ends()]
"""50 tokens: 80 KB with 20 alternatives each, which is more than a short answer."""
ALTERNATIVES: dict[str, Any] = {"logprobs": True, "top_logprobs": 20}


@pytest.mark.parametrize(
    ("fields", "key", "refused"),
    [
        ({}, None, True),
        ({"stream": True}, None, False),
        ({"stream": True}, "k", True),
        ({"stream": True, "store": True}, None, True),
    ],
    ids=["whole", "streamed", "streamed and kept", "streamed and stored"],
)
def test_answer_too_large_to_be_collected_ends_in_answer_too_large(
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, bool],
    key: str | None,
    *,
    refused: bool,
) -> None:
    shutil.copy(sqlite_template, tmp_path / DATABASE_FILE)
    monkeypatch.setattr(answer_memory, "MAX_ANSWER", 20_000)
    with storing(Site(None, tmp_path), ScriptedEngine(LONG)) as server:
        headers = {"Idempotency-Key": key} if key else {}
        answer = server.http.post(PATH, json=BODY | ALTERNATIVES | fields, headers=headers)
        again = server.http.post(PATH, json=BODY)
    assert (400 if refused and not fields else 200) == answer.status_code
    assert (refused, refused) == ('"code":"answer_too_large"' in answer.text, "longer than 20000" in answer.text)
    assert ("[DONE]" in answer.text) is not refused
    assert 200 == again.status_code


@pytest.mark.anyio
async def test_answer_counts_until_it_is_sent() -> None:
    service = Service(Router({MODEL: [scripted_backend(ScriptedEngine(LONG))]}))
    received = receive_request(msgspec.json.encode(BODY | ALTERNATIVES))
    exchange = Exchange()
    exchange.writable.clear()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await CompletionAnswer(service, Caller(), received, b"", None, headers_after=5.0)(scope, receive, send)

    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run, app)
        with anyio.fail_after(5):
            while not exchange.sent:  # noqa: ASYNC110 - the exchange is kept simple
                await anyio.sleep(0.001)
        held = service.answer_memory.held
        exchange.writable.set()
    assert 0.9 * len(exchange.body) < held < len(exchange.body)
    assert 0 == service.answer_memory.held


@pytest.mark.parametrize("stream", [False, True])
def test_header_names_the_keywords_that_are_not_enforced(*, stream: bool) -> None:
    renderer = ScriptedRenderer(unenforced=Unenforced(paths=("a.b", "c[0]"), content={}))
    engine = ScriptedEngine([*says("{}"), *ends()])
    with served(engine, renderer=renderer) as server:
        headers = server.http.post(PATH, json=BODY | {"stream": stream}).headers
    assert "a.b, c[0]" == headers["x-antiphon-unenforced"]
