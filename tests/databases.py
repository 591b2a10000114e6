"""Databases for tests: every store is tested on SQLite and on PostgreSQL."""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path

import anyio
import pytest
from msgspec import Struct

from antiphon.store import migration, schema
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.ownership import VERSION_TABLE
from tests.store.postgresql import PostgreSQL, account, bin_folder, running

UPGRADED = "upgraded"
_NUMBERS = count()


def _empty() -> str:
    """Return the SQL that empties an upgraded database."""
    names = [table.name for table in reversed(schema.metadata.sorted_tables) if table.name != "projects"]
    statements = [
        *(f"DELETE FROM {name}" for name in names),  # noqa: S608 (our own names)
        f"DELETE FROM projects WHERE id <> '{schema.DEFAULT_PROJECT}'",  # noqa: S608
        f"UPDATE {VERSION_TABLE} SET version_num = '{migration.HEAD}'",  # noqa: S608
        "ALTER ROLE antiphon RESET ALL",
    ]
    return "; ".join(statements)


class Site(Struct, frozen=True):
    """The location of a database."""

    url: str | None
    data_dir: Path

    @asynccontextmanager
    async def open(self, *, busy_timeout: float = 20.0) -> AsyncIterator[Database]:
        database = await Database.open(self.url, data_dir=self.data_dir, busy_timeout=busy_timeout)
        try:
            yield database
        finally:
            await database.close()


async def _upgraded(site: Site) -> None:
    async with site.open() as database:
        await database.upgrade()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    programs, user = bin_folder(), account()
    if programs is None or user is None:
        pytest.skip("PostgreSQL is not installed, the store was not tested on it (Debian: apt-get install postgresql)")
    with running(programs, user) as server:
        yield server


@pytest.fixture(scope="session")
def upgraded_postgresql(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(postgresql.create(UPGRADED), tmp_path_factory.mktemp("none"))
    anyio.run(_upgraded, site)
    return site


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upgraded")
    anyio.run(_upgraded, Site(None, folder))
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / DATABASE_FILE


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def empty_site(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Yield the site of a database without tables."""
    if dialect == "sqlite":
        yield Site(None, tmp_path / "data")
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"test_{next(_NUMBERS)}"
    yield Site(server.create(name), tmp_path)
    server.drop(name)


@pytest.fixture
def site(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Yield the site of a database with this version's empty tables."""
    if dialect == "sqlite":
        (tmp_path / "data").mkdir()
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "data" / DATABASE_FILE)
        yield Site(None, tmp_path / "data")
        return
    yield request.getfixturevalue("postgresql_site")


@pytest.fixture
def postgresql_site(postgresql: PostgreSQL, upgraded_postgresql: Site) -> Iterator[Site]:
    """Yield PostgreSQL's shared database, which is emptied after each test: a new one takes longer."""
    yield upgraded_postgresql
    postgresql.execute(UPGRADED, _empty())


@pytest.fixture
async def database(site: Site) -> AsyncIterator[Database]:
    async with site.open() as opened:
        yield opened
