"""A SQLite file is made ready once, whoever comes first; addresses are checked before they are used."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.store.engines import check_url, prepare_sqlite
from antiphon.store.failures import DatabaseOpenError, DatabaseURLError


def test_processes_that_start_together_all_find_a_log(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: prepare_sqlite(tmp_path / "data", busy_timeout=20), range(8)))
    (path,) = paths
    with closing(sqlite3.connect(path)) as connection:
        assert ("wal",) == connection.execute("PRAGMA journal_mode").fetchone()


def test_a_file_that_stays_locked_is_refused_in_time(tmp_path: Path) -> None:
    path = tmp_path / "antiphon.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseOpenError, match="cannot be opened: database is locked"):
            prepare_sqlite(tmp_path, busy_timeout=0.1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseOpenError, match=r"file/antiphon\.db cannot be opened"):
        prepare_sqlite(tmp_path / "file", busy_timeout=1)


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgres://u:p@h:1,i:2/d?sslmode=require"])
def test_addresses_of_postgresql_pass(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["postgresql+asyncpg://h/d", "postgresql", "sqlite://", "/x"])
def test_other_addresses_do_not(url: str) -> None:
    with pytest.raises(DatabaseURLError):
        check_url(url)
