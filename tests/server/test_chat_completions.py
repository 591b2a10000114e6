"""``POST /v1/chat/completions`` over a real socket."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from antiphon.config import ServerOptions
from antiphon.engine.interface import Started
from antiphon.errors import RateLimitError, ServiceUnavailableError
from antiphon.protocol.sse import SSEDecoder
from tests.scripted_engine import Hang, Item, Pause, ScriptedEngine, ends, says
from tests.server.conftest import MODEL, WAIT, Server, StartServer

PATH = "/v1/chat/completions"
STARTED = Started(request_id="", cached_tokens=0)


def request(content: str = "Hi", **fields: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def events(text: bytes) -> list[Any]:
    return [data if data == "[DONE]" else json.loads(data) for data in SSEDecoder().feed(text)]


def post(server: Server, body: dict[str, Any]) -> httpx2.Response:
    return server.http.post(PATH, json=body)


def test_answer_is_one_json_object(http: httpx2.Client) -> None:
    answer = http.post(PATH, json=request("Hi"))
    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    completion = answer.json()
    assert "chat.completion" == completion["object"]
    assert [{"index": 0, "logprobs": None, "finish_reason": "stop"}] == [
        {name: choice[name] for name in choice if name != "message"} for choice in completion["choices"]
    ]
    assert {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []} == completion["choices"][0][
        "message"
    ]


def test_a_stream_is_events_and_done(http: httpx2.Client) -> None:
    answer = http.post(PATH, json=request("Hey", stream=True))
    assert (200, "text/event-stream; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    *chunks, done = events(answer.content)
    assert "[DONE]" == done
    assert "Hey" == "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert 1 == len({(chunk["id"], chunk["created"]) for chunk in chunks})


def test_the_usage_is_the_last_chunk_when_asked_for(http: httpx2.Client) -> None:
    answer = http.post(PATH, json=request(stream=True, stream_options={"include_usage": True}))
    *chunks, last, _done = events(answer.content)
    assert {None} == {chunk["usage"] for chunk in chunks}
    assert ([], 4) == (last["choices"], last["usage"]["total_tokens"])


@pytest.mark.parametrize(("options", "padded"), [({}, True), ({"include_obfuscation": False}, False)])
def test_chunks_are_padded_unless_the_request_turns_it_off(
    http: httpx2.Client, options: dict[str, bool], *, padded: bool
) -> None:
    *chunks, _done = events(http.post(PATH, json=request(stream=True, stream_options=options)).content)
    assert {padded} == {"obfuscation" in chunk for chunk in chunks}


def test_events_come_as_they_are_made(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([STARTED, *says("a"), Hang()]))
    with server.http.stream("POST", PATH, json=request(stream=True)) as answer:
        first = next(answer.iter_bytes())
    assert first.startswith(b"data: {")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{", None, "invalid_json"),
        (b'"\xff"', None, "invalid_json"),
        (b"", None, "invalid_json"),
        (json.dumps(request(temperature=3)).encode(), "temperature", "decimal_above_max_value"),
        (json.dumps(request(nonsense=1)).encode(), "nonsense", "unknown_parameter"),
        (json.dumps(request(messages=[])).encode(), "messages", "empty_array"),
    ],
)
def test_a_malformed_request_is_400(http: httpx2.Client, body: bytes, param: str | None, code: str) -> None:
    answer = http.post(PATH, content=body, headers={"Content-Type": "application/json"})
    error = answer.json()["error"]
    assert (400, "invalid_request_error", param, code) == (
        answer.status_code,
        error["type"],
        error["param"],
        error["code"],
    )


SENT = {"role": "user", "content": "Hi", "sender": "ada", "opts": {}}


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_names_ignored_members_in_a_header(http: httpx2.Client, *, stream: bool) -> None:
    answer = http.post(PATH, json=request(stream=stream, messages=[SENT]))
    ignored = answer.headers["x-antiphon-ignored"]
    assert (200, "messages[0].sender, messages[0].opts") == (answer.status_code, ignored)


def test_an_answer_to_a_request_without_unknown_members_lacks_the_header(http: httpx2.Client) -> None:
    assert "x-antiphon-ignored" not in http.post(PATH, json=request()).headers


def test_members_of_a_large_body_are_ignored_too(http: httpx2.Client) -> None:
    answer = http.post(PATH, json=request(messages=[SENT | {"sender": "a" * 100_000}]))
    assert "messages[0].sender, messages[0].opts" == answer.headers["x-antiphon-ignored"]


def test_strict_messages_refuses_unknown_members(start_server: StartServer) -> None:
    server = start_server(options=ServerOptions(strict_messages=True))
    answer = post(server, request(messages=[SENT]))
    assert (400, "messages[0].sender") == (answer.status_code, answer.json()["error"]["param"])


def test_operator_may_ignore_a_field_of_the_request(start_server: StartServer) -> None:
    server = start_server(options=ServerOptions(ignored_fields=("keep_alive",)))
    answer = post(server, request(keep_alive="5m"))
    assert (200, "keep_alive") == (answer.status_code, answer.headers["x-antiphon-ignored"])
    assert 400 == post(server, request(keep_alive="5m", other=1)).status_code


def test_an_unknown_model_is_404(http: httpx2.Client) -> None:
    answer = http.post(PATH, json=request() | {"model": "other"})
    error = answer.json()["error"]
    assert (404, "model", "model_not_found") == (answer.status_code, error["param"], error["code"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", "application/json, text/plain", ""])
def test_a_body_that_is_not_declared_as_json_is_415(http: httpx2.Client, content_type: str, *, stream: bool) -> None:
    body = json.dumps(request(stream=stream)).encode()
    answer = http.post(PATH, content=body, headers={"Content-Type": content_type})
    assert (415, "unsupported_content_type") == (answer.status_code, answer.json()["error"]["code"])


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON ;profile=x"])
def test_a_content_type_may_have_parameters(http: httpx2.Client, content_type: str) -> None:
    body = json.dumps(request()).encode()
    assert 200 == http.post(PATH, content=body, headers={"Content-Type": content_type}).status_code


def test_an_encoded_body_is_415(http: httpx2.Client) -> None:
    answer = http.post(PATH, json=request(), headers={"Content-Encoding": "gzip"})
    assert 415 == answer.status_code


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_is_429_with_retry_after_also_for_a_stream(start_server: StartServer, *, stream: bool) -> None:
    server = start_server(ScriptedEngine(refusal=RateLimitError("Full.", retry_after=1.5)))
    answer = post(server, request(stream=stream))
    assert (429, "2", "1500") == (answer.status_code, answer.headers["retry-after"], answer.headers["retry-after-ms"])
    assert "rate_limit_exceeded" == answer.json()["error"]["code"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_dies_before_the_first_token_is_503(start_server: StartServer, *, stream: bool) -> None:
    server = start_server(ScriptedEngine([ServiceUnavailableError("The engine stopped.")]))
    answer = post(server, request(stream=stream))
    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert "service_unavailable" == answer.json()["error"]["code"]


def test_an_engine_that_dies_in_a_stream_is_an_error_event_and_the_end(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([STARTED, *says("a"), ServiceUnavailableError("The engine stopped.")]))
    answer = post(server, request(stream=True))
    last = events(answer.content)[-1]
    assert (200, "service_unavailable") == (answer.status_code, last["error"]["code"])


def test_a_fault_of_the_server_is_500_without_a_trace(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([ValueError("a secret")]))
    answer = post(server, request())
    assert (500, "server_error") == (answer.status_code, answer.json()["error"]["type"])
    assert "secret" not in answer.text


SILENT: list[Item] = [Hang()]
SPEAKING: list[Item] = [STARTED, *says("a"), Hang()]
FLOODING: list[Item] = [STARTED, *[item for _ in range(20_000) for item in (*says("a" * 10), Pause())], Hang()]


@pytest.mark.parametrize(
    ("script", "stream"), [(SILENT, False), (SILENT, True), (SPEAKING, False), (SPEAKING, True), (FLOODING, True)]
)
def test_disconnect_aborts_the_request(start_server: StartServer, script: list[Item], *, stream: bool) -> None:
    server = start_server(ScriptedEngine(script))
    body = json.dumps(request(stream=stream)).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with server.connect() as client:
        client.sendall(head.encode() + body)
        server.wait_until(lambda: server.engine.running == 1)
        if stream and script is SPEAKING:
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    server.wait_until(lambda: server.engine.running == 0)
    assert [None] == [index for _, index in server.engine.aborts]


def test_disconnect_after_a_comment_aborts_the_request(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine(SILENT), options=ServerOptions(stream_headers_after=0))
    body = json.dumps(request(stream=True)).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with server.connect() as client:
        client.sendall(head.encode() + body)
        received = b""
        while b": ping\n\n" not in received:
            received += client.recv(1000)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"x-request-id: req_" in received
    server.wait_until(lambda: server.engine.running == 0)
    assert [None] == [index for _, index in server.engine.aborts]


def test_whole_answer_has_no_head_before_it_is_made(start_server: StartServer) -> None:
    script: list[Item] = [Pause(0.1), ServiceUnavailableError("The engine stopped.")]
    server = start_server(ScriptedEngine(script), options=ServerOptions(stream_headers_after=0))
    assert 503 == post(server, request()).status_code


class Counted(list[Item]):
    """A script that counts what was taken of it."""

    taken = 0

    def __iter__(self) -> Iterator[Item]:
        for item in super().__iter__():
            self.taken += 1
            yield item


def test_a_slow_reader_holds_the_engine_back(start_server: StartServer) -> None:
    script = Counted(FLOODING)
    server = start_server(ScriptedEngine(script))
    with server.http.stream("POST", PATH, json=request(stream=True)) as answer:
        next(answer.iter_bytes())
        taken = -1
        while taken != script.taken:
            taken = script.taken
            time.sleep(0.2)
    assert taken < len(script) / 2
    server.wait_until(lambda: server.engine.running == 0)
    assert 1 == len(server.engine.aborts)


def test_streams_of_many_clients_go_on_side_by_side(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([STARTED, *says("a"), Pause(0.05), *says("b"), *ends()]))
    answers: list[httpx2.Response] = []
    clients = [threading.Thread(target=lambda: answers.append(post(server, request(stream=True)))) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(WAIT)
    assert [200] * 8 == [answer.status_code for answer in answers]
    assert {"[DONE]"} == {events(answer.content)[-1] for answer in answers}


def test_a_connection_serves_one_request_after_another(http: httpx2.Client) -> None:
    answers = [http.post(PATH, json=request(stream=stream)) for stream in (True, False, True)]
    assert [200] * 3 == [answer.status_code for answer in answers]


def test_a_body_over_the_limit_is_413_and_closes_the_connection(start_server: StartServer) -> None:
    server = start_server(options=ServerOptions(max_body_size=1000))
    answer = post(server, request("a" * 2_000_000))
    assert (413, "close") == (answer.status_code, answer.headers["connection"])
    assert "request_too_large" == answer.json()["error"]["code"]
