"""Rate limits of projects and keys, which hold across all processes that share the database.

Requests and tokens a minute follow the generic cell rate algorithm (ITU-T I.371; leaky bucket as a meter): for each
scope one moment is kept, at which its allowance will be full again. A charge moves it by cost / limit minutes; it may
never lie more than a minute ahead. Requests that run at once hold leases, which end by themselves when their process
dies.

The clock may step. Every row says when it was written: where that lies in the future the clock has stepped back, and
the row moves back as far, so that what is owed stays what it was. A step forward fills each allowance once.
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
"""Begins the scope of an end user."""
AFTER_END_USERS = "end_user;"
"""The first text that comes after the scopes of all end users."""


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

    The owner calls :meth:`renew` every :data:`RENEW_INTERVAL` seconds, or long requests lose their places, and
    :meth:`sweep` as often.
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
        """Set the limits of every project, key and end user; ``holder`` names this process, as no other is named.

        ``clock`` is in Unix seconds; without one it is the clock that the processes of this database share.
        """
        self._database = database
        self._project = project
        self._key = key
        self._end_user = end_user
        self._clock = clock
        self._leases = RateLeases(holder)

    @property
    def active(self) -> bool:
        """Whether anything is limited."""
        return any(limits != UNLIMITED for limits in (self._project, self._key, self._end_user))

    async def admit(
        self, request_id: str, principal: Principal, *, tokens: int, end_user: str | None = None
    ) -> Admission:
        """Let a request in that may use ``tokens`` (an estimate), or raise RateLimitError.

        ``end_user`` is a name that differs from project to project; None switches the limits of end users off.
        Each admission ends in one :meth:`settle`. A call that is cancelled leaves nothing behind but the charge.
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
        """End a request that used ``tokens``: charge what the estimate was short of, or give back; free its places."""
        # Even when the database fails: a place that is no longer renewed becomes free by itself.
        self._leases.release(admission.request_id)
        if admission.scopes:
            difference = tokens - admission.tokens
            await self._database.write(
                lambda connection: _settle(connection, admission, difference, self._now(connection)), durable=False
            )

    async def renew(self) -> None:
        """Keep the places of this process's requests for another :data:`LEASE` seconds."""
        if self._leases.held:
            await self._database.write(
                lambda connection: self._leases.renew(connection, self._now(connection)), durable=False
            )

    async def sweep(self) -> int:
        """Delete the full allowances of end users and their leases of processes that died; return their number.

        So the database keeps only rows of end users that sent a request within the last minute, or since the last
        sweep. Without limits of end users there is nothing to sweep.
        """
        total = 0
        if self._end_user == UNLIMITED:
            return total
        while deleted := await self._database.write(self._sweep_batch, durable=False):
            total += deleted
        return total

    async def _charged(self, admission: Admission) -> RateLimitState:
        """Charge for a request and give it its places; rows that the clock has left behind are mended first."""
        try:
            return await self._database.write(lambda connection: self._admit(connection, admission), durable=False)
        except SteppedBackError:
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
        # A sweep skips locked rows: it never waits for a request while another request waits for the sweep.
        scopes = select(table.scope).where(_of_end_users(table.scope), full).with_for_update(skip_locked=True)
        statement = delete(rate_limits).where(table.scope.in_(scopes.limit(SWEEP_BATCH)))
        leases = self._leases.sweep(connection, _of_end_users, now, SWEEP_BATCH)
        return len(connection.execute(statement.returning(table.scope)).all()) + leases

    def _scopes(self, principal: Principal, end_user: str | None) -> tuple[tuple[str, Limits], ...]:
        """Name the limited scopes, always in the same order: two requests never wait for each other's rows."""
        scopes = [(f"{END_USER}{end_user}", self._end_user)] if end_user is not None else []
        if principal.key_id is not None:
            scopes.append((f"key:{principal.key_id}", self._key))
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


def _move_back(connection: Connection, scopes: list[str], now: int) -> None:
    """Mend what was written before the clock stepped back."""
    limits = rate_limits.c
    ahead = and_(limits.scope.in_(scopes), limits.updated_at > now + CLOCK_TOLERANCE)
    moved = {column.name: _moved_back(column, now) for column in (limits.requests_full_at, limits.tokens_full_at)}
    connection.execute(update(rate_limits).where(ahead).values(**moved, updated_at=now))
    move_leases_back(connection, scopes, now)


def _limited_places(scopes: Iterable[tuple[str, Limits]]) -> list[str]:
    return [scope for scope, limits in scopes if limits.concurrent_requests is not None]


def _of_end_users(scope: Column[str]) -> ColumnElement[bool]:
    """Select the scopes of end users as one range of the index."""
    return and_(scope >= END_USER, scope < AFTER_END_USERS)


def _owner(scope: str) -> str:
    """Return the words by which an error names an end user's limit; the identifier may be an e-mail address."""
    return " of an end user" if scope.startswith(END_USER) else ""


def _crowded(scope: str, places: int, running: int, state: RateLimitState) -> RateLimitError:
    message = (
        f"Rate limit reached for concurrent requests{_owner(scope)}: Limit {places}, Running {running}. "
        "Please try again."
    )
    return RateLimitError(message, headers=rate_limit_headers(state))


def _refusal(connection: Connection, scope: str, limits: Limits, tokens: int, now: int) -> RateLimitError:
    """Say which limit was reached, and when the same request would pass."""
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
    free_places(connection, [scope for scope, _ in admission.scopes], admission.request_id)
