"""Rate limits of projects and keys, which hold across all processes that share the database.

Requests and tokens a minute follow the generic cell rate algorithm (ITU-T I.371; leaky bucket as a meter): for each
scope one moment is kept, at which its allowance will be full again. A charge moves it by cost / limit minutes; it may
never lie more than a minute ahead. Requests that run at once hold leases, which end by themselves when their process
dies.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, select, true, update
from sqlalchemy.sql.schema import Column

from antiphon.errors import RateLimitError
from antiphon.protocol.rate_limits import Allowance, RateLimitState, rate_limit_headers
from antiphon.store.database import Database
from antiphon.store.engines import insert
from antiphon.store.keys import Principal
from antiphon.store.schema import rate_leases, rate_limits

SECOND = 1_000_000
"""Microseconds. Times are whole numbers of them: sums of floats would drift."""
MINUTE = 60 * SECOND
LEASE = 60
"""Seconds after which the place of a process that died is free again."""
RENEW_INTERVAL = LEASE / 3
"""Seconds between two calls of :meth:`RateLimiter.renew`."""
BUSY_RETRY_AFTER = 1.0
"""Seconds. Nobody knows when a running request ends."""


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Set the limits of every project and of every key; ``holder`` names this process, as no other is named."""
        self._database = database
        self._holder = holder
        self._project = project
        self._key = key
        self._clock = clock
        self._running: set[str] = set()

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
        now = self._now()
        try:
            state = await self._database.write(
                lambda connection: _admit(connection, admission, self._holder, now), durable=False
            )
        except BaseException as error:
            if not isinstance(error, Exception):
                await self._release(admission)
            raise
        self._running.add(request_id)
        return Admission(request_id=request_id, scopes=scopes, tokens=tokens, state=state)

    async def settle(self, admission: Admission, *, tokens: int) -> None:
        """End a request that used ``tokens``: charge what the estimate was short of, or give back; free its places."""
        # Even when the database fails: a place that is no longer renewed becomes free by itself.
        self._running.discard(admission.request_id)
        if admission.scopes:
            difference, now = tokens - admission.tokens, self._now()
            await self._database.write(
                lambda connection: _settle(connection, admission, difference, now), durable=False
            )

    async def renew(self) -> None:
        """Keep the places of this process's requests for another :data:`LEASE` seconds."""
        if not self._running or {self._project.concurrent_requests, self._key.concurrent_requests} == {None}:
            return
        mine = and_(rate_leases.c.holder == self._holder, rate_leases.c.request_id.in_(sorted(self._running)))
        statement = update(rate_leases).where(mine).values(expires_at=self._now() + LEASE * SECOND)
        await self._database.write(lambda connection: connection.execute(statement), durable=False)

    def _now(self) -> int:
        return int(self._clock() * SECOND)

    def _scopes(self, principal: Principal) -> tuple[tuple[str, Limits], ...]:
        """Name the limited scopes, always in the same order: two requests never wait for each other's rows."""
        scopes = [(f"key:{principal.key_id}", self._key)] if principal.key_id is not None else []
        scopes.append((f"project:{principal.project_id}", self._project))
        return tuple((scope, limits) for scope, limits in scopes if limits != UNLIMITED)

    async def _release(self, admission: Admission) -> None:
        await self._database.write(lambda connection: _free(connection, admission), durable=False)


def _admit(connection: Connection, admission: Admission, holder: str, now: int) -> RateLimitState:
    states = []
    for scope, limits in admission.scopes:
        row = _charge(connection, scope, limits, admission.tokens, now)
        if row is None:
            raise _refusal(connection, scope, limits, admission.tokens, now)
        states.append(_state(row, limits, now))
        if limits.concurrent_requests is not None:
            running = _running(connection, scope, now)
            if running >= limits.concurrent_requests:
                raise _crowded(limits.concurrent_requests, running, states[-1])
            _take_place(connection, admission.request_id, scope, holder, now)
    return RateLimitState(
        requests=_scarcest(state.requests for state in states), tokens=_scarcest(state.tokens for state in states)
    )


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
    first = {column.name: now + cost for column, cost in costs.items()}
    later = {column.name: _from_now(column, now) + cost for column, cost in costs.items()}
    # What costs nothing passes, also where a settlement has left a debt.
    allowed = (later[column.name] <= now + MINUTE for column, cost in costs.items() if cost)
    statement = insert(connection, rate_limits).values(scope=scope, **first)
    statement = statement.on_conflict_do_update(index_elements=["scope"], set_=later, where=and_(true(), *allowed))
    return connection.execute(statement.returning(rate_limits)).one_or_none()


def _from_now(column: Column[int], now: int) -> ColumnElement[int]:
    """The later of the moment and now: an allowance that is full stays full."""
    return case((column > now, column), else_=now)


def _running(connection: Connection, scope: str, now: int) -> int:
    table = rate_leases.c
    connection.execute(delete(rate_leases).where(table.scope == scope, table.expires_at <= now))
    return connection.execute(select(func.count()).where(table.scope == scope)).scalar_one()


def _take_place(connection: Connection, request_id: str, scope: str, holder: str, now: int) -> None:
    values = {"scope": scope, "request_id": request_id, "holder": holder, "expires_at": now + LEASE * SECOND}
    connection.execute(rate_leases.insert(), values)


def _crowded(places: int, running: int, state: RateLimitState) -> RateLimitError:
    message = f"Rate limit reached for concurrent requests: Limit {places}, Running {running}. Please try again."
    return RateLimitError(message, retry_after=BUSY_RETRY_AFTER, headers=rate_limit_headers(state))


def _refusal(connection: Connection, scope: str, limits: Limits, tokens: int, now: int) -> RateLimitError:
    """Say which limit was reached, and when the same request would pass."""
    row = connection.execute(select(rate_limits).where(rate_limits.c.scope == scope)).one_or_none()
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
        return RateLimitError(message, headers=rate_limit_headers(state) | never)
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
    for scope, limits in admission.scopes:
        if difference := _cost(tokens, limits.tokens_per_minute):
            moment = _from_now(rate_limits.c.tokens_full_at, now) + difference
            connection.execute(update(rate_limits).where(rate_limits.c.scope == scope).values(tokens_full_at=moment))
    _free(connection, admission)


def _free(connection: Connection, admission: Admission) -> None:
    table = rate_leases.c
    scopes = [scope for scope, _ in admission.scopes]
    connection.execute(delete(rate_leases).where(table.scope.in_(scopes), table.request_id == admission.request_id))
