"""Idempotent requests: the answer to the first request with an ``Idempotency-Key`` is kept for a day.

A request that is being answered has a lease of its key, which its process renews. When the process dies, the lease
expires, and the next request with the key is answered anew.

The clock may step back. An ``expires_at`` too far in the future was written before the step, and is moved back. A
process keeps the leases of its own running requests at any time of the clock.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, select, tuple_, update

from antiphon.store.database import Database
from antiphon.store.engines import insert, unix_time
from antiphon.store.identifiers import RandomBytes, random_text
from antiphon.store.schema import idempotency_keys

LIFETIME = 24 * 3600
"""Seconds that an answer is kept."""
LEASE = 60
"""Seconds until a lease that is not renewed expires."""
RENEW_INTERVAL = LEASE / 3
"""Seconds between two calls of :meth:`IdempotencyStore.renew`."""
CLOCK_TOLERANCE = 10
"""Seconds that ``expires_at`` may be too late: a transaction may wait for a lock after it has read the clock."""
PURGE_BATCH = 200
TOKEN_LENGTH = 22


class New(Struct, frozen=True, kw_only=True):
    """The first request with this key: answer it, then finish or abandon it."""

    project_id: str
    key: str
    token: str


class InProgress(Struct, frozen=True):
    """The first request is still being answered."""


class Done(Struct, frozen=True, kw_only=True):
    """The first answer: its HTTP status and its body."""

    status: int
    answer: bytes


class Mismatch(Struct, frozen=True):
    """The key was used for a request with another body."""


Beginning = New | InProgress | Done | Mismatch


class IdempotencyStore:
    """The answers by key. Every method raises ServiceUnavailableError when the database fails.

    Its owner calls :meth:`renew` every :data:`RENEW_INTERVAL` seconds, and :meth:`purge` regularly.
    """

    def __init__(
        self,
        database: Database,
        *,
        holder: str,
        clock: Callable[[], float] | None = None,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        """``holder`` is a unique name of this process.

        ``clock`` returns Unix seconds; the default is :func:`antiphon.store.engines.unix_time`.
        """
        self._database = database
        self._holder = holder
        self._clock = clock
        self._random_bytes = random_bytes
        self._running: set[str] = set()

    async def begin(self, project_id: str, key: str, body_hash: str) -> Beginning:
        """Return the state of a key for a request whose body has this hash. A cancelled call leaves no lease."""
        new = New(project_id=project_id, key=key, token=random_text(TOKEN_LENGTH, self._random_bytes))
        try:
            beginning = await self._database.write(
                lambda connection: self._begin(connection, new, body_hash), durable=False
            )
        except asyncio.CancelledError:
            await self.abandon(new)
            raise
        if beginning is new:
            self._running.add(new.token)
        return beginning

    async def finish(self, new: New, *, status: int, answer: bytes) -> bool:
        """Keep the answer for :data:`LIFETIME` seconds; return False if another request has taken the key over."""
        self._running.discard(new.token)
        return await self._database.write(lambda connection: self._finish(connection, new, status, answer))

    async def abandon(self, new: New) -> None:
        """Release the key of a failed request, so that the next request with it is answered anew."""
        # Before the transaction, which may fail: without renewals the lease expires.
        self._running.discard(new.token)
        statement = delete(idempotency_keys).where(_held(new))
        await self._database.write(lambda connection: connection.execute(statement), durable=False)

    async def renew(self) -> None:
        """Renew the leases of this process's running requests for :data:`LEASE` seconds."""
        if not self._running:
            return
        await self._database.write(self._renew, durable=False)

    async def purge(self) -> int:
        """Delete expired keys in batches; return their number."""
        await self._database.write(self._move_back, durable=False, urgent=True)
        total = 0
        while deleted := await self._database.write(self._purge_batch, durable=False, urgent=True):
            total += deleted
        return total

    def _now(self, connection: Connection) -> int:
        return int(unix_time(connection) if self._clock is None else self._clock())

    def _begin(self, connection: Connection, new: New, body_hash: str) -> Beginning:
        table, now = idempotency_keys, self._now(connection)
        held = {"body_hash": body_hash, "token": new.token, "holder": self._holder, "expires_at": now + LEASE}
        statement = insert(connection, table).values(project_id=new.project_id, key=new.key, **held)
        if connection.execute(statement.on_conflict_do_nothing().returning(table.c.token)).one_or_none() is not None:
            return new
        row = connection.execute(select(table).where(_is(new)).with_for_update()).one_or_none()
        if row is None:  # abandoned between the two statements, which PostgreSQL allows
            return InProgress()
        if self._is_over(row, now):
            taken_over = held | {"status": None, "answer": None}
            connection.execute(update(table).where(_is(new)).values(**taken_over))
            return new
        if row.expires_at > _latest_end(row, now):
            connection.execute(update(table).where(_is(new)).values(expires_at=now + _lifetime(row)))
        if row.body_hash != body_hash:
            return Mismatch()
        return InProgress() if row.answer is None else Done(status=row.status, answer=row.answer)

    def _is_over(self, row: Row[*tuple[Any, ...]], now: int) -> bool:
        return bool(row.expires_at <= now) and row.token not in self._running

    def _finish(self, connection: Connection, new: New, status: int, answer: bytes) -> bool:
        values = {"holder": None, "status": status, "answer": answer, "expires_at": self._now(connection) + LIFETIME}
        statement = update(idempotency_keys).where(_held(new)).values(**values).returning(idempotency_keys.c.key)
        return connection.execute(statement).one_or_none() is not None

    def _renew(self, connection: Connection) -> None:
        table = idempotency_keys.c
        mine = and_(table.holder == self._holder, table.token.in_(sorted(self._running)))
        connection.execute(update(idempotency_keys).where(mine).values(expires_at=self._now(connection) + LEASE))

    def _move_back(self, connection: Connection) -> None:
        """Limit the answers that were kept before the clock stepped back to a day from now."""
        table, end = idempotency_keys.c, self._now(connection) + LIFETIME
        late = table.expires_at > end + CLOCK_TOLERANCE
        connection.execute(update(idempotency_keys).where(late).values(expires_at=end))

    def _purge_batch(self, connection: Connection) -> int:
        table = idempotency_keys.c
        key = (table.project_id, table.key)
        over = and_(table.expires_at <= self._now(connection), table.token.not_in(sorted(self._running)))
        expired = select(*key).where(over).limit(PURGE_BATCH)
        statement = delete(idempotency_keys).where(tuple_(*key).in_(expired)).returning(table.key)
        return len(connection.execute(statement).all())


def _is(new: New) -> ColumnElement[bool]:
    return and_(idempotency_keys.c.project_id == new.project_id, idempotency_keys.c.key == new.key)


def _held(new: New) -> ColumnElement[bool]:
    return and_(_is(new), idempotency_keys.c.token == new.token, idempotency_keys.c.holder.is_not(None))


def _lifetime(row: Row[*tuple[Any, ...]]) -> int:
    return LIFETIME if row.holder is None else LEASE


def _latest_end(row: Row[*tuple[Any, ...]], now: int) -> int:
    """Return the latest possible ``expires_at`` of the row, unless the clock has stepped back."""
    return now + _lifetime(row) + CLOCK_TOLERANCE
