"""Every request has one log line, without keys and texts of the conversation."""

import asyncio
import hashlib
import io
import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final

import msgspec
import pytest
import structlog
from starlette.types import ASGIApp

from antiphon.config import ServerOptions
from antiphon.errors import RateLimitError, ServiceUnavailableError
from antiphon.routing.router import Router
from antiphon.server.app import create_app
from antiphon.service import Service
from antiphon.service.access import Access
from antiphon.service.storage import Storage
from antiphon.telemetry.logs import configure_logging
from tests.conftest import ROOT
from tests.databases import Site
from tests.scripted_engine import Hang, Script, ScriptedEngine, ScriptedRenderer, ends, says, scripted_backend
from tests.server.asgi import Exchange, body
from tests.server.conftest import MODEL, scripted_app

pytestmark = pytest.mark.anyio

PATH: Final = "/v1/chat/completions"
JSON: Final = {"Content-Type": "application/json"}
HTTP_FIELDS: Final = {
    *("event", "level", "timestamp", "logger", "request_id"),
    *("method", "path", "status", "bytes_sent", "duration", "outcome", "error"),
}
"""Fields of the line of every request."""
ANSWER_FIELDS: Final = {
    *("completion_id", "model", "project", "end_user", "stream", "requested_service_tier", "service_tier"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"),
    *("accepted_prediction_tokens", "rejected_prediction_tokens", "finish_reasons", "time_to_first_token"),
}
"""Further fields of a request that reached the service."""
Log = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log() -> Iterator[Log]:
    """Return the JSON lines logged so far; restore the logging of the test run afterwards."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", json=True, stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)


def question(**fields: object) -> Exchange:
    """Return a client with a question."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]} | fields
    return Exchange(body(msgspec.json.encode(asked)))


async def ask(app: ASGIApp, exchange: Exchange, path: str = PATH, **headers: str) -> None:
    await exchange.run(app, method="POST", path=path, headers=JSON | headers)


async def ask_and_disconnect(app: ASGIApp, exchange: Exchange, when: Callable[[], bool]) -> None:
    """Ask, and disconnect as soon as ``when`` returns true."""
    asking = asyncio.create_task(ask(app, exchange))
    async with asyncio.timeout(5):
        while not when():  # noqa: ASYNC110 - the exchange is kept simple
            await asyncio.sleep(0)
    exchange.disconnect()
    await asking


def app_over(script: Script) -> tuple[ScriptedEngine, ASGIApp]:
    engine = ScriptedEngine(script)
    return engine, scripted_app(engine)


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_is_logged_in_one_line_with_all_fields(log: Log, *, stream: bool) -> None:
    _, app = app_over([*says("Hello"), *ends(prompt_tokens=7, cached_tokens=3)])
    await ask(app, question(stream=stream, service_tier="auto"), **{"X-Client-Request-Id": "mine"})
    (line,) = log()
    assert HTTP_FIELDS | ANSWER_FIELDS | {"client_request_id"} == set(line)
    expected = {
        "event": "request",
        "client_request_id": "mine",
        "method": "POST",
        "path": PATH,
        "status": 200,
        "outcome": "completed",
        "error": None,
        "model": MODEL,
        "project": "default",
        "stream": stream,
        "requested_service_tier": "auto",
        "service_tier": "default",
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "finish_reasons": ["stop"],
    }
    assert expected == {name: line[name] for name in expected}
    assert line["bytes_sent"] > 0


async def test_a_line_names_the_end_user_by_a_hash(log: Log) -> None:
    for fields in ({}, {"user": "ada"}, {"user": "ada", "safety_identifier": "bob"}, {"safety_identifier": "ada"}):
        await ask(app_over([*says("Hi"), *ends()])[1], question(**fields))
    ada, bob = (hashlib.sha256(f"default\0{each}".encode()).hexdigest()[:16] for each in ("ada", "bob"))
    assert [None, ada, bob, ada] == [line["end_user"] for line in log()]
    assert not {"ada", "bob"} & set(re.findall(r"\w+", json.dumps(log())))


@pytest.mark.parametrize("stream", [False, True])
async def test_death_of_the_engine_is_logged_in_one_line(log: Log, *, stream: bool) -> None:
    _, app = app_over([*says("Hel"), ServiceUnavailableError("died")])
    await ask(app, question(stream=stream))
    (line,) = log()
    assert (200 if stream else 503, "failed", "service_unavailable") == (
        line["status"],
        line["outcome"],
        line["error"],
    )
    assert (None, "default") == (line["completion_tokens"], line["service_tier"])


@pytest.mark.parametrize(("stream", "status"), [(True, 200), (False, None)])
async def test_disconnect_during_the_answer_is_logged_in_one_line(
    log: Log, *, stream: bool, status: int | None
) -> None:
    engine, app = app_over([*says("Hel"), Hang()])
    exchange = question(stream=stream)
    await ask_and_disconnect(app, exchange, lambda: bool(exchange.sent if stream else engine.running))
    (line,) = log()
    assert (status, "cancelled", None) == (line["status"], line["outcome"], line["error"])
    assert ANSWER_FIELDS <= set(line)


@pytest.mark.parametrize("stream", [False, True])
async def test_disconnect_before_the_answer_is_logged_in_one_line(log: Log, *, stream: bool) -> None:
    engine, app = app_over([Hang()])
    await ask_and_disconnect(app, question(stream=stream), lambda: engine.running == 1)
    (line,) = log()
    assert (None, "cancelled", None) == (line["status"], line["outcome"], line["service_tier"])


async def test_disconnect_during_the_upload_is_logged_in_one_line(log: Log) -> None:
    exchange = Exchange(body(b'{"model"', complete=False))
    exchange.disconnect()
    await ask(scripted_app(ScriptedEngine()), exchange)
    (line,) = log()
    assert (None, "cancelled", None) == (line["status"], line["outcome"], line["error"])
    assert HTTP_FIELDS == set(line)


async def test_full_queue_is_logged_in_one_line(log: Log) -> None:
    await ask(scripted_app(ScriptedEngine(refusal=RateLimitError("full"))), question())
    (line,) = log()
    assert (429, "failed", "rate_limit_exceeded") == (line["status"], line["outcome"], line["error"])
    assert ANSWER_FIELDS <= set(line)


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "error"),
    [
        ("POST", PATH, b"{", 400, "invalid_json"),
        ("POST", PATH, b"{}", 400, "missing_required_parameter"),
        ("GET", "/v1/nothing", b"", 404, "not_found"),
        ("PUT", PATH, b"", 405, "method_not_allowed"),
        ("GET", "/v1/models/none", b"", 404, "model_not_found"),
        ("GET", PATH, b"", 400, "InvalidRequestError"),
        ("GET", "/v1/models", b"", 200, None),
    ],
)
async def test_refused_request_is_logged_in_one_line(
    log: Log, method: str, path: str, sent: bytes, status: int, error: str | None
) -> None:
    await Exchange(body(sent)).run(scripted_app(ScriptedEngine()), method=method, path=path, headers=JSON)
    (line,) = log()
    assert (method, path, status, error) == (line["method"], line["path"], line["status"], line["error"])
    assert HTTP_FIELDS == set(line)


async def test_unexpected_error_is_logged_in_one_line_and_a_traceback(log: Log) -> None:
    app = scripted_app(ScriptedEngine(), renderer=ScriptedRenderer(refusal=LookupError("hush")))
    await ask(app, question())
    fault, line = log()
    assert ("unhandled_exception", "request") == (fault["event"], line["event"])
    assert (500, "failed", "LookupError") == (line["status"], line["outcome"], line["error"])


@pytest.mark.parametrize("path", ["/health", "/metrics"])
async def test_probes_are_not_seen_at_the_level_info(log: Log, path: str) -> None:
    await Exchange().run(scripted_app(ScriptedEngine()), path=path)
    assert [] == log()


@pytest.fixture
async def guarded(site: Site) -> AsyncGenerator[ASGIApp, None]:
    """An application that asks for a key."""
    async with Storage.open(site.url, site.data_dir) as storage:
        access = Access(storage.keys, open_without_keys=False, organization="org-tests")
        service = Service(Router({MODEL: [scripted_backend()]}), storage, access=access)
        yield create_app(service, ServerOptions())


LEAK: Final = "sk-antiphon-THISISTHESECRET0123456789"


async def test_request_without_a_key_is_one_log_line_without_its_content(log: Log, guarded: ASGIApp) -> None:
    await ask(guarded, question(), Authorization=f"Bearer {LEAK}")
    (line,) = log()
    assert (401, "failed", "invalid_api_key") == (line["status"], line["outcome"], line["error"])
    assert "THISISTHE" not in str(line)


@pytest.mark.parametrize(
    ("path", "status"),
    [(PATH, 200), (f"/v1/{LEAK}", 404), (f"{PATH}/{LEAK}", 400), (f"{PATH}/{LEAK}/messages", 405)],
)
async def test_key_in_path_headers_and_body_is_in_no_log_line(log: Log, path: str, status: int, site: Site) -> None:
    exchange = question(
        messages=[{"role": "user", "content": f"My key is {LEAK}"}],
        metadata={LEAK: LEAK},
        store=True,
        user=LEAK,
        stop=LEAK,
        prompt_cache_key=LEAK,
        safety_identifier=LEAK,
    )
    headers = JSON | dict.fromkeys(("Authorization", "X-Client-Request-Id", "User-Agent", "Cookie", "X-Any"), LEAK)
    async with Storage.open(site.url, site.data_dir) as storage:
        engine = ScriptedEngine([*says(LEAK), *ends()])
        app = create_app(Service(Router({MODEL: [scripted_backend(engine)]}), storage), ServerOptions())
        await exchange.run(app, method="POST", path=path, headers=headers, query=LEAK.encode())
    (line,) = log()
    assert "THISISTHE" not in json.dumps(line)
    assert (status, path.replace(LEAK, "[key]")) == (line["status"], line["path"])


@pytest.mark.parametrize("model", [LEAK, f"org/{LEAK}"])
async def test_a_key_sent_as_the_model_is_masked(log: Log, model: str) -> None:
    await ask(scripted_app(ScriptedEngine()), question(model=model))
    (line,) = log()
    assert model.replace(LEAK, "[key]") == line["model"]


async def test_neither_question_nor_answer_is_logged(log: Log) -> None:
    _, app = app_over([*says("an answer in confidence"), *ends()])
    asked = question(messages=[{"role": "user", "content": "a question in confidence"}], stop="in confidence")
    await ask(app, asked)
    assert "confidence" not in json.dumps(log())


async def test_the_line_names_ignored_members_without_their_values(log: Log) -> None:
    _, app = app_over([*says("Hi"), *ends()])
    await ask(app, question(messages=[{"role": "user", "content": "Hi", "sender": "in confidence"}]))
    (line,) = log()
    assert "messages[0].sender" == line["ignored"]
    assert "confidence" not in json.dumps(line)


def test_the_documentation_names_every_field_and_no_other() -> None:
    page = (ROOT / "docs" / "logs-and-traces.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE)
    documented = {place: {name for name, where in rows if where == place} for _, place in rows}
    assert {
        "every line": HTTP_FIELDS,
        "completions": ANSWER_FIELDS,
        "where the client sent one": {"client_request_id"},
        "where members were ignored": {"ignored"},
        "where keywords were not enforced": {"unenforced", "validity"},
        "with traces": {"trace_id", "span_id"},
    } == documented
