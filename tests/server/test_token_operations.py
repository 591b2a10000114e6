import json
from typing import Any

import pytest

from antiphon.config import ServerOptions
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.server.token_operations import token_paths
from antiphon.service import Service
from tests.backends.test_local_tokens import TOKENS
from tests.scripted_engine import scripted_backend
from tests.server import asgi

pytestmark = pytest.mark.anyio

CHAT = {"messages": [{"role": "user", "content": "ab"}]}


async def exchanged(path: str, body: dict[str, Any], options: ServerOptions | None = None) -> asgi.Exchange:
    exchange = asgi.Exchange(asgi.body(json.dumps(body).encode()))
    service = Service(Router({"m": [scripted_backend()]}), tokens={"m": TOKENS})
    app = create_app(service, options or ServerOptions())
    await exchange.run(app, method="POST", path=path, headers={"Content-Type": "application/json"})
    return exchange


async def post(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    exchange = await exchanged(path, body)
    assert exchange.status is not None
    return exchange.status, json.loads(exchange.body)


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (
            "/v1/chat/completions/input_tokens",
            {"model": "m", **CHAT},
            {"object": "chat.completion.input_tokens", "input_tokens": 2},
        ),
        ("/tokenize", CHAT, {"count": 2, "max_model_len": 99, "tokens": [97, 98], "token_strs": None}),
        (
            "/tokenize",
            {"content": "a", "with_pieces": True},
            {"count": 1, "max_model_len": 99, "tokens": [{"id": 97, "piece": "a"}], "token_strs": None},
        ),
        ("/detokenize", {"tokens": [97]}, {"prompt": "a", "content": "a"}),
        ("/apply-template", CHAT, {"prompt": "ab"}),
    ],
)
async def test_route_answers_in_the_shapes_of_other_servers(path: str, body: dict[str, Any], answer: object) -> None:
    assert (200, answer) == await post(path, body)


async def test_long_text_is_tokenized() -> None:
    assert 100_000 == (await post("/tokenize", {"content": "a" * 100_000}))[1]["count"]


@pytest.mark.parametrize("path", token_paths())
async def test_malformed_body_gets_400(path: str) -> None:
    status, answer = await post(path, {"temperature": "hot"})
    assert (400, "invalid_request_error") == (status, answer["error"]["type"])


@pytest.mark.parametrize("path", ["/v1/chat/completions/input_tokens", "/tokenize", "/apply-template"])
async def test_unknown_members_of_messages_are_named_or_refused_as_in_a_completion(path: str) -> None:
    body = {"messages": [{**CHAT["messages"][0], "sender": "bob"}]}
    named = await exchanged(path, body)
    assert (200, "messages[0].sender") == (named.status, named.headers["x-antiphon-ignored"])
    assert 400 == (await exchanged(path, body, ServerOptions(strict_messages=True))).status
