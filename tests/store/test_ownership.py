"""A SQLite file of another program is refused and not changed by a byte."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.store.engines import DATABASE_FILE
from antiphon.store.failures import DatabaseOpenError, ForeignDatabaseError
from antiphon.store.ownership import APPLICATION_ID, check_owner
from tests.databases import Site

pytestmark = pytest.mark.anyio

FOREIGN = {
    "tables": (
        "CREATE TABLE notes (x); CREATE TABLE tags (x)",
        "it has the tables notes, tags, and none of Antiphon's",
    ),
    "id": ("PRAGMA application_id = 1", "its SQLite application id is 0x00000001, not 0x416e7469"),
    "id of a file with our tables": ("CREATE TABLE antiphon_schema (x); PRAGMA application_id = 2", "id is 0x00000002"),
    "many tables": ("".join(f"CREATE TABLE t{number} (x);" for number in range(6)), "t0, t1, t2, t3, t4, …, and none"),
}


def make(folder: Path, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        connection.executescript(script)
    return folder / DATABASE_FILE


def application_id(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[68:72], "big")


async def upgraded(folder: Path) -> Path:
    async with Site(None, folder).open() as database:
        await database.upgrade()
    return folder / DATABASE_FILE


@pytest.mark.parametrize("name", FOREIGN)
async def test_file_of_another_program_is_refused_and_unchanged(tmp_path: Path, name: str) -> None:
    script, reason = FOREIGN[name]
    path = make(tmp_path / "data", script)
    before = path.read_bytes()
    with pytest.raises(ForeignDatabaseError) as caught:
        await upgraded(tmp_path / "data")
    assert str(caught.value).startswith(f"The file {path} belongs to another program: ")
    assert reason in str(caught.value)
    assert (before, [path]) == (path.read_bytes(), list(path.parent.iterdir()))


async def test_file_open_in_another_program_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = make(tmp_path / "data", "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (x)")
        with pytest.raises(ForeignDatabaseError, match="it has the tables notes"):
            await upgraded(tmp_path / "data")
        other.execute("INSERT INTO notes VALUES (1)")


async def test_empty_file_gets_our_application_id(tmp_path: Path) -> None:
    make(tmp_path / "data", "")
    path = await upgraded(tmp_path / "data")
    assert APPLICATION_ID == application_id(path)
    assert path == await upgraded(tmp_path / "data")


async def test_file_of_an_older_version_gets_our_application_id(tmp_path: Path) -> None:
    path = await upgraded(tmp_path / "data")
    make(tmp_path / "data", "PRAGMA application_id = 0")
    assert 0 == application_id(path)
    assert APPLICATION_ID == application_id(await upgraded(tmp_path / "data"))


async def test_file_that_is_no_database_raises_an_sqlite_error(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(DatabaseOpenError, match="file is not a database"):
        await upgraded(tmp_path)


def test_file_with_our_application_id_may_have_any_tables(tmp_path: Path) -> None:
    check_owner(make(tmp_path, f"CREATE TABLE x (x); PRAGMA application_id = {APPLICATION_ID}"))
