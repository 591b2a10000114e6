"""Leases of places: running requests hold them under limits of concurrent requests.

The lease of a process that died expires. A process keeps the leases of its own running requests at any time of the
clock. A lease that expires later than a new one was written before the clock stepped back. Times are Unix microseconds.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, not_, select, tuple_, update
from sqlalchemy.sql.schema import Column

from antiphon.store.engines import insert
from antiphon.store.schema import rate_leases

SECOND = 1_000_000
"""Microseconds. Times are integers, because sums of floats would drift."""
LEASE = 60
"""Seconds until a lease that is not renewed expires."""
CLOCK_TOLERANCE = 10 * SECOND
"""Microseconds that a row may be in the future: a transaction may wait for a lock after it has read the clock."""

Place = tuple[str, str]
"""A scope and the id of a running request."""


class SteppedBackError(Exception):
    """The clock has stepped back since the row that refuses a request was written."""


class RateLeases:
    """The leases of one process. The caller opens the transactions."""

    def __init__(self, holder: str) -> None:
        """``holder`` is a unique name of this process."""
        self._holder = holder
        self._held: dict[str, Sequence[str]] = {}

    @property
    def held(self) -> bool:
        """Whether any request of this process holds a place."""
        return bool(self._held)

    def hold(self, request_id: str, scopes: Sequence[str]) -> None:
        """Renew the places of a request in these scopes from now on."""
        if scopes:
            self._held[request_id] = scopes

    def release(self, request_id: str) -> None:
        """Stop renewing the places of a request."""
        self._held.pop(request_id, None)

    def count(self, connection: Connection, scope: str, places: int, now: int) -> int:
        """Return the number of leases of a scope; delete expired ones.

        Raises SteppedBackError when all ``places`` are taken and one lease is from before a step of the clock.
        """
        table = rate_leases.c
        rows = connection.execute(select(rate_leases).where(table.scope == scope)).all()
        dead = [row.request_id for row in rows if row.expires_at <= now and not self._runs(row)]
        if dead:
            connection.execute(delete(rate_leases).where(table.scope == scope, table.request_id.in_(dead)))
        running = len(rows) - len(dead)
        if running >= places and any(row.expires_at > _latest_end(now) for row in rows):
            raise SteppedBackError
        return running

    def take(self, connection: Connection, places: Iterable[Place], now: int) -> None:
        """Take a lease of each place."""
        common = {"holder": self._holder, "expires_at": now + LEASE * SECOND}
        rows = [{"scope": scope, "request_id": request_id, **common} for scope, request_id in places]
        if rows:
            connection.execute(insert(connection, rate_leases).on_conflict_do_nothing(), rows)

    def renew(self, connection: Connection, now: int) -> None:
        """Renew the leases of this process for :data:`LEASE` seconds."""
        table = rate_leases.c
        statement = update(rate_leases).where(self._mine()).values(expires_at=now + LEASE * SECOND)
        renewed = {
            (row.scope, row.request_id)
            for row in connection.execute(statement.returning(table.scope, table.request_id))
        }
        held = {(scope, request_id) for request_id, scopes in self._held.items() for scope in scopes}
        # Another process has deleted the missing ones as expired after the clock stepped forward.
        self.take(connection, sorted(held - renewed), now)

    def sweep(
        self, connection: Connection, within: Callable[[Column[str]], ColumnElement[bool]], now: int, limit: int
    ) -> int:
        """Delete up to ``limit`` expired leases in the scopes ``within``; return their number."""
        table = rate_leases.c
        key = (table.scope, table.request_id)
        dead = and_(within(table.scope), table.expires_at <= now, not_(self._mine()))
        ended = select(*key).where(dead).limit(limit).with_for_update(skip_locked=True)
        return len(connection.execute(delete(rate_leases).where(tuple_(*key).in_(ended)).returning(*key)).all())

    def _mine(self) -> ColumnElement[bool]:
        table = rate_leases.c
        return and_(table.holder == self._holder, table.request_id.in_(sorted(self._held)))

    def _runs(self, lease: Row[*tuple[Any, ...]]) -> bool:
        return lease.holder == self._holder and lease.request_id in self._held


def free_places(connection: Connection, scopes: Sequence[str], request_id: str) -> None:
    """Delete the leases of a request."""
    table = rate_leases.c
    connection.execute(delete(rate_leases).where(table.scope.in_(scopes), table.request_id == request_id))


def move_leases_back(connection: Connection, scopes: Sequence[str], now: int) -> None:
    """Limit the leases from before a step of the clock to :data:`LEASE` seconds from now."""
    table = rate_leases.c
    ahead = and_(table.scope.in_(scopes), table.expires_at > _latest_end(now))
    connection.execute(update(rate_leases).where(ahead).values(expires_at=now + LEASE * SECOND))


def _latest_end(now: int) -> int:
    """Return the latest possible end of a lease, unless the clock has stepped back."""
    return now + LEASE * SECOND + CLOCK_TOLERANCE
