"""The schema's versions: Alembic over the migrations inside this package.

An upgrade is one transaction on both databases: it happens as a whole or not at all. The migrations are the truth, but
Alembic takes as long to import as an eighth of the server, so it is left out where there is nothing to migrate: in a
database of this version, and in a new file of SQLite's. The tables that ``schema`` makes there are those that the
migrations make, to the letter; a test compares them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select, text

from antiphon.store import schema
from antiphon.store.failures import ForeignDatabaseError, NewerDatabaseError
from antiphon.store.ownership import VERSION_TABLE, sign

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0003"
"""The last of the migrations."""

_versions = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
"""Alembic's own table, of one row."""

_LOCK = 0x616E7469
"""Of PostgreSQL's advisory locks: processes that start together upgrade one after the other."""


def upgrade(connection: Connection) -> None:
    """Upgrade to this version's schema. Raises NewerDatabaseError and ForeignDatabaseError."""
    current = _current(_locked(connection))
    if current != HEAD:
        tables = inspect(connection).get_table_names()
        if current is None:
            _check_tables(connection, set(tables))
        if not tables and connection.dialect.name == "sqlite":
            _make(connection)
        else:
            migrate(connection)
    if connection.dialect.name == "sqlite":
        sign(connection)


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
    """Go back to an older schema, for an older version of this program; what only the newer one holds is lost."""
    from alembic import command  # noqa: PLC0415 (see the module)

    command.downgrade(_config(_locked(connection)), revision)


def problem(connection: Connection) -> str | None:
    """Say what is wrong with the schema's version, if anything."""
    current = _current(connection)
    if current == HEAD:
        return None
    return f"The schema is {current or 'missing'}; this version's is {HEAD}."


def _check_tables(connection: Connection, tables: set[str]) -> None:
    """Refuse tables that are in the way; in SQLite's file, which is not shared, any that another program has made."""
    taken = tables - {VERSION_TABLE} if connection.dialect.name == "sqlite" else tables & set(schema.metadata.tables)
    if taken:
        names = ", ".join(sorted(taken))
        raise ForeignDatabaseError(f"The database holds tables of another program: {names}. Use another.")


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(select(_versions)).scalar_one_or_none()
    return version


def _make(connection: Connection) -> None:
    """Do what all migrations do to an empty database."""
    schema.metadata.create_all(connection, checkfirst=False)
    project = {"id": schema.DEFAULT_PROJECT, "name": "Default project", "created": 0}
    connection.execute(schema.projects.insert(), project)
    _versions.create(connection, checkfirst=False)
    connection.execute(_versions.insert(), {"version_num": HEAD})


def _locked(connection: Connection) -> Connection:
    """Wait for other processes that change the schema. SQLite's writers are alone anyway."""
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
