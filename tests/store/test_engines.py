"""Preparation of SQLite's file, checkpoints, and addresses of PostgreSQL."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.store.completions import CompletionStore
from antiphon.store.engines import (
    AUTOCHECKPOINT,
    CHECKPOINT_INTERVAL,
    DATABASE_FILE,
    Checkpointer,
    check_url,
    prepare_sqlite,
)
from antiphon.store.failures import DatabaseOpenError, DatabaseURLError
from tests.databases import Site
from tests.store.rows import PROJECT, completion, messages


def test_processes_that_start_together_all_use_wal_mode(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: prepare_sqlite(tmp_path / "data", busy_timeout=20), range(8)))
    (path,) = paths
    with closing(sqlite3.connect(path)) as connection:
        assert ("wal",) == connection.execute("PRAGMA journal_mode").fetchone()


def test_locked_file_is_refused_after_the_busy_timeout(tmp_path: Path) -> None:
    path = tmp_path / "antiphon.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseOpenError, match="cannot be opened: database is locked"):
            prepare_sqlite(tmp_path, busy_timeout=0.1)


def test_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseOpenError, match=r"file/antiphon\.db cannot be opened"):
        prepare_sqlite(tmp_path / "file", busy_timeout=1)


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgres://u:p@h:1,i:2/d?sslmode=require"])
def test_postgresql_addresses_are_accepted(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["postgresql+asyncpg://h/d", "postgresql", "sqlite://", "/x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(DatabaseURLError):
        check_url(url)


@pytest.fixture
def dialect() -> str:
    """Replace ``database``: only SQLite has checkpoints of ours."""
    return "sqlite"


def main_file_rows(path: Path) -> int:
    """Return the number of completions in the database file without its log."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        count: int = connection.execute("SELECT count(*) FROM completions").fetchone()[0]
    return count


@pytest.mark.anyio
async def test_checkpoints_copy_writes_into_the_open_database(site: Site) -> None:
    async with site.open() as database:
        store = CompletionStore(database)
        for number in range(CHECKPOINT_INTERVAL):
            assert 0 == main_file_rows(site.data_dir / DATABASE_FILE)
            await store.save(PROJECT, completion(f"c{number}"), messages(f"c{number}"))
        assert database._checkpointer is not None
        await database._checkpointer.close()
        assert CHECKPOINT_INTERVAL == main_file_rows(site.data_dir / DATABASE_FILE)


@pytest.mark.anyio
async def test_commits_make_no_checkpoint(site: Site) -> None:
    async with site.open() as database:
        pages = await database.read(lambda connection: connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar())
        assert AUTOCHECKPOINT == pages


@pytest.mark.anyio
async def test_write_during_a_checkpoint_starts_no_second_one(site: Site) -> None:
    checkpointer = Checkpointer(site.data_dir / DATABASE_FILE)
    for _ in range(CHECKPOINT_INTERVAL):
        checkpointer.count_write()
    first = checkpointer._task
    for _ in range(CHECKPOINT_INTERVAL):
        checkpointer.count_write()
    assert first is not None
    assert first is checkpointer._task
    await checkpointer.close()
    checkpointer.count_write()
    assert first is not checkpointer._task, "it was overdue"
    await checkpointer.close()


@pytest.mark.anyio
async def test_failed_checkpoint_does_not_block_writers(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "absent" / "antiphon.db")
    for _ in range(CHECKPOINT_INTERVAL):
        checkpointer.count_write()
    await checkpointer.close()
    assert checkpointer._task is not None
    assert checkpointer._task.exception() is None


@pytest.mark.anyio
async def test_checkpoint_does_not_create_a_missing_database(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "antiphon #1.db")
    for _ in range(CHECKPOINT_INTERVAL):
        checkpointer.count_write()
    await checkpointer.close()
    assert not (tmp_path / "antiphon #1.db").exists()


@pytest.mark.anyio
async def test_close_without_writes_returns_at_once(site: Site) -> None:
    checkpointer = Checkpointer(site.data_dir / DATABASE_FILE)
    await checkpointer.close()
    assert checkpointer._task is None
