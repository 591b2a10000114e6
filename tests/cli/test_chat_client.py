from collections.abc import Callable

import httpx2
import msgspec
import pytest

from antiphon.cli.chat_client import ChatMessage, LocalModel, Model, Piece, RemoteModel, open_client, served_models
from antiphon.console.command_error import CommandError
from antiphon.errors import RateLimitError
from antiphon.routing.router import Router
from antiphon.service import Service
from tests.scripted_engine import ScriptedEngine, ends, says, scripted_backend

pytestmark = pytest.mark.anyio

STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}],"unknown":1}\n\n'
    b'data: {"choices":[],"usage":{}}\n\n'
    b"data: [DONE]\n\n"
)
Handler = Callable[[httpx2.Request], httpx2.Response]


def client_of(handler: Handler) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url="http://server", transport=httpx2.MockTransport(handler))


def answering(body: bytes, status: int = 200) -> httpx2.AsyncClient:
    return client_of(lambda _: httpx2.Response(status, content=body))


async def collect(model: Model) -> list[Piece]:
    pieces = [piece async for piece in model.answer([ChatMessage("user", "Hello")])]
    return [piece for piece in pieces if piece != Piece()]


async def test_remote_model_streams_content_and_reasoning() -> None:
    async with answering(STREAM) as client:
        assert [Piece(reasoning="hm"), Piece("Hi")] == await collect(RemoteModel(client, "m"))


async def test_remote_model_sends_the_conversation() -> None:
    sent: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, content=STREAM)

    async with client_of(handle) as client:
        await collect(RemoteModel(client, "m"))
    assert "/v1/chat/completions" == sent[0].url.path
    expected = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    assert expected == msgspec.json.decode(sent[0].content)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"error":{"message":"Too long.","type":"x","param":null,"code":null}}', 400, "Too long."),
        (b"<html>", 502, "The server answered: <html>"),
        (b'event: error\ndata: {"error":{"message":"It died."}}\n\n', 200, "It died."),
        (STREAM[:90], 200, "before it was complete"),
    ],
)
async def test_failed_answer_raises_the_servers_message(body: bytes, status: int, message: str) -> None:
    async with answering(body, status) as client:
        with pytest.raises(CommandError, match=message):
            await collect(RemoteModel(client, "m"))


async def test_unreachable_server_is_an_error() -> None:
    async with open_client("http://127.0.0.1:9/v1") as client:
        with pytest.raises(CommandError, match="cannot be reached"):
            await collect(RemoteModel(client, "m"))
        with pytest.raises(CommandError, match="cannot be reached"):
            await served_models(client)


async def test_served_models_are_listed() -> None:
    async with answering(b'{"object":"list","data":[{"id":"a","object":"model"},{"id":"b"}]}') as client:
        assert ["a", "b"] == await served_models(client)


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"[]", 200), (b"\xff", 200), (b"no", 404)])
async def test_model_list_in_another_form_is_an_error(body: bytes, status: int) -> None:
    async with answering(body, status) as client:
        with pytest.raises(CommandError):
            await served_models(client)


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
async def test_address_may_end_in_v1(url: str) -> None:
    async with open_client(url) as client:
        assert "http://h:1" == str(client.base_url).rstrip("/")


async def test_key_is_sent_as_a_bearer_token() -> None:
    async with open_client("http://h:1", "sk-1") as client:
        assert "Bearer sk-1" == client.headers["authorization"]


async def test_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(CommandError, match="h:1 is not an address"):
        open_client("h:1")


def local(engine: ScriptedEngine) -> LocalModel:
    return LocalModel(Service(Router({"m": [scripted_backend(engine)]})), "m")


async def test_local_model_streams_its_answer() -> None:
    pieces = await collect(local(ScriptedEngine([*says("Hi there"), *ends()])))
    assert "Hi there" == "".join(piece.content for piece in pieces)


async def test_error_of_a_local_model_is_a_command_error() -> None:
    with pytest.raises(CommandError, match="Full"):
        await collect(local(ScriptedEngine(refusal=RateLimitError("Full."))))
