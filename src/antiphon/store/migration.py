"""The schema's versions: Alembic over the migrations inside this package.

An upgrade is one transaction on both databases: it happens as a whole or not at all.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from antiphon.store import schema
from antiphon.store.failures import ForeignDatabaseError, NewerDatabaseError

VERSION_TABLE = "antiphon_schema"
"""Not Alembic's default: PostgreSQL may be shared with another program that uses Alembic."""

_LOCK = 0x616E7469
"""Of PostgreSQL's advisory locks: processes that start together upgrade one after the other."""


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Upgrade to ``revision``. Raises NewerDatabaseError and ForeignDatabaseError."""
    config = _config(_locked(connection))
    current = _current(connection)
    known = {script.revision: script for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise NewerDatabaseError(
            f"A newer version of Antiphon has upgraded this database (schema {current}; this version knows up to "
            f"{head()}). Run that version, or restore a backup from before."
        )
    if current is None and (tables := _own_names(connection)):
        raise ForeignDatabaseError(f"The database holds tables of another program: {', '.join(tables)}. Use another.")
    command.upgrade(config, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Go back to an older schema, for an older version of this program; what only the newer one holds is lost."""
    command.downgrade(_config(_locked(connection)), revision)


def head() -> str:
    """Name the schema of this version."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "no migrations"
    return revision


def problem(connection: Connection) -> str | None:
    """Say what is wrong with the schema's version, if anything."""
    current = _current(connection)
    if current == head():
        return None
    return f"The schema is {current or 'missing'}; this version's is {head()}."


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _own_names(connection: Connection) -> list[str]:
    return sorted(set(inspect(connection).get_table_names()) & set(schema.metadata.tables))


def _locked(connection: Connection) -> Connection:
    """Wait for other processes that change the schema. SQLite's writers are alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout TO 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    return connection


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    folder = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
