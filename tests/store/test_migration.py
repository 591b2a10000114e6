"""Upgrades of older databases, and refusals of all others."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

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


async def written(folder: Path, make: Callable[[Connection], None]) -> tuple[set[str], set[str]]:
    """Create SQLite's file; return its schema table and a dump of it."""
    async with Site(None, folder).open() as database:
        await database.write(make)
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        schema_table = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return {str(row) for row in schema_table}, set(connection.iterdump())


def version(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM antiphon_schema")).scalar())


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
        store = CompletionStore(database)
        await store.save(PROJECT, completion("c1", metadata={"a": "b"}), messages("c1", 3))
        assert [f"The schema is 0001; this version's is {migration.HEAD}."] == await database.check()
        await database.upgrade()
        assert completion("c1", metadata={"a": "b"}) == await store.get(PROJECT, "c1")
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
