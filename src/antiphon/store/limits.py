"""Rate limits of projects and keys, which hold across all processes that share the database.

Requests and tokens a minute follow the generic cell rate algorithm (ITU-T I.371; leaky bucket as a meter): for each
scope one moment is kept, at which its allowance will be full again. A charge moves it by cost / limit minutes; it may
never lie more than a minute ahead. Requests that run at once hold leases, which end by themselves when their process
dies.

The clock may step. Every row says when it was written: where that lies in the future the clock has stepped back, and
the row moves back as far, so that what is owed stays what it was. A step forward fills each allowance once. A process
keeps the leases of its own running requests whatever the clock says.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, select, true, update
from sqlalchemy.sql.schema import Column

from antiphon.errors import RateLimitError
from antiphon.protocol.rate_limits import Allowance, RateLimitState, rate_limit_headers
from antiphon.store.database import Database
from antiphon.store.engines import insert, unix_time
from antiphon.store.keys import Principal
from antiphon.store.schema import rate_leases, rate_limits

SECOND = 1_000_000
"""Microseconds. Times are whole numbers of them: sums of floats would drift."""
MINUTE = 60 * SECOND
LEASE = 60
"""Seconds after which the place of a process that died is free again."""
RENEW_INTERVAL = LEASE / 3
"""Seconds between two calls of :meth:`RateLimiter.renew`."""
CLOCK_TOLERANCE = 10 * SECOND
"""Microseconds that a row may lie in the future: a transaction may wait so long for a lock after it read the clock."""


class Limits(Struct, frozen=True, kw_only=True):
    """Each is at least 1, or None for no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


UNLIMITED = Limits()


class Admission(Struct, frozen=True, kw_only=True):
    """A request that was let in: what was charged for it, and what is left."""

    request_id: str
    scopes: tuple[tuple[str, Limits], ...]
    tokens: int
    state: RateLimitState


class _SteppedBackError(Exception):
    """The clock has stepped back since a row was written that refuses a request."""


class RateLimiter:
    """Lets requests in or refuses them. Every method raises ServiceUnavailableError when the database fails.

    Whoever owns it calls :meth:`renew` every :data:`RENEW_INTERVAL` seconds, or long requests lose their places.
    """

    def __init__(
        self,
        database: Database,
        *,
        holder: str,
        project: Limits = UNLIMITED,
        key: Limits = UNLIMITED,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Set the limits of every project and of every key; ``holder`` names this process, as no other is named.

        ``clock`` is in Unix seconds; without one it is the clock that the processes of this database share.
        """
        self._database = database
        self._holder = holder
        self._project = project
        self._key = key
        self._clock = clock
        self._running: dict[str, Admission] = {}

    @property
    def active(self) -> bool:
        """Whether anything is limited."""
        return (self._project, self._key) != (UNLIMITED, UNLIMITED)

    async def admit(self, request_id: str, principal: Principal, *, tokens: int) -> Admission:
        """Let a request in that may use ``tokens`` (an estimate), or raise RateLimitError.

        Each admission ends in one :meth:`settle`. A call that is cancelled leaves nothing behind but the charge.
        """
        scopes = self._scopes(principal)
        admission = Admission(request_id=request_id, scopes=scopes, tokens=tokens, state=RateLimitState())
        if not scopes:
            return admission
        try:
            state = await self._charged(admission)
        except asyncio.CancelledError:
            await self._release(admission)
            raise
        self._running[request_id] = admission
        return Admission(request_id=request_id, scopes=scopes, tokens=tokens, state=state)

    async def settle(self, admission: Admission, *, tokens: int) -> None:
        """End a request that used ``tokens``: charge what the estimate was short of, or give back; free its places."""
        # Even when the database fails: a place that is no longer renewed becomes free by itself.
        self._running.pop(admission.request_id, None)
        if admission.scopes:
            difference = tokens - admission.tokens
            await self._database.write(
                lambda connection: _settle(connection, admission, difference, self._now(connection)), durable=False
            )

    async def renew(self) -> None:
        """Keep the places of this process's requests for another :data:`LEASE` seconds."""
        if not self._running or {self._project.concurrent_requests, self._key.concurrent_requests} == {None}:
            return
        await self._database.write(self._renew, durable=False)

    async def _charged(self, admission: Admission) -> RateLimitState:
        """Charge for a request and give it its places; rows that the clock has left behind are mended first."""
        try:
            return await self._database.write(lambda connection: self._admit(connection, admission), durable=False)
        except _SteppedBackError:
            # In a transaction of its own: that of a refusal is undone.
            scopes = [scope for scope, _ in admission.scopes]
            await self._database.write(
                lambda connection: _move_back(connection, scopes, self._now(connection)), durable=False
            )
        return await self._charged(admission)

    def _now(self, connection: Connection) -> int:
        return int((unix_time(connection) if self._clock is None else self._clock()) * SECOND)

    def _admit(self, connection: Connection, admission: Admission) -> RateLimitState:
        states, now = [], self._now(connection)
        for scope, limits in admission.scopes:
            row = _charge(connection, scope, limits, admission.tokens, now)
            if row is None:
                raise _refusal(connection, scope, limits, admission.tokens, now)
            states.append(_state(row, limits, now))
            if limits.concurrent_requests is not None:
                running = self._count_running(connection, scope, limits.concurrent_requests, now)
                if running >= limits.concurrent_requests:
                    raise _crowded(limits.concurrent_requests, running, states[-1])
                _take_places(connection, [(scope, admission.request_id)], self._holder, now)
        return RateLimitState(
            requests=_scarcest(state.requests for state in states), tokens=_scarcest(state.tokens for state in states)
        )

    def _count_running(self, connection: Connection, scope: str, places: int, now: int) -> int:
        """Count the requests that hold a place; free the places of processes that died."""
        table = rate_leases.c
        rows = connection.execute(select(rate_leases).where(table.scope == scope)).all()
        dead = [row.request_id for row in rows if row.expires_at <= now and not self._runs(row)]
        if dead:
            connection.execute(delete(rate_leases).where(table.scope == scope, table.request_id.in_(dead)))
        running = len(rows) - len(dead)
        if running >= places and any(row.expires_at > _latest_end(now) for row in rows):
            raise _SteppedBackError
        return running

    def _runs(self, lease: Row[*tuple[Any, ...]]) -> bool:
        return lease.holder == self._holder and lease.request_id in self._running

    def _renew(self, connection: Connection) -> None:
        now, table = self._now(connection), rate_leases.c
        mine = and_(table.holder == self._holder, table.request_id.in_(sorted(self._running)))
        statement = update(rate_leases).where(mine).values(expires_at=now + LEASE * SECOND)
        renewed = {
            (row.scope, row.request_id)
            for row in connection.execute(statement.returning(table.scope, table.request_id))
        }
        # Those that are missing were taken for a dead process's by another one, when the clock stepped forward.
        missing = sorted(
            (scope, admission.request_id)
            for admission in self._running.values()
            for scope, limits in admission.scopes
            if limits.concurrent_requests is not None and (scope, admission.request_id) not in renewed
        )
        _take_places(connection, missing, self._holder, now)

    def _scopes(self, principal: Principal) -> tuple[tuple[str, Limits], ...]:
        """Name the limited scopes, always in the same order: two requests never wait for each other's rows."""
        scopes = [(f"key:{principal.key_id}", self._key)] if principal.key_id is not None else []
        scopes.append((f"project:{principal.project_id}", self._project))
        return tuple((scope, limits) for scope, limits in scopes if limits != UNLIMITED)

    async def _release(self, admission: Admission) -> None:
        await self._database.write(lambda connection: _free(connection, admission), durable=False)


def _cost(amount: int, limit: int | None) -> int:
    """Microseconds of a minute's allowance."""
    return 0 if limit is None else amount * MINUTE // limit


def _charge(connection: Connection, scope: str, limits: Limits, tokens: int, now: int) -> Row[*tuple[Any, ...]] | None:
    """Charge one request and its tokens in one statement, whole or not at all; None when a limit forbids it.

    The row stays locked until the transaction ends, which makes counting the places of the scope safe.
    """
    costs = {
        rate_limits.c.requests_full_at: _cost(1, limits.requests_per_minute),
        rate_limits.c.tokens_full_at: _cost(tokens, limits.tokens_per_minute),
    }
    if any(cost > MINUTE for cost in costs.values()):
        return None
    first = {column.name: now + cost for column, cost in costs.items()} | {"updated_at": now}
    later = {column.name: _from_now(column, now) + cost for column, cost in costs.items()}
    # What costs nothing passes, also where a settlement has left a debt.
    allowed = (later[column.name] <= now + MINUTE for column, cost in costs.items() if cost)
    statement = insert(connection, rate_limits).values(scope=scope, **first)
    statement = statement.on_conflict_do_update(
        index_elements=["scope"], set_=later | {"updated_at": now}, where=and_(true(), *allowed)
    )
    return connection.execute(statement.returning(rate_limits)).one_or_none()


def _from_now(column: Column[int], now: int) -> ColumnElement[int]:
    """The later of the moment and now: an allowance that is full stays full."""
    moment = _moved_back(column, now)
    return case((moment > now, moment), else_=now)


def _moved_back(column: Column[int], now: int) -> ColumnElement[int]:
    """The moment, moved back as far as the clock has stepped back since the row was written."""
    step = rate_limits.c.updated_at - now
    return case((step > CLOCK_TOLERANCE, column - step), else_=column)


def _latest_end(now: int) -> int:
    """When a lease ends at the latest, unless the clock has stepped back."""
    return now + LEASE * SECOND + CLOCK_TOLERANCE


def _move_back(connection: Connection, scopes: list[str], now: int) -> None:
    """Mend what was written before the clock stepped back."""
    limits, leases = rate_limits.c, rate_leases.c
    ahead = and_(limits.scope.in_(scopes), limits.updated_at > now + CLOCK_TOLERANCE)
    moved = {column.name: _moved_back(column, now) for column in (limits.requests_full_at, limits.tokens_full_at)}
    connection.execute(update(rate_limits).where(ahead).values(**moved, updated_at=now))
    ahead = and_(leases.scope.in_(scopes), leases.expires_at > _latest_end(now))
    connection.execute(update(rate_leases).where(ahead).values(expires_at=now + LEASE * SECOND))


def _take_places(connection: Connection, places: list[tuple[str, str]], holder: str, now: int) -> None:
    """Give each scope and request a lease."""
    if places:
        common = {"holder": holder, "expires_at": now + LEASE * SECOND}
        rows = [{"scope": scope, "request_id": request_id, **common} for scope, request_id in places]
        connection.execute(insert(connection, rate_leases).on_conflict_do_nothing(), rows)


def _crowded(places: int, running: int, state: RateLimitState) -> RateLimitError:
    message = f"Rate limit reached for concurrent requests: Limit {places}, Running {running}. Please try again."
    return RateLimitError(message, headers=rate_limit_headers(state))


def _refusal(connection: Connection, scope: str, limits: Limits, tokens: int, now: int) -> RateLimitError:
    """Say which limit was reached, and when the same request would pass."""
    row = connection.execute(select(rate_limits).where(rate_limits.c.scope == scope)).one_or_none()
    if row is not None and row.updated_at > now + CLOCK_TOLERANCE:
        raise _SteppedBackError
    kinds = (
        ("requests", limits.requests_per_minute, 1, row.requests_full_at if row else now),
        ("tokens", limits.tokens_per_minute, tokens, row.tokens_full_at if row else now),
    )
    state = _state(row, limits, now) if row else RateLimitState()
    waits = [(_wait(full_at, amount, limit, now), name, limit, amount) for name, limit, amount, full_at in kinds]
    wait, name, limit, amount = max(waits)
    if _cost(amount, limit) > MINUTE:
        message = f"Request too large for {name} per minute: Limit {limit}, Requested {amount}."
        never = {"x-should-retry": "false"}  # read by the official SDKs
        refusal = RateLimitError(message, headers=rate_limit_headers(state) | never)
        refusal.retry_after = None
        return refusal
    seconds = max(wait / SECOND, 0.001)
    message = (
        f"Rate limit reached for {name} per minute: Limit {limit}, Requested {amount}. "
        f"Please try again in {seconds:.3f}s."
    )
    return RateLimitError(message, retry_after=seconds, headers=rate_limit_headers(state))


def _wait(full_at: int, amount: int, limit: int | None, now: int) -> int:
    """Microseconds until a charge of ``amount`` fits."""
    return max(full_at, now) + _cost(amount, limit) - MINUTE - now


def _state(row: Row[*tuple[Any, ...]], limits: Limits, now: int) -> RateLimitState:
    return RateLimitState(
        requests=_allowance(row.requests_full_at, limits.requests_per_minute, now),
        tokens=_allowance(row.tokens_full_at, limits.tokens_per_minute, now),
    )


def _allowance(full_at: int, limit: int | None, now: int) -> Allowance | None:
    if limit is None:
        return None
    ahead = max(full_at - now, 0)
    return Allowance(limit=limit, remaining=max(MINUTE - ahead, 0) * limit // MINUTE, reset=ahead / SECOND)


def _scarcest(allowances: Iterable[Allowance | None]) -> Allowance | None:
    present = [allowance for allowance in allowances if allowance is not None]
    return min(present, key=lambda allowance: allowance.remaining, default=None)


def _settle(connection: Connection, admission: Admission, tokens: int, now: int) -> None:
    table = rate_limits.c
    for scope, limits in admission.scopes:
        if difference := _cost(tokens, limits.tokens_per_minute):
            moments = {
                "tokens_full_at": _from_now(table.tokens_full_at, now) + difference,
                "requests_full_at": _moved_back(table.requests_full_at, now),
                "updated_at": now,
            }
            connection.execute(update(rate_limits).where(table.scope == scope).values(**moments))
    _free(connection, admission)


def _free(connection: Connection, admission: Admission) -> None:
    table = rate_leases.c
    scopes = [scope for scope, _ in admission.scopes]
    connection.execute(delete(rate_leases).where(table.scope.in_(scopes), table.request_id == admission.request_id))
