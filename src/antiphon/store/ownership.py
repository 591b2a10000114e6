"""Recognises Antiphon's SQLite files: by the application id, or by the version table in files of older versions."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from antiphon.store.failures import ForeignDatabaseError

VERSION_TABLE: Final = "antiphon_schema"
"""The version table. It is not Alembic's default, since another program with Alembic may share PostgreSQL."""
APPLICATION_ID: Final = 0x416E7469
"""The application id in the header of our SQLite files: "Anti"."""
MAX_NAMES = 5
"""The most tables that an error names."""


def check_owner(path: Path) -> None:
    """Raise ForeignDatabaseError for a file of another program. The file is only read.

    Raises ``sqlite3.Error`` for a file that cannot be read or is no database.
    """
    address = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, timeout=0, uri=True)) as connection:
        owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        tables = [str(name) for (name,) in names]
    if owner == APPLICATION_ID or (owner == 0 and (VERSION_TABLE in tables or not tables)):
        return
    raise ForeignDatabaseError(
        f"The file {path} belongs to another program: {_contents(owner, tables)}. It was left as it is. "
        "Name another folder with --data-dir."
    )


def set_application_id(connection: Connection) -> None:
    """Write our application id to SQLite's file, in the transaction of the connection."""
    owner = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    if owner != APPLICATION_ID:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")


def _contents(owner: int, tables: list[str]) -> str:
    if owner:
        return f"its SQLite application id is {owner:#010x}, not {APPLICATION_ID:#010x}"
    more = ", …" if len(tables) > MAX_NAMES else ""
    return f"it has the tables {', '.join(tables[:MAX_NAMES])}{more}, and none of Antiphon's"
