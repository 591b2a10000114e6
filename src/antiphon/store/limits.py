"""Rate limits of projects, keys and end users, shared by all processes of the database.

Requests and tokens per minute follow the generic cell rate algorithm (ITU-T I.371; leaky bucket as a meter): a row has
the time at which the scope's allowance is full again. A charge moves this time by cost / limit minutes, to at most one
minute from now. Concurrent requests have leases, which expire when their process dies.

The clock may step. If a row's ``updated_at`` is in the future, the clock has stepped back; the row's times are moved
back as far, so that charges stay the same. A step forward fills each allowance once.
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
from antiphon.store.rate_leases import (
    CLOCK_TOLERANCE,
    LEASE,
    SECOND,
    RateLeases,
    SteppedBackError,
    free_places,
    move_leases_back,
)
from antiphon.store.schema import rate_limits

MINUTE = 60 * SECOND
RENEW_INTERVAL = LEASE / 3
"""Seconds between two calls of :meth:`RateLimiter.renew`, and of :meth:`RateLimiter.sweep`."""
SWEEP_BATCH = 500
"""Rows of a table that one transaction of a sweep deletes."""
END_USER = "end_user:"
"""The prefix of the scope of an end user."""
AFTER_END_USERS = "end_user;"
"""The first text after the scopes of all end users, in code-point order."""


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of a scope. Each is at least 1, or None for no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


UNLIMITED = Limits()


class Admission(Struct, frozen=True, kw_only=True):
    """An admitted request: its charge, and the rest of its limits."""

    request_id: str
    scopes: tuple[tuple[str, Limits], ...]
    tokens: int
    state: RateLimitState


class RateLimiter:
    """Admits or refuses requests. Every method raises ServiceUnavailableError when the database fails.

    Its owner calls :meth:`renew` every :data:`RENEW_INTERVAL` seconds, without which leases of long requests expire,
    and :meth:`sweep` as often.
    """

    def __init__(
        self,
        database: Database,
        *,
        holder: str,
        project: Limits = UNLIMITED,
        key: Limits = UNLIMITED,
        end_user: Limits = UNLIMITED,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``project``, ``key`` and ``end_user`` are the limits of each. ``holder`` is a unique name of this process.

        ``clock`` returns Unix seconds; the default is :func:`antiphon.store.engines.unix_time`.
        """
        self._database = database
        self._project = project
        self._key = key
        self._end_user = end_user
        self._clock = clock
        self._leases = RateLeases(holder)

    @property
    def active(self) -> bool:
        """Whether there are any limits."""
        return any(limits != UNLIMITED for limits in (self._project, self._key, self._end_user))

    async def admit(
        self, request_id: str, principal: Principal, *, tokens: int, end_user: str | None = None
    ) -> Admission:
        """Admit a request that may use ``tokens`` (an estimate), or raise RateLimitError.

        ``end_user`` is a name that is unique among all projects; None is not limited. Call :meth:`settle` once for each
        admission. A cancelled call leaves no lease, only the charge.
        """
        scopes = self._scopes(principal, end_user)
        admission = Admission(request_id=request_id, scopes=scopes, tokens=tokens, state=RateLimitState())
        if not scopes:
            return admission
        try:
            state = await self._charged(admission)
        except asyncio.CancelledError:
            await self._release(admission)
            raise
        self._leases.hold(request_id, _limited_places(scopes))
        return Admission(request_id=request_id, scopes=scopes, tokens=tokens, state=state)

    async def settle(self, admission: Admission, *, tokens: int) -> None:
        """End a request that used ``tokens``: charge or refund the difference to the estimate; end its leases."""
        # Before the transaction, which may fail: without renewals the leases expire.
        self._leases.release(admission.request_id)
        if admission.scopes:
            difference = tokens - admission.tokens
            await self._database.write(
                lambda connection: _settle(connection, admission, difference, self._now(connection)), durable=False
            )

    async def renew(self) -> None:
        """Renew the leases of this process's requests for :data:`LEASE` seconds."""
        if self._leases.held:
            await self._database.write(
                lambda connection: self._leases.renew(connection, self._now(connection)), durable=False
            )

    async def sweep(self) -> int:
        """Delete full allowances of end users and their expired leases; return their number.

        Afterwards the database has only end users with a request within the last minute. Without limits of end users,
        nothing is deleted.
        """
        total = 0
        if self._end_user == UNLIMITED:
            return total
        while deleted := await self._database.write(self._sweep_batch, durable=False):
            total += deleted
        return total

    async def _charged(self, admission: Admission) -> RateLimitState:
        """Charge a request and take its leases. After a step of the clock, move the rows back and try again."""
        try:
            return await self._database.write(lambda connection: self._admit(connection, admission), durable=False)
        except SteppedBackError:
            # In a separate transaction, because a refusal rolls its own back.
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
                running = self._leases.count(connection, scope, limits.concurrent_requests, now)
                if running >= limits.concurrent_requests:
                    raise _crowded(scope, limits.concurrent_requests, running, states[-1])
                self._leases.take(connection, [(scope, admission.request_id)], now)
        return RateLimitState(
            requests=_scarcest(state.requests for state in states), tokens=_scarcest(state.tokens for state in states)
        )

    def _sweep_batch(self, connection: Connection) -> int:
        now, table = self._now(connection), rate_limits.c
        full = and_(table.requests_full_at <= now, table.tokens_full_at <= now)
        # It skips locked rows, so that sweep and requests never wait for each other.
        scopes = select(table.scope).where(_of_end_users(table.scope), full).with_for_update(skip_locked=True)
        statement = delete(rate_limits).where(table.scope.in_(scopes.limit(SWEEP_BATCH)))
        leases = self._leases.sweep(connection, _of_end_users, now, SWEEP_BATCH)
        return len(connection.execute(statement.returning(table.scope)).all()) + leases

    def _scopes(self, principal: Principal, end_user: str | None) -> tuple[tuple[str, Limits], ...]:
        """Return the limited scopes, always in the same order, so that two requests cannot deadlock."""
        scopes = [(f"{END_USER}{end_user}", self._end_user)] if end_user is not None else []
        if principal.key_id is not None:
            scopes.append((f"key:{principal.key_id}", self._key))
        scopes.append((f"project:{principal.project_id}", self._project))
        return tuple((scope, limits) for scope, limits in scopes if limits != UNLIMITED)

    async def _release(self, admission: Admission) -> None:
        await self._database.write(lambda connection: _free(connection, admission), durable=False)


def _cost(amount: int, limit: int | None) -> int:
    """Return the cost of ``amount`` in microseconds of a minute's allowance."""
    return 0 if limit is None else amount * MINUTE // limit


def _charge(connection: Connection, scope: str, limits: Limits, tokens: int, now: int) -> Row[*tuple[Any, ...]] | None:
    """Charge one request and its tokens in one statement; return the row, or None when a limit is reached.

    The row stays locked until the end of the transaction, so that no other transaction counts the leases of the scope.
    """
    costs = {
        rate_limits.c.requests_full_at: _cost(1, limits.requests_per_minute),
        rate_limits.c.tokens_full_at: _cost(tokens, limits.tokens_per_minute),
    }
    if any(cost > MINUTE for cost in costs.values()):
        return None
    first = {column.name: now + cost for column, cost in costs.items()} | {"updated_at": now}
    later = {column.name: _from_now(column, now) + cost for column, cost in costs.items()}
    # A limit without a cost allows the charge even if its allowance is overdrawn.
    allowed = (later[column.name] <= now + MINUTE for column, cost in costs.items() if cost)
    statement = insert(connection, rate_limits).values(scope=scope, **first)
    statement = statement.on_conflict_do_update(
        index_elements=["scope"], set_=later | {"updated_at": now}, where=and_(true(), *allowed)
    )
    return connection.execute(statement.returning(rate_limits)).one_or_none()


def _from_now(column: Column[int], now: int) -> ColumnElement[int]:
    """Return the later of the column's time and now: a full allowance stays full."""
    moment = _moved_back(column, now)
    return case((moment > now, moment), else_=now)


def _moved_back(column: Column[int], now: int) -> ColumnElement[int]:
    """Return the column's time, moved back as far as the clock has stepped back since the row was written."""
    step = rate_limits.c.updated_at - now
    return case((step > CLOCK_TOLERANCE, column - step), else_=column)


def _move_back(connection: Connection, scopes: list[str], now: int) -> None:
    """Move the times of rows that were written before the clock stepped back."""
    limits = rate_limits.c
    ahead = and_(limits.scope.in_(scopes), limits.updated_at > now + CLOCK_TOLERANCE)
    moved = {column.name: _moved_back(column, now) for column in (limits.requests_full_at, limits.tokens_full_at)}
    connection.execute(update(rate_limits).where(ahead).values(**moved, updated_at=now))
    move_leases_back(connection, scopes, now)


def _limited_places(scopes: Iterable[tuple[str, Limits]]) -> list[str]:
    return [scope for scope, limits in scopes if limits.concurrent_requests is not None]


def _of_end_users(scope: Column[str]) -> ColumnElement[bool]:
    """Return the condition of end users' scopes: one range of the index."""
    return and_(scope >= END_USER, scope < AFTER_END_USERS)


def _owner(scope: str) -> str:
    """Return the words for an end user in an error, without the identifier, which may be an e-mail address."""
    return " of an end user" if scope.startswith(END_USER) else ""


def _crowded(scope: str, places: int, running: int, state: RateLimitState) -> RateLimitError:
    message = (
        f"Rate limit reached for concurrent requests{_owner(scope)}: Limit {places}, Running {running}. "
        "Please try again."
    )
    return RateLimitError(message, headers=rate_limit_headers(state))


def _refusal(connection: Connection, scope: str, limits: Limits, tokens: int, now: int) -> RateLimitError:
    """Return the error that names the reached limit and the time for a retry. Raises SteppedBackError."""
    row = connection.execute(select(rate_limits).where(rate_limits.c.scope == scope)).one_or_none()
    if row is not None and row.updated_at > now + CLOCK_TOLERANCE:
        raise SteppedBackError
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
        f"Rate limit reached for {name} per minute{_owner(scope)}: Limit {limit}, Requested {amount}. "
        f"Please try again in {seconds:.3f}s."
    )
    return RateLimitError(message, retry_after=seconds, headers=rate_limit_headers(state))


def _wait(full_at: int, amount: int, limit: int | None, now: int) -> int:
    """Return the microseconds until a charge of ``amount`` fits."""
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
    free_places(connection, [scope for scope, _ in admission.scopes], admission.request_id)
