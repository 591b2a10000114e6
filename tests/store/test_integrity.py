"""The check of the database finds damage."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, text

from antiphon.store import integrity
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from tests.databases import Site
from tests.store.rows import PROJECT, add_project, completion, messages

pytestmark = pytest.mark.anyio


async def damage(database: Database, statement: str) -> list[str]:
    """Run a statement without foreign keys; return the problems found."""

    def transaction(connection: Connection) -> None:
        if database.dialect == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role TO replica"))
        connection.execute(text(statement))

    if database.dialect == "sqlite":
        path = database._engine.url.database
        assert path is not None
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)
    else:
        await database.write(transaction)
    return await database.check()


@pytest.fixture
async def filled(database: Database) -> Database:
    store = CompletionStore(database)
    for name in ("c1", "c2", "c3"):
        await store.save(PROJECT, completion(name, metadata={"a": name, "b": "x"}), messages(name, 3))
    return database


async def test_stored_completions_have_no_problems(filled: Database) -> None:
    assert [] == await filled.check()


async def test_check_during_writes_finds_no_problems(filled: Database) -> None:
    store = CompletionStore(filled)

    async def write() -> None:
        for number in range(100):
            name = f"w{number}"
            await store.save(PROJECT, completion(name, metadata={"a": name}), messages(name, 3))
            await store.update_metadata(PROJECT, "c1", {"a": name})
            await store.delete(PROJECT, name)

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        for _ in range(5):
            assert [] == await filled.check()
        group.cancel_scope.cancel()


async def test_check_reads_all_completions_in_any_batch_size(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_project(filled, "aaa")
    await CompletionStore(filled).save("aaa", completion("c2", metadata={"z": "c2"}), messages("c2"))
    monkeypatch.setattr(integrity, "BATCH", 2)
    assert [] == await filled.check()
    found = await damage(filled, "UPDATE completions SET metadata = '{}' WHERE project_id = 'default'")
    assert [f"The metadata of completion c{number} contradicts its index." for number in (1, 2, 3)] == found


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "DELETE FROM completions WHERE id = 'c1'",
            [
                "3 rows of completion_messages belong to no row of completions.",
                "2 rows of completion_metadata belong to no row of completions.",
            ],
        ),
        (
            "UPDATE completions SET project_id = 'gone'",
            [
                "3 rows of completions belong to no row of projects.",
                "9 rows of completion_messages belong to no row of completions.",
                "6 rows of completion_metadata belong to no row of completions.",
                "Completion c1 lacks messages.",
                "Completion c2 lacks messages.",
                "Completion c3 lacks messages.",
                "The metadata of completion c1 contradicts its index.",
                "The metadata of completion c2 contradicts its index.",
                "The metadata of completion c3 contradicts its index.",
            ],
        ),
        (
            "DELETE FROM completion_messages WHERE completion_id = 'c2' AND position = 2",
            ["Completion c2 lacks messages."],
        ),
        (
            "UPDATE completion_messages SET position = 7 WHERE completion_id = 'c2' AND position = 1",
            ["Completion c2 lacks messages."],
        ),
        (
            "DELETE FROM completion_metadata WHERE completion_id = 'c2' AND key = 'a'",
            ["The metadata of completion c2 contradicts its index."],
        ),
        (
            "UPDATE completion_metadata SET created = 2 WHERE completion_id = 'c2' AND key = 'a'",
            ["The metadata of completion c2 contradicts its index."],
        ),
        (
            "UPDATE completion_metadata SET stored_at = 2 WHERE completion_id = 'c2' AND key = 'a'",
            ["The metadata of completion c2 contradicts its index."],
        ),
        ("UPDATE completions SET model = 'x' WHERE id = 'c2'", ["Completion c2 contradicts its columns."]),
        ("UPDATE completions SET body = '{' WHERE id = 'c2'", ["Completion c2 cannot be read."]),
        (
            "UPDATE completion_messages SET body = '[]' WHERE completion_id = 'c2' AND position = 1",
            ["Message 1 of completion c2 cannot be read."],
        ),
    ],
)
async def test_check_finds_every_kind_of_damaged_row(filled: Database, statement: str, found: list[str]) -> None:
    assert sorted(found) == sorted(await damage(filled, statement))


async def test_check_finds_a_damaged_file(site: Site, dialect: str, tmp_path: Path) -> None:
    if dialect != "sqlite":
        pytest.skip("PostgreSQL guards its own files")
    async with site.open() as database:
        store = CompletionStore(database)
        for number in range(50):
            await store.save(PROJECT, completion(f"c{number}", metadata={"a": "b"}), messages(f"c{number}"))
    file = tmp_path / "data" / DATABASE_FILE
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_completion_metadata_pair'"
        page = connection.execute(query).fetchone()[0]
    content = bytearray(file.read_bytes())
    content[4096 * (page - 1) + 4 : 4096 * (page - 1) + 8] = b"\x00\x00\x00\x00"
    file.write_bytes(content)
    async with site.open() as database:
        assert any(line.startswith("The file is damaged: ") for line in await database.check())
