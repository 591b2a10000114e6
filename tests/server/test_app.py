import httpx2
import pytest
import structlog

from antiphon.config import ServerOptions
from antiphon.service import Service
from tests.scripted_engine import ScriptedEngine
from tests.server.asgi import Exchange, body
from tests.server.conftest import scripted_app

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "https://page.example"}


def client(options: ServerOptions | None = None, *, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(scripted_app(ScriptedEngine(), options))
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def test_without_origins_cors_is_off() -> None:
    async with client(headers=ORIGIN) as http:
        answers = [
            await http.get("/health"),
            await http.options("/health", headers={"Access-Control-Request-Method": "GET"}),
        ]
    assert [200, 204] == [answer.status_code for answer in answers]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


async def test_a_listed_origin_may_read_every_answer_errors_included() -> None:
    async with client(ServerOptions(cors_origins=("https://page.example",)), headers=ORIGIN) as http:
        answers = [await http.get("/health"), await http.get("/nothing")]
    assert [200, 404] == [answer.status_code for answer in answers]
    assert ["https://page.example"] * 2 == [answer.headers["access-control-allow-origin"] for answer in answers]
    assert "x-request-id" in answers[0].headers["access-control-expose-headers"]


async def test_a_listed_origin_may_send_json_and_a_key() -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang",
    }
    async with client(ServerOptions(cors_origins=("*",)), headers=ORIGIN) as http:
        answer = await http.options("/v1/chat/completions", headers=asked)
    assert (200, "*") == (answer.status_code, answer.headers["access-control-allow-origin"])
    assert "x-request-id" in answer.headers


async def test_another_origin_may_read_nothing() -> None:
    async with client(ServerOptions(cors_origins=("https://other.example",)), headers=ORIGIN) as http:
        answer = await http.get("/health")
    assert "access-control-allow-origin" not in answer.headers


async def test_the_options_bound_the_body() -> None:
    async with client(ServerOptions(max_body_size=10)) as http:
        answer = await http.post("/v1/chat/completions", json={"model": "a"})
    assert 413 == answer.status_code


async def test_a_slow_body_is_refused_in_time() -> None:
    exchange = Exchange(body(b"{", complete=False))
    app = scripted_app(ScriptedEngine(), body_timeout=0.02)
    exchange_headers = {"Content-Type": "application/json"}
    await exchange.run(app, method="POST", path="/v1/chat/completions", headers=exchange_headers)
    assert 408 == exchange.status


async def test_a_fault_anywhere_is_answered_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_service: Service) -> None:
        raise ValueError("a secret")

    monkeypatch.setattr(Service, "models", fail)
    with structlog.testing.capture_logs() as lines:
        async with client() as http:
            answer = await http.get("/v1/models")
    assert (500, "server_error") == (answer.status_code, answer.json()["error"]["code"])
    assert "x-request-id" in answer.headers
    assert ["unhandled_exception", "request"] == [line["event"] for line in lines]
