"""The schema's versions, and Alembic with the migrations inside this package.

An upgrade is one transaction on both databases. The migrations define the schema. Importing Alembic takes an eighth of
the server's import time, so a database of this version and a new SQLite file do without it: for a new file, ``schema``
creates the same tables; a test compares them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select, text

from antiphon.store import schema
from antiphon.store.failures import ForeignDatabaseError, NewerDatabaseError
from antiphon.store.ownership import VERSION_TABLE, set_application_id

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0004"
"""The newest migration."""

_versions = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""Alembic's version table, which has one row."""

_LOCK = 0x616E7469
"""The key of PostgreSQL's advisory lock: processes that start together upgrade one after the other."""


def upgrade(connection: Connection) -> None:
    """Upgrade the database to this version's schema. Raises NewerDatabaseError and ForeignDatabaseError."""
    current = _current(_locked(connection))
    if current != HEAD:
        tables = inspect(connection).get_table_names()
        if current is None:
            _refuse_foreign_tables(connection, set(tables))
        if not tables and connection.dialect.name == "sqlite":
            _create_schema(connection)
        else:
            migrate(connection)
    if connection.dialect.name == "sqlite":
        set_application_id(connection)


def migrate(connection: Connection, revision: str = "head") -> None:
    """Run the migrations from an older schema up to ``revision``. Raises NewerDatabaseError."""
    from alembic import command  # noqa: PLC0415 (see the module)
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    current = _current(_locked(connection))
    config = _config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise NewerDatabaseError(
            f"A newer version of Antiphon has upgraded this database (schema {current}; this version knows up to "
            f"{HEAD}). Run that version, or restore a backup from before."
        )
    command.upgrade(config, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Go back to an older schema, for an older version of this program. Data of newer tables is lost."""
    from alembic import command  # noqa: PLC0415 (see the module)

    command.downgrade(_config(_locked(connection)), revision)


def version_problem(connection: Connection) -> str | None:
    """Return the problem of the schema's version, a sentence, or None."""
    current = _current(connection)
    if current == HEAD:
        return None
    return f"The schema is {current or 'missing'}; this version's is {HEAD}."


def _refuse_foreign_tables(connection: Connection, tables: set[str]) -> None:
    """Raise ForeignDatabaseError for tables with our names, or for any table in SQLite's file, which is not shared."""
    taken = tables - {VERSION_TABLE} if connection.dialect.name == "sqlite" else tables & set(schema.metadata.tables)
    if taken:
        names = ", ".join(sorted(taken))
        raise ForeignDatabaseError(f"The database holds tables of another program: {names}. Use another.")


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(select(_versions)).scalar_one_or_none()
    return version


def _create_schema(connection: Connection) -> None:
    """Create the tables and rows that all migrations together create."""
    schema.metadata.create_all(connection, checkfirst=False)
    project = {"id": schema.DEFAULT_PROJECT, "name": "Default project", "created": 0}
    connection.execute(schema.projects.insert(), project)
    _versions.create(connection, checkfirst=False)
    connection.execute(_versions.insert(), {"version_num": HEAD})


def _locked(connection: Connection) -> Connection:
    """Take the lock of upgrades; return the connection. SQLite has only one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout TO 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    return connection


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 (see the module)

    config = Config(attributes={"connection": connection})
    folder = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
