"""Repeated requests: the first answer under an ``Idempotency-Key`` is given again for a day.

A request that is being answered holds its key by a lease, which its process renews: when the process dies, the lease
ends and a repeat starts anew.
"""

import os
import time
from collections.abc import Callable

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, delete, select, tuple_, update

from antiphon.store.database import Database
from antiphon.store.engines import insert
from antiphon.store.identifiers import RandomBytes, random_text
from antiphon.store.schema import idempotency_keys

LIFETIME = 24 * 3600
"""Seconds that an answer is kept."""
LEASE = 60
"""Seconds that an unfinished request holds its key without being renewed."""
RENEW_INTERVAL = LEASE / 3
"""Seconds between two calls of :meth:`IdempotencyStore.renew`."""
PURGE_BATCH = 200
TOKEN_LENGTH = 22


class New(Struct, frozen=True, kw_only=True):
    """The first request of this key: answer it, then finish or abandon it."""

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

    Whoever owns it calls :meth:`renew` every :data:`RENEW_INTERVAL` seconds, and :meth:`purge` now and then.
    """

    def __init__(
        self,
        database: Database,
        *,
        holder: str,
        clock: Callable[[], float] = time.time,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        """``holder`` names this process, as no other is named; ``clock`` is in Unix seconds."""
        self._database = database
        self._holder = holder
        self._clock = clock
        self._random_bytes = random_bytes
        self._running: set[str] = set()

    async def begin(self, project_id: str, key: str, body_hash: str) -> Beginning:
        """Say what to do with a request whose body has this hash. A call that is cancelled holds nothing."""
        new = New(project_id=project_id, key=key, token=random_text(TOKEN_LENGTH, self._random_bytes))
        now = int(self._clock())
        try:
            beginning = await self._database.write(
                lambda connection: _begin(connection, new, body_hash, self._holder, now), durable=False
            )
        except BaseException as error:
            if not isinstance(error, Exception):
                await self.abandon(new)
            raise
        if beginning is new:
            self._running.add(new.token)
        return beginning

    async def finish(self, new: New, *, status: int, answer: bytes) -> bool:
        """Keep the answer for :data:`LIFETIME` seconds from now; False when the lease ended and another took over."""
        self._running.discard(new.token)
        values = {"holder": None, "status": status, "answer": answer, "expires_at": int(self._clock()) + LIFETIME}
        statement = update(idempotency_keys).where(_held(new)).values(**values).returning(idempotency_keys.c.key)
        return await self._database.write(lambda connection: connection.execute(statement).one_or_none() is not None)

    async def abandon(self, new: New) -> None:
        """Give the key up, so that a repeat starts anew: the request failed."""
        # Even when the database fails: a key that is no longer held becomes free by itself.
        self._running.discard(new.token)
        statement = delete(idempotency_keys).where(_held(new))
        await self._database.write(lambda connection: connection.execute(statement), durable=False)

    async def renew(self) -> None:
        """Hold the keys of this process's unfinished requests for another :data:`LEASE` seconds."""
        if not self._running:
            return
        statement = (
            update(idempotency_keys)
            .where(idempotency_keys.c.holder == self._holder, idempotency_keys.c.token.in_(sorted(self._running)))
            .values(expires_at=int(self._clock()) + LEASE)
        )
        await self._database.write(lambda connection: connection.execute(statement), durable=False)

    async def purge(self) -> int:
        """Delete what has expired, in bounded batches; return how many keys."""
        table, now, total = idempotency_keys.c, int(self._clock()), 0
        key = (table.project_id, table.key)
        expired = select(*key).where(table.expires_at <= now).limit(PURGE_BATCH)
        statement = delete(idempotency_keys).where(tuple_(*key).in_(expired)).returning(table.key)
        while deleted := await self._database.write(
            lambda connection: len(connection.execute(statement).all()), durable=False
        ):
            total += deleted
        return total


def _is(new: New) -> ColumnElement[bool]:
    return and_(idempotency_keys.c.project_id == new.project_id, idempotency_keys.c.key == new.key)


def _held(new: New) -> ColumnElement[bool]:
    return and_(_is(new), idempotency_keys.c.token == new.token, idempotency_keys.c.holder.is_not(None))


def _begin(connection: Connection, new: New, body_hash: str, holder: str, now: int) -> Beginning:
    table = idempotency_keys
    values = {"body_hash": body_hash, "token": new.token, "holder": holder, "expires_at": now + LEASE}
    statement = insert(connection, table).values(project_id=new.project_id, key=new.key, **values)
    taken_over = values | {"status": None, "answer": None}
    statement = statement.on_conflict_do_update(
        index_elements=["project_id", "key"], set_=taken_over, where=table.c.expires_at <= now
    )
    if connection.execute(statement.returning(table.c.token)).one_or_none() is not None:
        return new
    row = connection.execute(select(table).where(_is(new))).one_or_none()
    if row is None:  # abandoned between the two statements, which PostgreSQL allows
        return InProgress()
    if row.body_hash != body_hash:
        return Mismatch()
    return InProgress() if row.answer is None else Done(status=row.status, answer=row.answer)
