"""The database: open, upgrade, check and atomic transactions.

A transaction is a function of a connection. It runs from BEGIN to COMMIT even when the task that waits for it is
cancelled, so that no connection is lost inside a transaction.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Connection, Engine, and_, delete, text, update
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.util import greenlet_spawn

from antiphon.errors import DatabaseUnavailableError, ServiceUnavailableError
from antiphon.store import engines, integrity, migration
from antiphon.store.failures import (
    TRY_AGAIN,
    DatabaseOpenError,
    driver_message,
    failure_sentence,
    is_out_of_space,
    unavailable_on_failure,
)
from antiphon.store.reserve import Reserve
from antiphon.store.schema import DEFAULT_PROJECT, idempotency_keys, projects

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another writer before the request fails."""
PROBE_SIZE = 64 * 1024
"""Bytes that a failing database must accept before it counts as working again."""

_T = TypeVar("_T")
Transaction = Callable[[Connection], _T]


class Database:
    """SQLite in one file, or PostgreSQL. Several processes may use it at the same time."""

    def __init__(
        self,
        engine: Engine,
        *,
        busy_timeout: float,
        maintenance: Engine | None = None,
        checkpointer: engines.Checkpointer | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        """``maintenance`` is the engine for upgrades and checks. Callers use :meth:`open`."""
        self._engine = engine
        self._maintenance = maintenance or engine
        self._modes = {mode: engine.execution_options(**{engines.MODE: mode}) for mode in engines.MODES}
        self._busy_timeout = busy_timeout
        self._checkpointer = checkpointer
        self._reserve = reserve
        self.read_failure: str | None = None
        """The reason why the last read transaction failed, a sentence; None if it succeeded."""
        self.write_failure: str | None = None
        """The reason why the last write transaction failed, a sentence; None if it succeeded."""
        # SQLite has one writer and no queue: waiting writers poll, and some would starve.
        self._write_lock = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    async def open(cls, url: str | None, *, data_dir: Path, busy_timeout: float = BUSY_TIMEOUT) -> Self:
        """Open ``postgresql://…``, or SQLite in ``data_dir`` when ``url`` is None. Call :meth:`upgrade` next.

        Raises ``StoreError`` with a message for the operator.
        """
        if url is None:
            path = await anyio.to_thread.run_sync(lambda: engines.prepare_sqlite(data_dir, busy_timeout=busy_timeout))
            engine = engines.sqlite_engine(path, busy_timeout=busy_timeout)
            checkpointer = engines.Checkpointer(path)
            return cls(engine, busy_timeout=busy_timeout, checkpointer=checkpointer, reserve=Reserve(path))
        engines.check_url(url)
        maintenance = engines.postgresql_engine(url, busy_timeout=busy_timeout, maintenance=True)
        engine = engines.postgresql_engine(url, busy_timeout=busy_timeout)
        database = cls(engine, busy_timeout=busy_timeout, maintenance=maintenance)
        try:
            await database.read(lambda connection: connection.execute(text("SELECT 1")))
        except (ServiceUnavailableError, ProgrammingError, ValueError) as error:
            await database.close()
            raise DatabaseOpenError(f"PostgreSQL cannot be used: {driver_message(error)}.") from error
        return database

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @property
    def failure(self) -> str | None:
        """The reason why one of the last transactions failed, a sentence that clients may read; None if none did."""
        return self.read_failure or self.write_failure

    async def upgrade(self) -> None:
        """Bring an empty or older database to this version's schema. Several processes may do so at once.

        Raises ``NewerDatabaseError`` and ``ForeignDatabaseError``.
        """
        await self._run(self._maintenance.execution_options(**{engines.MODE: "write"}), migration.upgrade, write=True)

    async def check(self) -> list[str]:
        """Return the problems of the database, a sentence each: of the schema, the file, the rows."""
        return await self._run(self._maintenance.execution_options(**{engines.MODE: "read"}), integrity.problems)

    async def read(self, transaction: Transaction[_T]) -> _T:
        """Run a read transaction; return its result. Raises ServiceUnavailableError."""
        return await self._run(self._modes["read"], transaction)

    async def write(self, transaction: Transaction[_T], *, durable: bool = True, urgent: bool = False) -> _T:
        """Run a write transaction and commit it; return its result. An exception rolls it back.

        Every transaction survives the death of this process, a ``durable`` one also a loss of power. An ``urgent`` one,
        which frees space or revokes rights, also works on a full disk, while the reserve lasts; it may run twice.
        Raises ServiceUnavailableError.
        """
        engine = self._modes["write" if durable else "volatile"]
        return await self._run(engine, transaction, write=True, reserve=self._reserve if urgent else None)

    async def reserve_room(self) -> None:
        """Reserve the space that urgent transactions need on a full disk. Call it regularly."""
        if self._reserve is not None:
            await self._reserve.fill()

    async def probe(self) -> None:
        """Check that the database can be read and written, without a lasting change.

        After a failed write it must accept :data:`PROBE_SIZE` bytes: a full disk may still have space for less. Raises
        ServiceUnavailableError.
        """
        await self.read(lambda connection: connection.execute(text("SELECT 1")))
        if self.write_failure is None:
            touch = update(projects).where(projects.c.id == DEFAULT_PROJECT).values(name=projects.c.name)
            await self.write(lambda connection: connection.execute(touch), durable=False)
        else:
            await self.write(_fill)
            await self.write(_clear)

    async def close(self) -> None:
        """Close all connections. No transaction may run."""
        if self._checkpointer is not None:
            await self._checkpointer.close()
        await greenlet_spawn(self._engine.dispose)
        if self._maintenance is not self._engine:
            await greenlet_spawn(self._maintenance.dispose)

    async def _run(
        self, engine: Engine, transaction: Transaction[_T], *, write: bool = False, reserve: Reserve | None = None
    ) -> _T:
        task = asyncio.create_task(self._transact(engine, transaction, write=write, reserve=reserve))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await _wait_for_end(task)
            raise

    async def _transact(
        self, engine: Engine, transaction: Transaction[_T], *, write: bool, reserve: Reserve | None
    ) -> _T:
        full: DBAPIError | None = None
        with self._record_failure(write=write), unavailable_on_failure():
            async with AsyncExitStack() as stack:
                if write and self._write_lock is not None:
                    async with asyncio.timeout(self._busy_timeout):
                        await stack.enter_async_context(self._write_lock)
                try:
                    result: _T = await greenlet_spawn(_committed, engine, transaction)
                except DBAPIError as error:
                    if reserve is None or not is_out_of_space(error):
                        raise
                    full, result = error, await _in_reserve(reserve, engine, transaction)
            if write and self._checkpointer is not None:
                self._checkpointer.count_write()
        if full is not None:  # other transactions still fail
            self.write_failure = failure_sentence(full)
        return result

    @contextmanager
    def _record_failure(self, *, write: bool) -> Iterator[None]:
        """Set or clear the failures after a transaction. A write transaction also reads."""
        try:
            yield
        except DatabaseUnavailableError as error:
            reason = error.message.removesuffix(TRY_AGAIN)
            if write:
                self.write_failure = reason
            else:
                self.read_failure = reason
            raise
        self.read_failure = None
        if write:
            self.write_failure = None


def _committed(engine: Engine, transaction: Transaction[_T]) -> _T:
    with engine.begin() as connection:
        return transaction(connection)


async def _in_reserve(reserve: Reserve, engine: Engine, transaction: Transaction[_T]) -> _T:
    async with reserve.released():
        result: _T = await greenlet_spawn(_committed, engine, partial(_without_zeroing, transaction))
    return result


def _without_zeroing(transaction: Transaction[_T], connection: Connection) -> _T:
    """Run a transaction without overwriting deleted rows with zeros, which would take more pages in the log."""
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar_one()
    connection.exec_driver_sql("PRAGMA secure_delete=FAST")
    try:
        return transaction(connection)
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete={before}")


def _fill(connection: Connection) -> None:
    """Write ``PROBE_SIZE`` bytes under an empty Idempotency-Key, which no request can have."""
    answer = bytes(PROBE_SIZE)
    row = {"project_id": DEFAULT_PROJECT, "key": "", "body_hash": "", "token": "", "answer": answer, "expires_at": 0}
    statement = engines.insert(connection, idempotency_keys).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["project_id", "key"], set_={"answer": answer}))


def _clear(connection: Connection) -> None:
    mine = and_(idempotency_keys.c.project_id == DEFAULT_PROJECT, idempotency_keys.c.key == "")
    connection.execute(delete(idempotency_keys).where(mine))


async def _wait_for_end(task: asyncio.Task[_T]) -> None:
    """Wait for the end of a task despite cancellations; drop its result."""
    with anyio.CancelScope(shield=True):
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
