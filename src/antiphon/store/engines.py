"""SQLAlchemy's engines for the two databases: connections, transactions and their durability.

By default SQLite copies its write-ahead log into the database inside a commit that finds 1,000 pages in the log: one
insert in fifty then takes two to three times as long, and longer in a larger database. :class:`Checkpointer` makes
passive checkpoints on a separate connection instead, which block no commit.

The engines are SQLAlchemy's synchronous ones over asynchronous drivers; use them inside
``sqlalchemy.util.greenlet_spawn``. ``AsyncEngine`` does the same, but its package imports the ORM. The ORM and
PostgreSQL's dialect took a sixth of the import time of a server that uses SQLite.
"""

import asyncio
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.schema import Table

from antiphon.store.failures import DatabaseOpenError, DatabaseURLError
from antiphon.store.ownership import check_owner

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

DATABASE_FILE = "antiphon.db"
COMMAND_TIMEOUT = 60.0
"""Seconds after which a statement of PostgreSQL fails, so that a dead network does not hold a request."""
POOL_SIZE = 8

CHECKPOINT_INTERVAL = 50
"""Transactions between two checkpoints: some 900 pages of 4 KiB for stored completions."""
AUTOCHECKPOINT = 10_000
"""Pages in the log from which a commit makes a checkpoint itself: the separate checkpoints do not keep up."""

Mode = Literal["read", "write", "volatile"]
"""``write`` survives a loss of power; ``volatile`` survives only the death of the process."""
MODES: tuple[Mode, ...] = ("read", "write", "volatile")
MODE = "antiphon_mode"
"""The execution option for the Mode of a transaction."""


def insert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """Return the dialect's INSERT, which has ON CONFLICT."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 (see the module)

    return postgresql.insert(table)


def unix_time(connection: Connection) -> float:
    """Return the time of the clock that all processes of the database share, in Unix seconds.

    It is PostgreSQL's clock, since the processes' machines may differ, or the machine's clock for SQLite.
    """
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def check_url(url: str) -> None:
    """Raise DatabaseURLError unless the address is PostgreSQL's. The error leaves it out: it may have a password."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise DatabaseURLError("The database's address must begin with postgresql://; leave it out to use SQLite.")


def postgresql_engine(url: str, *, busy_timeout: float, maintenance: bool = False) -> Engine:
    """Return an engine for a libpq address, which asyncpg parses (``sslmode``, ``host=/socket/folder``).

    A ``maintenance`` engine has no connection pool and no time-out of statements.
    """
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 (see the module)
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 (see the module)

    async def connect() -> Any:  # noqa: ANN401 (asyncpg has no types)
        return await asyncpg.connect(
            url,
            timeout=max(busy_timeout, 1.0),
            command_timeout=None if maintenance else COMMAND_TIMEOUT,
            server_settings={"application_name": "antiphon", "lock_timeout": str(int(busy_timeout * 1000))},
        )

    pool: dict[str, Any] = {"poolclass": NullPool} if maintenance else {"pool_size": POOL_SIZE, "pool_pre_ping": True}
    if not maintenance:
        pool |= {"max_overflow": POOL_SIZE, "pool_timeout": busy_timeout}
    url_of_driver = "postgresql+asyncpg://"
    engine = create_async_engine(url_of_driver, async_creator=connect, hide_parameters=True, **pool).sync_engine

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(MODE) == "volatile":
            connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")

    return engine


def sqlite_engine(path: Path, *, busy_timeout: float) -> Engine:
    """Return an engine for a SQLite file from :func:`prepare_sqlite`.

    Transactions begin explicitly: the driver begins them late and as readers, which cannot always become writers. In
    WAL mode, FULL syncs at every commit; after NORMAL, the next FULL commit syncs.
    """
    engine = create_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"timeout": busy_timeout, "cached_statements": 256},
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=busy_timeout,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def connect(connection: DBAPIConnection, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA wal_autocheckpoint={AUTOCHECKPOINT}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode: Mode = connection.get_execution_options()[MODE]
        if mode == "read":
            connection.exec_driver_sql("BEGIN")
        else:
            connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if mode == 'write' else 'NORMAL'}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def prepare_sqlite(data_dir: Path, *, busy_timeout: float) -> Path:
    """Create the folder and the file, readable by their owner only, in WAL mode; return the file's path.

    Raises DatabaseOpenError, and ForeignDatabaseError for a file of another program, which stays unchanged.
    """
    path = data_dir / DATABASE_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        mode = _write_ahead(path, time.monotonic() + busy_timeout)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseOpenError(f"The database {path} cannot be opened: {error}.") from error
    if mode != "wal":
        raise DatabaseOpenError(f"The database {path} lies on a file system that cannot hold a write-ahead log.")
    return path


def _write_ahead(path: Path, deadline: float) -> str:
    """Switch the file to WAL; return its journal mode. SQLite refuses at once while another process does the same."""
    while True:
        try:
            check_owner(path)
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
                return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


class Checkpointer:
    """Makes a checkpoint after every :data:`CHECKPOINT_INTERVAL` transactions of this process, one at a time."""

    def __init__(self, path: Path) -> None:
        """``path`` is SQLite's file."""
        self._path = path
        self._writes = 0
        self._task: asyncio.Task[None] | None = None

    def count_write(self) -> None:
        """Count a committed transaction. Call it inside an event loop."""
        self._writes += 1
        if self._writes >= CHECKPOINT_INTERVAL and (self._task is None or self._task.done()):
            self._writes = 0
            self._task = asyncio.create_task(asyncio.to_thread(_checkpoint, self._path))

    async def close(self) -> None:
        """Wait for a running checkpoint."""
        if self._task is not None:
            await asyncio.wait([self._task])


def _checkpoint(path: Path) -> None:
    # Errors are ignored: the next commit fails with the same error and reports it to its caller.
    address = f"{path.absolute().as_uri()}?mode=rw"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, timeout=0, uri=True)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
