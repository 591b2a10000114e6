"""Upgrades of older databases, and refusals of all others."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from antiphon.protocol.stored_queries import CompletionQuery
from antiphon.store import migration, schema
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.failures import ForeignDatabaseError, NewerDatabaseError
from antiphon.store.ownership import VERSION_TABLE
from antiphon.store.schema import DEFAULT_PROJECT
from tests.databases import Site
from tests.store.rows import PROJECT, completion, messages

pytestmark = pytest.mark.anyio


def differences(connection: Connection) -> list[object]:
    def differ(*types: Any) -> bool:  # noqa: ANN401 (Alembic's)
        # SQLAlchemy spells the type of a TypeDecorator over TEXT as VARCHAR; PostgreSQL makes no difference.
        found, expected = (kind.compile(connection.dialect).replace("VARCHAR", "TEXT") for kind in types[-2:])
        return bool(found != expected)

    opts = {"version_table": VERSION_TABLE, "compare_type": differ}
    context = MigrationContext.configure(connection, opts=opts)
    found: list[object] = compare_metadata(context, schema.metadata)
    return found


def indexes(connection: Connection) -> set[tuple[str, str, tuple[str | None, ...]]]:
    inspector = inspect(connection)
    return {
        (table, str(index["name"]), tuple(index["column_names"]))
        for table in inspector.get_table_names()
        for index in inspector.get_indexes(table)
    }


async def written(folder: Path, make: Callable[[Connection], None]) -> dict[str, list[list[tuple[object, ...]]]]:
    """Create SQLite's file; return the columns, keys, indexes and rows of each table.

    The SQL of a table is left out: it differs after ``ALTER TABLE``.
    """
    async with Site(None, folder).open() as database:
        await database.write(make)
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:

        def rows(statement: str) -> list[tuple[object, ...]]:
            return sorted(connection.execute(statement).fetchall(), key=str)

        names = [str(name) for (name,) in rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        indexes = rows("SELECT tbl_name, name, coalesce(sql, '') FROM sqlite_master WHERE type = 'index'")
        return {
            name: [
                rows(f"PRAGMA table_xinfo({name})"),
                rows(f"PRAGMA foreign_key_list({name})"),
                [row for row in indexes if row[0] == name],
                rows(f"SELECT * FROM {name}"),  # noqa: S608 (our own names)
            ]
            for name in names
        }


def version(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM antiphon_schema")).scalar())


def save_as_before(connection: Connection, identifier: str, *, created: int, metadata: dict[str, str]) -> None:
    """Store a completion and its message into the tables of schema 0001 to 0003."""
    stored = completion(identifier, created=created, metadata=metadata)
    common = {"project_id": PROJECT, "completion_id": identifier}
    values = {
        "completions": {"project_id": PROJECT, "id": identifier, "created": created, "model": stored.model}
        | {"status": "completed", "message_count": 1, "metadata": msgspec.json.encode(metadata).decode()}
        | {"body": msgspec.json.encode(msgspec.structs.replace(stored, metadata={})).decode()},
        "completion_messages": common | {"position": 0, "body": msgspec.json.encode(messages(identifier)[0]).decode()},
    }
    for table, row in values.items():
        connection.execute(schema.metadata.tables[table].insert(), row)
    pairs = [{**common, "key": key, "value": value, "created": created} for key, value in metadata.items()]
    connection.execute(schema.completion_metadata.insert(), pairs)


async def all_pages(store: CompletionStore, query: CompletionQuery) -> list[str]:
    """Return the ids of all pages."""
    found: list[str] = []
    while (page := await store.list(PROJECT, query)).data:
        found += [one.id for one in page.data]
        query = msgspec.structs.replace(query, after=page.last_id)
    return found


async def set_version(database: Database, version: str) -> None:
    statement = text("UPDATE antiphon_schema SET version_num = :version")
    await database.write(lambda connection: connection.execute(statement, {"version": version}))


def test_the_schema_of_this_version_is_the_last_migration() -> None:
    assert migration.HEAD == ScriptDirectory(str(Path(migration.__file__).with_name("migrations"))).get_current_head()


async def test_new_file_has_the_same_schema_as_the_migrations(tmp_path: Path) -> None:
    migrated = await written(tmp_path / "migrated", migration.migrate)
    assert migrated == await written(tmp_path / "new", migration.upgrade)


async def test_migrations_create_the_schema_of_this_version(database: Database) -> None:
    assert [] == await database.read(differences)
    expected = {
        (table.name, str(index.name), tuple(column.name for column in index.columns))
        for table in schema.metadata.sorted_tables
        for index in table.indexes
    }
    assert expected == await database.read(indexes)


async def test_foreign_keys_cascade_as_in_the_schema(database: Database) -> None:
    def rules(connection: Connection) -> set[tuple[str, str, str | None]]:
        inspector = inspect(connection)
        return {
            (name, key["referred_table"], key["options"].get("ondelete"))
            for name in schema.metadata.tables
            for key in inspector.get_foreign_keys(name)
        }

    expected = {
        (table.name, key.referred_table.name, key.ondelete)
        for table in schema.metadata.sorted_tables
        for key in table.foreign_key_constraints
    }
    assert expected == await database.read(rules)


async def test_text_is_ordered_by_code_points(database: Database) -> None:
    statement = schema.projects.insert()
    rows = [{"id": name, "name": name, "created": 1} for name in ("a", "B", "_", "é", "z")]
    await database.write(lambda connection: connection.execute(statement, rows))
    ordered = await database.read(
        lambda connection: connection.execute(schema.projects.select().order_by(schema.projects.c.id)).all()
    )
    assert ["B", "_", "a", DEFAULT_PROJECT, "z", "é"] == [row.id for row in ordered]


async def test_an_empty_database_is_upgraded_once(empty_site: Site) -> None:
    async with empty_site.open() as database:
        assert [f"The schema is missing; this version's is {migration.HEAD}."] == await database.check()
        await database.upgrade()
        await database.upgrade()
        assert [] == await database.check()


async def test_processes_that_start_together_upgrade_one_after_the_other(empty_site: Site) -> None:
    async with empty_site.open() as first, empty_site.open() as second, empty_site.open() as third:
        async with anyio.create_task_group() as group:
            for database in (first, second, third):
                group.start_soon(database.upgrade)
        assert [] == await first.check()


async def test_an_older_database_keeps_its_rows(empty_site: Site) -> None:
    async with empty_site.open() as database:
        await database.write(lambda connection: migration.migrate(connection, "0001"))
        await database.write(lambda connection: save_as_before(connection, "c1", created=1, metadata={"a": "b"}))
        assert [f"The schema is 0001; this version's is {migration.HEAD}."] == await database.check()
        await database.upgrade()
        assert completion("c1", metadata={"a": "b"}) == await CompletionStore(database).get(PROJECT, "c1")
        assert [] == await database.check()


@pytest.mark.parametrize("query", [CompletionQuery(limit=2), CompletionQuery(limit=2, metadata={"a": "b"})])
async def test_completions_of_an_older_database_stay_before_newer_ones_of_their_second(
    query: CompletionQuery, empty_site: Site
) -> None:
    def fill(connection: Connection) -> None:
        migration.migrate(connection, "0003")
        for name, created in (("d", 1), ("b", 1), ("c", 2), ("a", 1)):
            save_as_before(connection, name, created=created, metadata={"a": "b"})

    async with empty_site.open() as database:
        await database.write(fill)
        await database.upgrade()
        store = CompletionStore(database)
        for name in ("Z", "Y"):
            await store.save(PROJECT, completion(name, created=1, metadata={"a": "b"}), messages(name))
        expected = ["a", "b", "d", "Z", "Y", "c"]
        assert expected == await all_pages(store, query)
        assert expected[::-1] == await all_pages(store, msgspec.structs.replace(query, order="desc"))
        assert [] == await database.check()


async def test_every_migration_can_be_reverted(database: Database) -> None:
    store = CompletionStore(database)
    await store.save(PROJECT, completion("c1"), messages("c1"))
    await database.write(lambda connection: migration.downgrade(connection, "0001"))
    assert [f"The schema is 0001; this version's is {migration.HEAD}."] == await database.check()
    assert completion("c1") == await store.get(PROJECT, "c1")
    await database.write(lambda connection: migration.downgrade(connection, "base"))
    names = await database.read(lambda connection: inspect(connection).get_table_names())
    assert [VERSION_TABLE] == names
    await database.upgrade()
    assert [] == await database.read(differences)
    assert [] == await database.check()


async def test_failed_upgrade_leaves_the_older_database_unchanged(empty_site: Site) -> None:
    async with empty_site.open() as database:
        await database.write(lambda connection: migration.migrate(connection, "0001"))
        await database.write(lambda connection: connection.execute(text("CREATE TABLE idempotency_keys (x INTEGER)")))
        with pytest.raises(Exception, match="idempotency_keys"):
            await database.upgrade()
        names = await database.read(lambda connection: inspect(connection).get_table_names())
        assert "rate_limits" not in names
        assert "0001" == await database.read(version)


async def test_newer_database_is_refused_and_unchanged(database: Database) -> None:
    await set_version(database, "9999")
    expected = rf"newer version .* \(schema 9999; this version knows up to {migration.HEAD}\)"
    with pytest.raises(NewerDatabaseError, match=expected):
        await database.upgrade()
    assert "9999" == await database.read(version)
    assert [f"The schema is 9999; this version's is {migration.HEAD}."] == await database.check()


async def test_tables_of_another_program_are_refused(empty_site: Site) -> None:
    async with empty_site.open() as database:
        await database.write(lambda connection: connection.execute(text("CREATE TABLE projects (x INTEGER)")))
        with pytest.raises(ForeignDatabaseError, match="tables of another program: projects"):
            await database.upgrade()


async def test_other_tables_are_accepted_in_postgresql_and_refused_in_a_file(empty_site: Site) -> None:
    async with empty_site.open() as database:
        await database.write(lambda connection: connection.execute(text("CREATE TABLE alembic_version (x INTEGER)")))
        if database.dialect == "sqlite":
            with pytest.raises(ForeignDatabaseError, match="tables of another program: alembic_version"):
                await database.upgrade()
        else:
            await database.upgrade()
            assert [] == await database.check()
