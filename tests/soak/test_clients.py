"""A short soak of a server that does as it should, and of servers that do not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soak import clients
from soak.clients import Plan, Soak
from soak.faults import Fault
from soak.ledger import LedgerEntry
from soak.mix import WEIGHTS
from soak.target import Target
from soak.wire import Reply
from tests.databases import Site
from tests.scripted_engine import ScriptedEngine
from tests.server.conftest import MODEL, _quiet_log, running
from tests.server.storing import StoringApp
from tests.soak.answers import reply, request

__all__ = ["_quiet_log"]

pytestmark = pytest.mark.usefixtures("_quiet_log")
SECONDS = 5.0
"""Seconds of the soak of a correct server; the other soaks are shorter."""
WITHOUT_MODEL = {kind: weight for kind, weight in WEIGHTS.items() if kind not in ("schema", "oversized")}
"""Kinds of requests for a scripted engine, which echoes the question."""
Distort = Callable[[Scope, Message], Message]


class Distorted:
    """The application, with its answers changed on their way."""

    def __init__(self, app: ASGIApp, distort: Distort) -> None:
        self._app = app
        self._distort = distort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_distorted(message: Message) -> None:
            await send(self._distort(scope, message))

        await self._app(scope, receive, send_distorted if scope["type"] == "http" else send)


def unchanged(_scope: Scope, message: Message) -> Message:
    return message


def without_end(_scope: Scope, message: Message) -> Message:
    return {**message, "body": message.get("body", b"").replace(b"data: [DONE]\n\n", b"")}


def forgetful(scope: Scope, message: Message) -> Message:
    """Find nothing that is stored."""
    found = "/completions/chatcmpl-" in scope["path"] and message["type"] == "http.response.start"
    return {**message, "status": 404} if found else message


def mumbling(scope: Scope, message: Message) -> Message:
    """Change a letter of what was stored, but not how long it is."""
    stored = "/completions/chatcmpl-" in scope["path"] and "body" in message
    return {**message, "body": message["body"].replace(b"Write", b"Wrote")} if stored else message


def anonymous(_scope: Scope, message: Message) -> Message:
    headers = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
    return {**message, "headers": headers}


def soaked(tmp_path: Path, distort: Distort, seconds: float) -> Soak:
    engine = ScriptedEngine()
    plan = Plan(seconds=seconds, clients=4, seed=1, fault_every=None, weights=WITHOUT_MODEL)
    with running(Distorted(StoringApp(Site(None, tmp_path), engine), distort)) as port:
        soak = Soak(Target(port=port, model=MODEL), plan)
        asyncio.run(soak.run())
    assert 0 == engine.running
    return soak


def test_soak_of_a_correct_server_finds_no_violation(tmp_path: Path) -> None:
    soak = soaked(tmp_path, unchanged, SECONDS)
    assert [] == soak.tally.violations
    assert soak.tally.requests > soak.tally.left
    assert 0 < soak.ledger.acknowledged


@pytest.mark.parametrize(
    ("expected", "distort"),
    [("one_end", without_end), ("lost", forgetful), ("lost", mumbling), ("request_id", anonymous)],
)
def test_soak_of_a_faulty_server_finds_the_violation(tmp_path: Path, expected: str, distort: Distort) -> None:
    soak = soaked(tmp_path, distort, SECONDS / 5)
    assert expected in {text.split(":")[0] for text in soak.tally.violations}


def idle() -> Soak:
    return Soak(Target(port=0, model="m"), Plan(seconds=0, clients=1, fault_every=None))


@pytest.mark.anyio
async def test_missing_recovery_and_undeleted_completion_are_violations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def empty_page(*_: object) -> Reply:
        return reply(200, b'{"data": [], "has_more": false}')

    monkeypatch.setattr(clients, "exchange", empty_page)
    soak = idle()
    soak.faults.all.append(Fault(kind="engine killed", began=0))
    soak.ledger.give_back(LedgerEntry(id="chatcmpl-1", said=[], metadata={}, deleted=True))
    await soak.run()
    assert {"recovery", "deleted"} == {text.split(":")[0] for text in soak.tally.violations}


@pytest.mark.anyio
async def test_exchange_without_an_end_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> Reply:
        raise TimeoutError

    monkeypatch.setattr(clients, "exchange", never)
    soak = idle()
    assert await soak.ask(request()) is None
    assert ["liveness: chat was not answered"] == soak.tally.violations


def test_programming_errors_in_the_log_are_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"event": "engine_restarts"}\n{"event": "stream_failed"}\n')
    assert ['{"event": "stream_failed"}'] == Target(port=0, model="m", log=log).mistakes()
