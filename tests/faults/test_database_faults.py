"""A database that fails while requests are answered: what goes on, what is refused, and that nothing is in part."""

import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from msgspec import Struct
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.keys import KeyStore
from antiphon.store.limits import UNLIMITED, Limits
from tests.databases import UPGRADED, Site
from tests.scripted_engine import ScriptedEngine
from tests.server.conftest import MODEL, NO_TLS, WAIT, _quiet_log, running
from tests.server.storing import StoringApp
from tests.store.postgresql import PostgreSQL, account, bin_folder, started
from tests.store.postgresql import running as running_postgresql
from tests.store.rows import PROJECT

__all__ = ["_quiet_log"]

BUSY = 0.3
"""Seconds for which the servers of these tests wait for another writer."""


class Server(Struct, frozen=True):
    """A running one over a scripted engine, and a client of it."""

    app: StoringApp
    engine: ScriptedEngine
    http: httpx2.Client

    def ask(self, **fields: Any) -> httpx2.Response:  # noqa: ANN401 (fields of the request)
        messages = [{"role": "user", "content": "Hi"}]
        return self.http.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, **fields})

    def health(self) -> tuple[int, str, str | None]:
        answer = self.http.get("/health")
        return answer.status_code, answer.json()["status"], answer.json()["database"]["reason"]

    @property
    def database(self) -> Database:
        assert self.app.storage is not None
        return self.app.storage.database


@contextmanager
def serving(site: Site, *, project: Limits = UNLIMITED, key: str = "") -> Iterator[Server]:
    engine = ScriptedEngine()
    app = StoringApp(site, engine, project=project, busy_timeout=BUSY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with running(app) as port:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, headers=headers, timeout=WAIT, trust_env=False, verify=NO_TLS) as http:
            yield Server(app, engine, http)


Fault = Callable[[Server], AbstractContextManager[None]]


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Site:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / DATABASE_FILE).write_bytes(sqlite_template.read_bytes())
    return Site(None, tmp_path / "data")


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Another process writes, and does not end."""
    path = server.app._site.data_dir / DATABASE_FILE
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def pragma(set_: str, reset: str) -> Fault:
    """Have SQLite fail by a setting of every connection."""

    @contextmanager
    def fault(server: Server) -> Iterator[None]:
        setting = [set_]

        def checkout(connection: DBAPIConnection, *_: object) -> None:
            cursor = connection.cursor()
            cursor.execute(setting[0])
            cursor.close()

        event.listen(server.database._engine, "checkout", checkout)
        yield
        setting[0] = reset

    return fault


FAULTS: dict[str, tuple[Fault, str]] = {
    "locked": (locked, "The database is busy."),
    "read-only": (pragma("PRAGMA query_only=ON", "PRAGMA query_only=OFF"), "The database does not accept changes."),
    "full": (pragma("PRAGMA max_page_count=1", "PRAGMA max_page_count=1000000"), "The database has no space left."),
}
LONG = {"metadata": {str(number): "x" * 500 for number in range(16)}}
"""What needs more pages than the file has."""


def count(site: Site) -> int:
    """Say how many completions there are, once the database has been found sound."""

    async def counted() -> int:
        async with site.open() as database:
            assert [] == await database.check()
            return int(
                await database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM completions").scalar_one())
            )

    return anyio.run(counted)


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_stored_goes_on_and_what_is_stored_gets_a_503(sqlite: Site, name: str) -> None:
    fault, sentence = FAULTS[name]
    with serving(sqlite) as server:
        assert 200 == server.ask(store=True).status_code
        with fault(server):
            late = server.ask(store=True, **LONG)
            error = late.json()["error"]
            said = f"The answer was generated, but not stored. {sentence} Please try again."
            assert (503, "database_unavailable", said) == (late.status_code, error["code"], error["message"])
            assert "1" == late.headers["retry-after"]
            assert (200, "degraded", sentence) == server.health()
            assert 200 == server.ask().status_code
            assert 200 == server.http.get("/v1/chat/completions").status_code
        assert 200 == server.ask(store=True, **LONG).status_code
        assert (200, "ready", None) == server.health()
    assert 2 == count(sqlite)


@pytest.mark.parametrize("name", FAULTS)
def test_what_could_not_be_stored_is_not_generated_once_that_is_known(sqlite: Site, name: str) -> None:
    fault, sentence = FAULTS[name]
    with serving(sqlite) as server, fault(server):
        assert 503 == server.ask(store=True, **LONG).status_code
        generated = len(server.engine.requests)
        early = server.ask(store=True)
        said = f"Nothing was generated, since it could not be stored. {sentence} Please try again."
        assert (503, said, generated) == (
            early.status_code,
            early.json()["error"]["message"],
            len(server.engine.requests),
        )


@pytest.mark.parametrize("name", FAULTS)
def test_a_stream_that_cannot_be_stored_ends_in_an_error_instead_of_done(sqlite: Site, name: str) -> None:
    with serving(sqlite) as server, FAULTS[name][0](server):
        events = server.ask(store=True, stream=True, **LONG).text.strip().split("\n\n")
    assert "event: error" == events[-1].split("\n")[0]
    assert '"code":"database_unavailable"' in events[-1]
    assert "[DONE]" not in "".join(events)
    assert 0 == count(sqlite)


def test_a_repeatable_request_that_cannot_be_noted_is_refused_before_it_is_generated(sqlite: Site) -> None:
    with serving(sqlite) as server, locked(server):
        server.http.headers["Idempotency-Key"] = "once"
        answer = server.ask()
        assert (503, "database_unavailable", 0) == (
            answer.status_code,
            answer.json()["error"]["code"],
            len(server.engine.requests),
        )


def test_where_limits_need_the_database_nothing_is_taken_while_it_cannot_be_written(sqlite: Site) -> None:
    with serving(sqlite, project=Limits(requests_per_minute=100)) as server:
        with locked(server):
            answer = server.ask()
            assert (503, "database_unavailable") == (answer.status_code, answer.json()["error"]["code"])
            assert (503, "live", "The database is busy.") == server.health()
        assert 200 == server.ask().status_code


def cut_off(server: PostgreSQL) -> None:
    """End every connection to the database."""
    others = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{UPGRADED}'"  # noqa: S608 (ours)
    server.execute("postgres", others)


@contextmanager
def set_for_all(server: PostgreSQL, setting: str, reset: str) -> Iterator[None]:
    """Change the database, also for those who are connected."""
    server.execute("postgres", f"ALTER DATABASE {UPGRADED} {setting}")
    cut_off(server)
    try:
        yield
    finally:
        server.execute("postgres", f"ALTER DATABASE {UPGRADED} {reset}")
        cut_off(server)


def closed_to_all(server: PostgreSQL) -> AbstractContextManager[None]:
    return set_for_all(server, "ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true")


def read_only(server: PostgreSQL) -> AbstractContextManager[None]:
    return set_for_all(server, "SET default_transaction_read_only TO on", "RESET default_transaction_read_only")


POSTGRESQL_FAULTS = {
    "closed": (closed_to_all, "The database cannot be reached."),
    "read-only": (read_only, "The database does not accept changes."),
}


@pytest.mark.parametrize("name", POSTGRESQL_FAULTS)
def test_what_is_not_stored_goes_on_without_postgresql(
    postgresql: PostgreSQL, postgresql_site: Site, name: str
) -> None:
    fault, sentence = POSTGRESQL_FAULTS[name]
    with serving(postgresql_site) as server:
        assert 200 == server.ask(store=True).status_code
        with fault(postgresql):
            late = server.ask(store=True)
            assert (503, "database_unavailable") == (late.status_code, late.json()["error"]["code"])
            assert sentence in late.json()["error"]["message"]
            assert 200 == server.ask().status_code
            assert (200, "degraded", sentence) == server.health()
        assert 200 == server.ask(store=True).status_code
        assert (200, "ready", None) == server.health()
    assert 2 == count(postgresql_site)


async def _upgrade(site: Site) -> None:
    async with site.open() as database:
        await database.upgrade()


async def _make_key(site: Site) -> str:
    async with site.open() as database:
        return (await KeyStore(database).create(PROJECT, "mine")).text


@contextmanager
def restartable(programs: Path, user: str) -> Iterator[tuple[PostgreSQL, Callable[[], None]]]:
    """Run a cluster of the test's own, and give what restarts it."""
    with ExitStack() as stack, running_postgresql(programs, user) as cluster:
        pid = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])

        def restart() -> None:
            os.kill(pid, signal.SIGINT)
            wait_until(lambda: not (cluster.folder / "data" / "postmaster.pid").exists())
            stack.enter_context(started(programs, user, cluster.folder))

        yield cluster, restart
        stack.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what other processes and threads do."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def test_where_keys_are_asked_for_nobody_is_told_that_his_is_wrong(
    postgresql: PostgreSQL, postgresql_site: Site
) -> None:
    key = anyio.run(_make_key, postgresql_site)
    with serving(postgresql_site, key=key) as server:
        assert 200 == server.ask().status_code
        with closed_to_all(postgresql):
            answer = server.ask()
            assert (503, "database_unavailable") == (answer.status_code, answer.json()["error"]["code"])
            assert (503, "live") == server.health()[:2]
        assert 200 == server.ask().status_code


def store_until(server: Server, enough: threading.Event, answers: list[httpx2.Response]) -> None:
    """Ask for answers that are stored, in turn whole and streamed."""
    for stream in itertools.cycle((False, True)):
        if enough.is_set():
            return
        answers.append(server.ask(store=True, stream=stream))


def identifier(answer: httpx2.Response) -> str:
    return str(answer.text.split('"id":"')[1].split('"')[0])


def outcome(answer: httpx2.Response) -> str:
    if '"code":"database_unavailable"' in answer.text:
        return "refused"
    stored = answer.status_code == 200 and (answer.text.startswith("{") or answer.text.endswith("data: [DONE]\n\n"))
    return "stored" if stored else answer.text


def test_postgresql_that_is_restarted_under_load_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    programs, user = bin_folder(), account()
    if programs is None or user is None:
        pytest.skip("PostgreSQL is not installed")
    with restartable(programs, user) as (cluster, restart):
        site = Site(cluster.create("load"), tmp_path)
        anyio.run(_upgrade, site)
        answers, enough = list[httpx2.Response](), threading.Event()
        with serving(site) as server:
            clients = [threading.Thread(target=store_until, args=(server, enough, answers)) for _ in range(4)]
            for client in clients:
                client.start()
            wait_until(lambda: len(answers) > 8)
            restart()
            before = len(answers)
            wait_until(lambda: [*map(outcome, answers[before:])].count("stored") > 8)
            enough.set()
            for client in clients:
                client.join(WAIT)
            assert {"stored", "refused"} >= set(map(outcome, answers))
            stored = [identifier(answer) for answer in answers if outcome(answer) == "stored"]
            found = [server.http.get(f"/v1/chat/completions/{each}").status_code for each in stored]
        assert {200} == set(found)
        assert len(stored) <= count(site)
