"""The database: open, upgrade, check, and transactions that are whole or not at all.

A transaction is a function of a connection: it is run from BEGIN to COMMIT even when the task that waits for it is
cancelled, so that no half of one is left behind and no connection is lost.
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
    out_of_space,
    sentence,
    unavailable_on_failure,
)
from antiphon.store.reserve import Reserve
from antiphon.store.schema import DEFAULT_PROJECT, idempotency_keys, projects

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another writer before the request fails."""
PROBE_SIZE = 64 * 1024
"""Bytes that a database must take before it counts as mended."""

_T = TypeVar("_T")
Transaction = Callable[[Connection], _T]


class Database:
    """SQLite in one file, or PostgreSQL. Several processes may have it open at the same time."""

    def __init__(
        self,
        engine: Engine,
        *,
        busy_timeout: float,
        patient: Engine | None = None,
        checkpointer: engines.Checkpointer | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        """Take the ``patient`` engine for upgrades and checks; callers use :meth:`open`."""
        self._engine = engine
        self._patient = patient or engine
        self._modes = {mode: engine.execution_options(**{engines.MODE: mode}) for mode in engines.MODES}
        self._busy_timeout = busy_timeout
        self._checkpointer = checkpointer
        self._reserve = reserve
        self.read_failure: str | None = None
        """Why the last transaction that changes nothing failed, a sentence; None after one that did not."""
        self.write_failure: str | None = None
        """The same of the last one that changes something."""
        # SQLite has one writer and no queue: its waiters sleep and try again, and some never get their turn.
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    async def open(cls, url: str | None, *, data_dir: Path, busy_timeout: float = BUSY_TIMEOUT) -> Self:
        """Open ``postgresql://…``, or SQLite in ``data_dir`` when ``url`` is None. :meth:`upgrade` comes next.

        Raises ``StoreError`` with a message for the operator.
        """
        if url is None:
            path = await anyio.to_thread.run_sync(lambda: engines.prepare_sqlite(data_dir, busy_timeout=busy_timeout))
            engine = engines.sqlite_engine(path, busy_timeout=busy_timeout)
            checkpointer = engines.Checkpointer(path)
            return cls(engine, busy_timeout=busy_timeout, checkpointer=checkpointer, reserve=Reserve(path))
        engines.check_url(url)
        patient = engines.postgresql_engine(url, busy_timeout=busy_timeout, patient=True)
        database = cls(
            engines.postgresql_engine(url, busy_timeout=busy_timeout), busy_timeout=busy_timeout, patient=patient
        )
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
        """What the database fails at, as far as its last transactions have shown: a sentence for anybody, or None."""
        return self.read_failure or self.write_failure

    async def upgrade(self) -> None:
        """Bring an empty or older database to this version's schema; several processes may try at once.

        Raises ``NewerDatabaseError`` and ``ForeignDatabaseError``.
        """
        await self._run(self._patient.execution_options(**{engines.MODE: "write"}), migration.upgrade, alone=True)

    async def check(self) -> list[str]:
        """List what is wrong with the database, a sentence each: the schema, the file, orphans, half rows."""
        return await self._run(self._patient.execution_options(**{engines.MODE: "read"}), integrity.problems)

    async def read(self, transaction: Transaction[_T]) -> _T:
        """Run a transaction that changes nothing. Raises ServiceUnavailableError."""
        return await self._run(self._modes["read"], transaction)

    async def write(self, transaction: Transaction[_T], *, durable: bool = True, urgent: bool = False) -> _T:
        """Run a transaction; it is committed when this returns, and undone when it raises.

        A ``durable`` one survives a loss of power; any survives the death of this process. An ``urgent`` one, which
        frees room or takes rights away, works on a full disk as well, while the reserve lasts; it may be run twice.
        Raises ServiceUnavailableError.
        """
        engine = self._modes["write" if durable else "volatile"]
        return await self._run(engine, transaction, alone=True, reserve=self._reserve if urgent else None)

    async def reserve_room(self) -> None:
        """Reserve the room that urgent transactions need on a full disk; call it now and then."""
        if self._reserve is not None:
            await self._reserve.fill()

    async def probe(self) -> None:
        """Find out whether the database can be read and written, by a change that changes nothing.

        While it is known to fail, it must take as much as a long answer: a full disk still has room for little. Raises
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
        """Close all connections; nothing may be running."""
        if self._checkpointer is not None:
            await self._checkpointer.close()
        await greenlet_spawn(self._engine.dispose)
        if self._patient is not self._engine:
            await greenlet_spawn(self._patient.dispose)

    async def _run(
        self, engine: Engine, transaction: Transaction[_T], *, alone: bool = False, reserve: Reserve | None = None
    ) -> _T:
        task = asyncio.create_task(self._transact(engine, transaction, alone=alone, reserve=reserve))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await _finished(task)
            raise

    async def _transact(
        self, engine: Engine, transaction: Transaction[_T], *, alone: bool, reserve: Reserve | None
    ) -> _T:
        full: DBAPIError | None = None
        with self._noted(write=alone), unavailable_on_failure():
            async with AsyncExitStack() as stack:
                if alone and self._turn is not None:
                    async with asyncio.timeout(self._busy_timeout):
                        await stack.enter_async_context(self._turn)
                try:
                    result: _T = await greenlet_spawn(_committed, engine, transaction)
                except DBAPIError as error:
                    if reserve is None or not out_of_space(error):
                        raise
                    full, result = error, await _in_reserve(reserve, engine, transaction)
            if alone and self._checkpointer is not None:
                self._checkpointer.note_write()
        if full is not None:  # for all others it is
            self.write_failure = sentence(full)
        return result

    @contextmanager
    def _noted(self, *, write: bool) -> Iterator[None]:
        """Take note of how a transaction ends. One that changes something reads, too."""
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
        result: _T = await greenlet_spawn(_committed, engine, partial(_sparing, transaction))
    return result


def _sparing(transaction: Transaction[_T], connection: Connection) -> _T:
    """Run a transaction without writing zeros over what it deletes, which takes as many pages in the log."""
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar_one()
    connection.exec_driver_sql("PRAGMA secure_delete=FAST")
    try:
        return transaction(connection)
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete={before}")


def _fill(connection: Connection) -> None:
    """Write ``PROBE_SIZE`` bytes under an Idempotency-Key that no request can have; several processes may."""
    answer = bytes(PROBE_SIZE)
    row = {"project_id": DEFAULT_PROJECT, "key": "", "body_hash": "", "token": "", "answer": answer, "expires_at": 0}
    statement = engines.insert(connection, idempotency_keys).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["project_id", "key"], set_={"answer": answer}))


def _clear(connection: Connection) -> None:
    mine = and_(idempotency_keys.c.project_id == DEFAULT_PROJECT, idempotency_keys.c.key == "")
    connection.execute(delete(idempotency_keys).where(mine))


async def _finished(task: asyncio.Task[_T]) -> None:
    """Wait for the end of a task whose result nobody wants, whatever else is cancelled meanwhile."""
    with anyio.CancelScope(shield=True):
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
