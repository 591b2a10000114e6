"""All paths but the one that creates completions, which has its own file."""

import asyncio
import re

import httpx2
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from antiphon import __version__
from antiphon.config import ServerOptions
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.server.body_memory import BodyMemory
from antiphon.server.middleware import BoundedBody
from antiphon.server.routes import HEAVY_BODY, Handlers
from antiphon.service import Service
from antiphon.service.access import Caller
from tests.scripted_engine import ScriptedEngine, scripted_backend
from tests.server.asgi import Exchange, body
from tests.server.conftest import MODEL, NO_TLS, WAIT, StartServer, running


def test_the_models_are_listed(http: httpx2.Client) -> None:
    listed = http.get("/v1/models").json()
    assert ("list", [MODEL]) == (listed["object"], [model["id"] for model in listed["data"]])
    fields = {"id", "object", "created", "owned_by", "context_length", "input_modalities"}
    assert fields == set(listed["data"][0])


@pytest.mark.parametrize("path", ["/v1/models/org/scripted", "/v1/models/org%2Fscripted"])
def test_a_model_whose_id_has_a_slash_is_found(http: httpx2.Client, path: str) -> None:
    assert MODEL == http.get(path).json()["id"]


@pytest.mark.parametrize("path", ["/v1/models/org", "/v1/models/org/scripted/", "/v1/models/", "/v1/models/%00%ff"])
def test_any_other_model_is_404(http: httpx2.Client, path: str) -> None:
    answer = http.get(path)
    assert (404, "model_not_found") == (answer.status_code, answer.json()["error"]["code"])


def test_health_is_200_while_requests_are_accepted(http: httpx2.Client) -> None:
    answer = http.get("/health")
    preparing = {"running": 0, "waiting": 0, "oldest_seconds": 0.0}
    model = {"id": MODEL, "status": "ready", "reason": None, "restarts": 0, "preparing": preparing}
    said = {"status": "ready", "version": __version__, "draining": False, "models": [model], "database": None}
    assert (200, said, "no-store") == (answer.status_code, answer.json(), answer.headers["cache-control"])


@pytest.mark.parametrize(("path", "status"), [("/health", 503), ("/health/ready", 503), ("/health/live", 200)])
def test_starting_engine_is_live_and_not_ready(start_server: StartServer, path: str, status: int) -> None:
    answer = start_server(ScriptedEngine(info=None)).http.get(path)
    assert (status, "live", status == 503) == (
        answer.status_code,
        answer.json()["status"],
        "retry-after" in answer.headers,
    )


@pytest.mark.anyio
async def test_one_long_body_is_decoded_per_turn_of_the_event_loop() -> None:
    seen: list[str] = []
    handlers = Handlers(Service(Router({MODEL: [scripted_backend()]})), stream_headers_after=5.0)

    def decode(_: bytes) -> bool:
        seen.append("body")
        return True

    decoding = [asyncio.create_task(handlers._decode_in_turn(b"", decode)) for _ in range(5)]
    while not all(task.done() for task in decoding):
        seen.append("other")
        await asyncio.sleep(0)
    assert 5 == seen.count("body")
    assert "body body" not in " ".join(seen)


@pytest.mark.anyio
async def test_disconnect_ends_a_request_whose_long_body_waits_to_be_decoded() -> None:
    handlers = Handlers(Service(Router({MODEL: [scripted_backend()]})), stream_headers_after=5.0)
    exchange = Exchange(body(b"x" * (HEAVY_BODY + 1)))

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        scope["state"]["body"] = BoundedBody(receive, 0, 1, 1, BodyMemory(1 << 30))
        await handlers.create_completion(Request(scope, receive), Caller())

    async with handlers._decoding:
        asking = asyncio.create_task(exchange.run(app, method="POST", headers={"content-type": "application/json"}))
        for _ in range(10):
            await asyncio.sleep(0)
        exchange.disconnect()
        with pytest.raises(ClientDisconnect):
            await asking


def test_a_long_body_is_answered_like_a_short_one(http: httpx2.Client) -> None:
    messages = [{"role": "user", "content": "x" * HEAVY_BODY}]
    fields = {"model": MODEL, "messages": messages, "max_tokens": 1}
    answers = [http.post("/v1/chat/completions", json={**fields, **more}) for more in ({}, {"nothing": 1})]
    assert [200, 400] == [answer.status_code for answer in answers]


def test_draining_server_refuses_requests_and_closes_the_connection() -> None:
    service = Service(Router({MODEL: [scripted_backend()]}))
    with running(create_app(service, ServerOptions())) as port:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=WAIT, trust_env=False, verify=NO_TLS) as http:
            before = http.get("/v1/models")
            service.drain()
            after = http.get("/v1/models")
    assert [(200, None), (503, "close")] == [
        (each.status_code, each.headers.get("connection")) for each in (before, after)
    ]
    assert "The server is shutting down." == after.json()["error"]["message"]


def test_the_document_is_json(http: httpx2.Client) -> None:
    answer = http.get("/openapi.json")
    assert ("application/json", "3.1.0") == (answer.headers["content-type"], answer.json()["openapi"])


def test_the_page_may_load_and_run_nothing(http: httpx2.Client) -> None:
    answer = http.get("/docs")
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_an_unknown_path_is_404_and_named(http: httpx2.Client) -> None:
    answer = http.post("/v1/foo")
    assert (404, "Invalid URL (POST /v1/foo)") == (answer.status_code, answer.json()["error"]["message"])


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/models2", "/v1/chat/completions/", "//v1/models", "/V1/models"])
def test_paths_are_exact_and_never_redirected(http: httpx2.Client, path: str) -> None:
    assert 404 == http.get(path).status_code


def test_an_error_repeats_no_more_than_a_bounded_part_of_the_path(http: httpx2.Client) -> None:
    assert len(http.get("/" + "a" * 5000).content) < 500


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/chat/completions", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/models/org/scripted", "GET, HEAD, OPTIONS"),
        ("TRACE", "/health", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/chat/completions/input_tokens", "OPTIONS, POST"),
    ],
)
def test_unknown_method_is_405_with_the_allowed_methods(
    http: httpx2.Client, method: str, path: str, allow: str
) -> None:
    answer = http.request(method, path)
    assert (405, allow, "method_not_allowed") == (
        answer.status_code,
        answer.headers["allow"],
        answer.json()["error"]["code"],
    )


def test_options_lists_the_methods(http: httpx2.Client) -> None:
    answer = http.options("/v1/chat/completions")
    assert (204, "GET, HEAD, OPTIONS, POST", b"") == (answer.status_code, answer.headers["allow"], answer.content)


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 200), ("/docs", 200), ("/v1/chat/completions", 400)])
def test_head_has_the_headers_of_get_and_no_body(http: httpx2.Client, path: str, status: int) -> None:
    answer = http.head(path)
    assert (status, b"") == (answer.status_code, answer.content)
    assert 0 < int(answer.headers["content-length"])


@pytest.mark.parametrize("path", ["/health", "/v1/nothing", "/v1/chat/completions", "/docs", "/openapi.json"])
def test_every_answer_carries_the_headers_of_the_api(http: httpx2.Client, path: str) -> None:
    headers = http.get(path).headers
    assert re.fullmatch("req_[0-9a-f]{32}", headers["x-request-id"])
    assert 0 <= int(headers["openai-processing-ms"])
    assert "2020-10-01" == headers["openai-version"]


def test_no_two_answers_have_the_same_id(http: httpx2.Client) -> None:
    assert 2 == len({http.get("/health").headers["x-request-id"] for _ in range(2)})
