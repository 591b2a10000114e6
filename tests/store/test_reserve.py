"""Deletions on a full disk: a small file system, and simulated write errors."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
import sqlalchemy.exc
from sqlalchemy import event

from antiphon.errors import DatabaseUnavailableError, NotFoundError
from antiphon.protocol.stored import StoredAnswer, StoredChoice
from antiphon.store import reserve
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.idempotency import LIFETIME, IdempotencyStore, New
from antiphon.store.keys import KeyStore
from antiphon.store.reserve import LOG_ROOM, Reserve
from tests.databases import Site
from tests.store.rows import PROJECT, Clock, completion, messages

pytestmark = pytest.mark.anyio

DISK = 16
"""MiB."""
FULL = "The database has no space left."


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (ours)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Only root can mount a small disk: deletions were not tried on a full one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607 (ours)


def fill_up(folder: Path) -> None:
    """Fill the disk."""
    with suppress(OSError), (folder / "other").open("wb", buffering=0) as other:
        while True:
            other.write(bytes(4096))


async def save(store: CompletionStore, identifier: str, *, size: int = 20_000) -> None:
    choice = StoredChoice(index=0, message=StoredAnswer(content="x" * size), finish_reason="stop")
    stored = msgspec.structs.replace(completion(identifier), choices=[choice])
    await store.save(PROJECT, stored, messages(identifier, 2))


async def save_until_full(store: CompletionStore) -> int:
    """Store answers until the disk is full; return their number."""
    for number in range(2000):
        try:
            await save(store, f"c{number}")
        except DatabaseUnavailableError:
            return number
    raise AssertionError("the disk never was full")


@pytest.fixture
async def full(small_disk: Path) -> AsyncIterator[Database]:
    """Yield a database with a reserve on a full disk."""
    async with Site(None, small_disk).open() as database:
        await database.upgrade()
        await database.reserve_room()
        yield database


async def test_all_completions_can_be_deleted_one_by_one_on_a_full_disk(full: Database, small_disk: Path) -> None:
    store = CompletionStore(full)
    stored = await save_until_full(store)
    fill_up(small_disk)
    assert stored > 100
    for number in range(stored):
        await store.delete(PROJECT, f"c{number}")
    with pytest.raises(NotFoundError):
        await store.get(PROJECT, "c0")
    assert [] == await full.check()
    await full.probe()
    await save(store, "again")


async def test_a_long_answer_can_be_deleted_on_a_full_disk(full: Database, small_disk: Path) -> None:
    store = CompletionStore(full)
    await save(store, "long", size=2 * 1024 * 1024)
    await save_until_full(store)
    fill_up(small_disk)
    await store.delete(PROJECT, "long")


async def test_retention_frees_a_full_disk(full: Database, small_disk: Path) -> None:
    store = CompletionStore(full)
    stored = await save_until_full(store)
    fill_up(small_disk)
    assert stored - 10 == await store.prune(max_age=None, max_count=10)
    await full.probe()
    await save(store, "again")


async def test_expired_idempotency_keys_are_purged_on_a_full_disk(full: Database, small_disk: Path) -> None:
    clock = Clock()
    keys = IdempotencyStore(full, holder="a", clock=clock)
    new = await keys.begin(PROJECT, "k", "h")
    assert isinstance(new, New)
    await keys.finish(new, status=200, answer=b"x" * 100_000)
    await save_until_full(CompletionStore(full))
    fill_up(small_disk)
    clock.now += LIFETIME
    assert 1 == await keys.purge()


async def test_a_key_can_be_revoked_on_a_full_disk(full: Database, small_disk: Path) -> None:
    keys = KeyStore(full)
    new = await keys.create(PROJECT, "lost")
    await save_until_full(CompletionStore(full))
    fill_up(small_disk)
    assert (await keys.revoke(new.key.id)).revoked_at is not None


@pytest.fixture
def reader(small_disk: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection whose read transaction keeps the log from being reused, once it has begun."""
    with closing(sqlite3.connect(small_disk / DATABASE_FILE, isolation_level=None)) as connection:
        yield connection


async def test_deletion_on_a_full_disk_works_while_a_reader_holds_the_log(
    full: Database, small_disk: Path, reader: sqlite3.Connection
) -> None:
    store = CompletionStore(full)
    await save(store, "first")
    reader.executescript("BEGIN; SELECT count(*) FROM projects")
    await save_until_full(store)
    fill_up(small_disk)
    await store.delete(PROJECT, "first")
    assert FULL == full.write_failure
    with pytest.raises(DatabaseUnavailableError):
        await save(store, "again")


@pytest.fixture
def sqlite_site(sqlite_template: Path, tmp_path: Path) -> Site:
    shutil.copy(sqlite_template, tmp_path / DATABASE_FILE)
    return Site(None, tmp_path)


@pytest.fixture
async def sqlite(sqlite_site: Site) -> AsyncIterator[Database]:
    async with sqlite_site.open() as database:
        yield database


def without_room(database: Database, path: Path, verb: str = "DELETE") -> None:
    """Make statements fail as on a full disk while the reserve is filled."""

    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(verb) and path.exists() and path.stat().st_size:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise sqlalchemy.exc.OperationalError(statement, {}, error)

    event.listen(database._engine, "before_cursor_execute", fail)


async def test_deletion_uses_the_reserve_which_is_filled_again(sqlite: Database, tmp_path: Path) -> None:
    store, path = CompletionStore(sqlite), Reserve(tmp_path / DATABASE_FILE).path
    await save(store, "c1")
    await sqlite.reserve_room()
    without_room(sqlite, path)
    await store.delete(PROJECT, "c1")
    assert (reserve.SIZE, FULL) == (path.stat().st_size, sqlite.write_failure)
    with pytest.raises(NotFoundError):
        await store.get(PROJECT, "c1")


async def test_revocation_uses_the_reserve(sqlite: Database, tmp_path: Path) -> None:
    keys, path = KeyStore(sqlite), Reserve(tmp_path / DATABASE_FILE).path
    new = await keys.create(PROJECT, "lost")
    await sqlite.reserve_room()
    without_room(sqlite, path, "UPDATE")
    assert (await keys.revoke(new.key.id)).revoked_at is not None


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
async def test_purge_of_idempotency_keys_uses_the_reserve(verb: str, sqlite: Database, tmp_path: Path) -> None:
    clock = Clock()
    keys, path = IdempotencyStore(sqlite, holder="a", clock=clock), Reserve(tmp_path / DATABASE_FILE).path
    new = await keys.begin(PROJECT, "k", "h")
    assert isinstance(new, New)
    await keys.finish(new, status=200, answer=b"x")
    clock.now += LIFETIME
    await sqlite.reserve_room()
    without_room(sqlite, path, verb)
    assert 1 == await keys.purge()


async def test_other_transactions_do_not_use_the_reserve(sqlite: Database, tmp_path: Path) -> None:
    await sqlite.reserve_room()
    without_room(sqlite, Reserve(tmp_path / DATABASE_FILE).path)
    with pytest.raises(DatabaseUnavailableError, match=FULL):
        await sqlite.write(lambda connection: connection.exec_driver_sql("DELETE FROM projects"))


async def secure_delete(database: Database) -> int:
    pragma = "PRAGMA secure_delete"
    return int(await database.write(lambda connection: connection.exec_driver_sql(pragma).scalar_one()))


async def test_secure_delete_is_restored_after_the_reserve(sqlite: Database, tmp_path: Path) -> None:
    store = CompletionStore(sqlite)
    await save(store, "c1")
    before = await secure_delete(sqlite)
    await sqlite.reserve_room()
    without_room(sqlite, Reserve(tmp_path / DATABASE_FILE).path)
    await store.delete(PROJECT, "c1")
    assert before == await secure_delete(sqlite)


async def test_reserve_file_has_allocated_blocks_and_is_private(tmp_path: Path) -> None:
    held = Reserve(tmp_path / "x")
    await held.fill()
    found = held.path.stat()
    assert (reserve.SIZE, 0o600) == (found.st_size, found.st_mode & 0o777)
    assert reserve.SIZE <= found.st_blocks * 512


async def test_reserve_takes_the_rest_of_a_small_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "SIZE", 2 * DISK * 1024 * 1024)
    held = Reserve(small_disk / "x")
    await held.fill()
    assert 0 < held.path.stat().st_size <= DISK * 1024 * 1024
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize < reserve.BLOCK


async def test_log_that_does_not_fit_is_not_copied(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(CompletionStore(sqlite), "c1", size=500_000)
    log, size = tmp_path / f"{DATABASE_FILE}-wal", (tmp_path / DATABASE_FILE).stat().st_size
    held = Reserve(tmp_path / DATABASE_FILE)
    monkeypatch.setattr(reserve, "_free", lambda _: LOG_ROOM + 400_000)
    async with held.released():
        assert (size, True) == ((tmp_path / DATABASE_FILE).stat().st_size, log.stat().st_size > 500_000)
    monkeypatch.setattr(reserve, "_free", lambda _: LOG_ROOM + 600_000)
    async with held.released():
        assert (True, 0) == ((tmp_path / DATABASE_FILE).stat().st_size > size + 400_000, log.stat().st_size)
