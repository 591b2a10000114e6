"""Opening, upgrades, transactions and failures."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import ProgrammingError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from antiphon.errors import ServiceUnavailableError
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.failures import DatabaseOpenError, DatabaseURLError
from tests.databases import Site
from tests.store.rows import PROJECT

pytestmark = pytest.mark.anyio


def execute(statement: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(text(statement))


def insert_project(identifier: str) -> Callable[[Connection], object]:
    return execute(f"INSERT INTO projects (id, name, created) VALUES ('{identifier}', 'x', 1)")  # noqa: S608 (a test's)


async def project_ids(database: Database) -> set[str]:
    return set(await database.read(lambda connection: connection.execute(text("SELECT id FROM projects")).scalars()))


async def test_sqlite_file_is_private_and_in_wal_mode(tmp_path: Path) -> None:
    async with Site(None, tmp_path / "new" / "data").open() as database:
        await database.upgrade()
        names = {path.name for path in (tmp_path / "new" / "data").iterdir()}
    assert names == {DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"}
    assert 0o600 == stat.S_IMODE((tmp_path / "new" / "data" / DATABASE_FILE).stat().st_mode)
    assert 0o700 == stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).write_bytes(b"this is not a database" * 100)
    with pytest.raises(DatabaseOpenError, match="cannot be opened: file is not a database"):
        await Database.open(None, data_dir=tmp_path)


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "secret", "sqlite:///secret.db", ""])
async def test_unsupported_address_is_refused_and_not_quoted(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseURLError, match="must begin with postgresql://") as caught:
        await Database.open(url, data_dir=tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["127.0.0.1:1/d", "/d?host=/nowhere", "[::1/d"])
async def test_unreachable_server_is_an_error_for_the_operator(place: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseOpenError, match=r"PostgreSQL cannot be used: [^ ]+ ") as caught:
        await Database.open(f"postgresql://user:secret@{place}", data_dir=tmp_path, busy_timeout=2)
    assert "secret" not in str(caught.value)


async def test_error_names_a_missing_database(postgresql: object, tmp_path: Path) -> None:
    url = postgresql.url("nowhere")  # type: ignore[attr-defined]
    with pytest.raises(DatabaseOpenError, match='PostgreSQL cannot be used: database "nowhere" does not exist'):
        await Database.open(url, data_dir=tmp_path)


async def test_a_transaction_is_committed_when_it_returns(site: Site, database: Database) -> None:
    await database.write(insert_project("one"))
    await database.write(insert_project("two"), durable=False)
    async with site.open() as second:
        assert {PROJECT, "one", "two"} == await project_ids(second)


async def test_transaction_that_raises_is_rolled_back(database: Database) -> None:
    def transaction(connection: Connection) -> None:
        insert_project("one")(connection)
        raise KeyError

    with pytest.raises(KeyError):
        await database.write(transaction)
    assert {PROJECT} == await project_ids(database)


@pytest.mark.parametrize("native", [True, False], ids=["task.cancel", "scope.cancel"])
async def test_cancelled_transaction_is_still_committed_as_a_whole(database: Database, *, native: bool) -> None:
    begun = anyio.Event()

    def transaction(connection: Connection) -> None:
        insert_project("one")(connection)
        begun.set()
        for _ in range(50):
            connection.execute(text("SELECT count(*) FROM projects"))
        insert_project("two")(connection)

    async def run(scope: anyio.CancelScope) -> None:
        with scope:
            await database.write(transaction)

    scope = anyio.CancelScope()
    task = asyncio.create_task(run(scope))
    await begun.wait()
    if native:
        task.cancel()
    else:
        scope.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError | None)
    assert native == task.cancelled()
    assert {PROJECT, "one", "two"} == await project_ids(database)


async def test_no_writer_of_two_databases_starves(site: Site, database: Database) -> None:
    async with site.open() as second, anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon((database, second)[number % 2].write, insert_project(f"p{number}"))
    assert 41 == len(await project_ids(database))


async def test_errors_of_our_sql_are_no_failures_of_the_database(database: Database) -> None:
    with pytest.raises(StatementError):
        await database.write(insert_project(PROJECT))
    if database.dialect == "postgresql":
        with pytest.raises(ProgrammingError):
            await database.read(execute("SELECT nonsense"))


async def test_writer_that_waits_too_long_is_unavailable(site: Site, dialect: str) -> None:
    lock = "SELECT 1" if dialect == "sqlite" else "LOCK TABLE projects"
    held, done = asyncio.Event(), asyncio.Event()

    async with site.open() as first, site.open(busy_timeout=0.2) as second:

        async def hold() -> None:
            async with AsyncEngine(first._engine.execution_options(antiphon_mode="write")).begin() as connection:
                await connection.execute(text(lock))
                held.set()
                await done.wait()

        holder = asyncio.create_task(hold())
        await held.wait()
        try:
            with pytest.raises(ServiceUnavailableError) as caught:
                await second.write(insert_project("one"))
        finally:
            done.set()
            await holder
        assert ("The database is busy. Please try again.", 1.0) == (caught.value.message, caught.value.retry_after)
        await second.write(insert_project("one"))


OPENED_TWICE = """
import sys
from pathlib import Path
import anyio
from antiphon.store.database import Database

async def upgrade():
    for _ in range(2):
        database = await Database.open(None, data_dir=Path(sys.argv[1]))
        await database.upgrade()
        assert not await database.check()
        await database.close()

anyio.run(upgrade)
print(*sorted({"alembic", "asyncpg", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql"} & sys.modules.keys()))
"""


def test_sqlite_imports_neither_alembic_nor_asyncpg_nor_the_orm(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENED_TWICE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)  # noqa: S603 (our own)
    assert "\n" == done.stdout


async def test_waiting_writers_time_out(tmp_path: Path) -> None:
    async with Site(None, tmp_path).open(busy_timeout=0.1) as database:
        await database.upgrade()
        assert database._write_lock is not None
        async with database._write_lock:
            with pytest.raises(ServiceUnavailableError, match="The database is busy"):
                await database.write(insert_project("one"))
        await database.write(insert_project("one"))


@pytest.mark.parametrize(
    ("pragma", "sentence"),
    [
        ("PRAGMA query_only=ON", "The database does not accept changes. Please try again."),
        ("PRAGMA max_page_count=1", "The database has no space left. Please try again."),
    ],
)
async def test_sqlite_write_error_is_unavailable_with_its_reason(pragma: str, sentence: str, tmp_path: Path) -> None:
    async with Site(None, tmp_path).open() as database:
        await database.upgrade()
        event.listen(database._engine, "checkout", lambda driver, *_: driver.cursor().execute(pragma))
        with pytest.raises(ServiceUnavailableError) as caught:
            await database.write(lambda connection: [insert_project("x" * 9000 + str(n))(connection) for n in range(9)])
        assert sentence == caught.value.message


async def test_damaged_file_is_unavailable(tmp_path: Path) -> None:
    async with Site(None, tmp_path).open() as database:
        await database.upgrade()
    with (tmp_path / DATABASE_FILE).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 4)
    async with Site(None, tmp_path).open() as database:
        with pytest.raises(ServiceUnavailableError, match=r"The database cannot be reached\. Please try again\."):
            await project_ids(database)


async def test_read_only_postgresql_is_unavailable(postgresql_site: Site) -> None:
    async with postgresql_site.open() as database:
        with pytest.raises(ServiceUnavailableError, match="The database does not accept changes"):
            await database.write(
                lambda connection: [execute("SET TRANSACTION READ ONLY")(connection), insert_project("x")(connection)]
            )


async def test_lost_connection_fails_only_one_request(postgresql_site: Site) -> None:
    async with postgresql_site.open() as database:
        with pytest.raises(ServiceUnavailableError, match="The database cannot be reached"):
            await database.write(execute("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert {PROJECT} == await project_ids(database)


async def test_closed_idle_connections_are_replaced(postgresql_site: Site) -> None:
    async with postgresql_site.open() as database, postgresql_site.open() as other:
        await database.read(execute("SELECT 1"))
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await other.read(execute(f"{others} AND datname = current_database()"))
        assert {PROJECT} == await project_ids(database)


async def test_errors_contain_no_parameters(database: Database) -> None:
    statement = text("INSERT INTO projects (id, name, created) VALUES ('default', :name, 1)")
    with pytest.raises(StatementError) as caught:
        await database.write(lambda connection: connection.execute(statement, {"name": "a secret"}))
    assert "a secret" not in str(caught.value)


async def test_sqlite_syncs_durable_transactions_only(tmp_path: Path) -> None:
    def level(connection: Connection) -> object:
        return connection.execute(text("PRAGMA synchronous")).scalar()

    async with Site(None, tmp_path).open() as database:
        assert [2, 1, 2] == [await database.write(level, durable=durable) for durable in (True, False, True)]


async def test_postgresql_syncs_durable_transactions_only(postgresql_site: Site) -> None:
    def level(connection: Connection) -> object:
        return connection.execute(text("SHOW synchronous_commit")).scalar()

    async with postgresql_site.open() as database:
        await database.write(execute("ALTER ROLE antiphon SET synchronous_commit TO on"))
    async with postgresql_site.open() as database:
        assert ["on", "off", "on"] == [await database.write(level, durable=durable) for durable in (True, False, True)]


async def test_reader_sees_the_last_commit_while_another_process_writes(tmp_path: Path) -> None:
    async with Site(None, tmp_path).open() as database:
        await database.upgrade()
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO projects VALUES ('one', 'x', 1)")
            assert {PROJECT} == await project_ids(database)
            other.execute("COMMIT")
        assert {PROJECT, "one"} == await project_ids(database)


async def test_failure_is_kept_until_a_transaction_succeeds(tmp_path: Path) -> None:
    async with Site(None, tmp_path).open(busy_timeout=0.05) as database:
        await database.upgrade()
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ServiceUnavailableError):
                await database.probe()
            assert (None, "The database is busy.", "The database is busy.") == (
                database.read_failure,
                database.write_failure,
                database.failure,
            )
            await project_ids(database)
            assert "The database is busy." == database.failure, "reading says nothing of writing"
            other.execute("ROLLBACK")
        await database.probe()
        assert database.failure is None


async def test_probe_leaves_a_working_database_unchanged(database: Database) -> None:
    before = await database.read(execute("SELECT 1"))
    await database.probe()
    assert (None, {PROJECT}) == (database.failure, await project_ids(database))
    assert before is not None


async def test_error_of_our_sql_does_not_set_a_failure(database: Database) -> None:
    with pytest.raises(ProgrammingError if database.dialect == "postgresql" else Exception):
        await database.write(execute("SELECT * FROM nothing"))
    assert database.failure is None
