"""Answers reveal nothing internal, and logs contain no keys and no texts of conversations."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from antiphon.config import ServerOptions
from antiphon.engine.interface import Started
from antiphon.errors import InternalServerError, RateLimitError, ServiceUnavailableError
from antiphon.telemetry.logs import configure_logging
from tests.scripted_engine import Item, ScriptedEngine, ScriptedRenderer, ends, says
from tests.server.asgi import Exchange, body
from tests.server.conftest import MODEL, scripted_app

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
SAID = "hush-what-was-said"
ANSWER = "hush-what-was-answered"
KEY = "sk-hushhushhush0123456789"
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", "Cookie": f"session={KEY}"}
TRACES = ("Traceback", 'File "', ".py", "site-packages", ", line ", " at 0x")
BEGUN: list[Item] = [Started(request_id="", cached_tokens=0), *says(ANSWER)]

Request = dict[str, Any]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Yield the log at debug level; restore the logging of the test run afterwards."""
    root = logging.getLogger()
    handlers, level, before = root.handlers, root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logging("debug", json=True, stream=stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)


def asking(**fields: object) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": SAID}], **fields}).encode()


REFUSED = {
    "no JSON": b'{"messages": "%s' % SAID.encode(),
    "no object": json.dumps([SAID]).encode(),
    "a type": asking(temperature=[SAID]),
    "a bound": asking(n=1000),
    "a rule": asking(messages=[{"role": "tool", "tool_call_id": "1", "content": SAID}]),
    "a field that is refused": asking(web_search_options={}),
    "a field that is unknown": asking(nonsense=SAID),
    "a text that is too long": asking(user=SAID * 100),
    "a model that is not served": asking(model="other"),
    "a body that is too large": asking(messages=[{"role": "user", "content": SAID * 1000}]),
    "a key twice": b'{"model": "m", "model": "%s"}' % SAID.encode(),
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
async def test_refusal_reveals_nothing_internal_and_logs_no_text_of_the_client(log: io.StringIO, sent: bytes) -> None:
    exchange = Exchange(body(sent))
    app = scripted_app(ScriptedEngine(), ServerOptions(max_body_size=8000))
    await exchange.run(app, method="POST", path=PATH, headers=HEADERS)
    assert 400 <= exchange.status < 500
    assert [] == told(exchange)
    assert [] == leaked(log)


FAILURES: dict[str, Exception] = {
    "a fault of ours": ValueError("a broken invariant"),
    "an assertion": AssertionError("1 == 2"),
    "a fault with a cause": RuntimeError("outer"),
    "a fault of the engine": InternalServerError("The engine failed."),
    "a fault that quotes the question": ValueError(f"not to be read: {SAID}"),
    "no engine": ServiceUnavailableError("The engine is restarting."),
    "a full queue": RateLimitError("The queue is full."),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["renderer", "engine", "begun"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failure_reveals_nothing_internal(
    log: io.StringIO,
    failure: Exception,
    where: str,
    stream: bool,  # noqa: FBT001 (a table's column)
) -> None:
    failure.__cause__ = KeyError("inner")
    engine = ScriptedEngine([*BEGUN, failure] if where == "begun" else [failure])
    renderer = ScriptedRenderer(refusal=failure if where == "renderer" else None)
    exchange = Exchange(body(asking(stream=stream)))
    try:
        await exchange.run(scripted_app(engine, renderer=renderer), method="POST", path=PATH, headers=HEADERS)
    except Exception as error:  # noqa: BLE001 (the server closes the connection then)
        assert failure is error  # noqa: PT017 (it may also not be raised)
    assert [] == told(exchange)
    assert [] == leaked(log)


async def test_failed_choice_answers_with_the_message_of_the_engine_only(log: io.StringIO) -> None:
    engine = ScriptedEngine([*BEGUN, *ends("error", message="The grammar was left.")])
    exchange = Exchange(body(asking()))
    await exchange.run(scripted_app(engine), method="POST", path=PATH, headers=HEADERS)
    assert 500 == exchange.status
    assert [] == told(exchange)
    assert [] == leaked(log)


def told(exchange: Exchange) -> list[str]:
    """Return internal texts and keys that are in an answer."""
    text = exchange.body.decode()
    return [trace for trace in (*TRACES, KEY) if trace in text]


def leaked(log: io.StringIO) -> list[str]:
    """Return texts and keys of the client that are in the log, which must not be empty."""
    text = log.getvalue()
    assert text
    return [secret for secret in (SAID, ANSWER, KEY) if secret in text]
