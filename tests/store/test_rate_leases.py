import pytest
from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.sql.schema import Column

from antiphon.store.database import Database
from antiphon.store.rate_leases import (
    CLOCK_TOLERANCE,
    LEASE,
    SECOND,
    RateLeases,
    SteppedBackError,
    free_places,
    move_leases_back,
)
from antiphon.store.schema import rate_leases

pytestmark = pytest.mark.anyio

NOW = 1_000_000 * SECOND
END = NOW + LEASE * SECOND
"""The end of a lease taken now."""
FAR = END + CLOCK_TOLERANCE + 1
"""A time at which no lease taken now ends."""


def held(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the end of each lease, by scope and request."""
    return {(row.scope, row.request_id): row.expires_at for row in connection.execute(select(rate_leases))}


def a(scope: Column[str]) -> ColumnElement[bool]:
    return scope == "a"


async def test_a_place_is_counted_until_it_is_freed(database: Database) -> None:
    leases = RateLeases("me")

    def work(connection: Connection) -> None:
        leases.take(connection, [("a", "r1"), ("a", "r2"), ("b", "r1")], NOW)
        assert 2 == leases.count(connection, "a", 9, NOW)
        free_places(connection, ["a"], "r1")
        assert {("a", "r2"): END, ("b", "r1"): END} == held(connection)

    await database.write(work)


async def test_count_deletes_expired_leases(database: Database) -> None:
    def work(connection: Connection) -> None:
        RateLeases("dead").take(connection, [("a", "r1"), ("b", "r1")], NOW)
        assert 1 == RateLeases("me").count(connection, "a", 9, END - 1)
        assert 0 == RateLeases("me").count(connection, "a", 9, END)
        assert [("b", "r1")] == list(held(connection))

    await database.write(work)


async def test_count_keeps_expired_leases_of_own_running_requests(database: Database) -> None:
    leases = RateLeases("me")
    leases.hold("r1", ["a"])

    def work(connection: Connection) -> None:
        leases.take(connection, [("a", "r1"), ("a", "r2")], NOW)
        RateLeases("other").take(connection, [("a", "r3")], NOW)
        assert 1 == leases.count(connection, "a", 9, END)
        assert [("a", "r1")] == list(held(connection))

    await database.write(work)


async def test_stepped_back_error_is_raised_only_if_all_places_are_taken(database: Database) -> None:
    leases = RateLeases("me")

    def work(connection: Connection) -> None:
        leases.take(connection, [("a", "r1")], NOW + CLOCK_TOLERANCE)
        assert 1 == leases.count(connection, "a", 1, NOW)
        leases.take(connection, [("a", "r2")], NOW + CLOCK_TOLERANCE + 1)
        assert 2 == leases.count(connection, "a", 3, NOW)
        with pytest.raises(SteppedBackError):
            leases.count(connection, "a", 2, NOW)

    await database.write(work)


async def test_leases_from_before_a_step_of_the_clock_are_moved_back(database: Database) -> None:
    leases = RateLeases("me")

    def work(connection: Connection) -> None:
        leases.take(connection, [("a", "r1"), ("b", "r1")], FAR - LEASE * SECOND)
        leases.take(connection, [("a", "r2")], NOW - SECOND)
        move_leases_back(connection, ["a"], NOW)
        assert {("a", "r1"): END, ("a", "r2"): END - SECOND, ("b", "r1"): FAR} == held(connection)

    await database.write(work)


async def test_renew_takes_deleted_leases_again(database: Database) -> None:
    leases = RateLeases("me")
    leases.hold("r1", ["a", "b"])
    leases.hold("r2", ["a"])
    leases.release("r2")

    def work(connection: Connection) -> None:
        leases.take(connection, [("a", "r1"), ("a", "r2")], NOW - SECOND)
        leases.renew(connection, NOW)
        assert {("a", "r1"): END, ("b", "r1"): END, ("a", "r2"): END - SECOND} == held(connection)

    await database.write(work)


def test_a_request_without_places_holds_none() -> None:
    leases = RateLeases("me")
    leases.hold("r1", [])
    assert not leases.held


def test_a_request_holds_its_places_until_it_is_released() -> None:
    leases = RateLeases("me")
    leases.hold("r1", ["a"])
    leases.release("never held")
    held_before = leases.held
    leases.release("r1")
    assert (True, False) == (held_before, leases.held)


async def test_sweep_deletes_expired_leases_in_its_scopes_up_to_its_limit(database: Database) -> None:
    leases = RateLeases("me")
    leases.hold("r1", ["a"])

    def work(connection: Connection) -> None:
        leases.take(connection, [("a", "r1"), ("a", "r2"), ("b", "r2")], NOW)
        RateLeases("dead").take(connection, [("a", "r3")], NOW)
        RateLeases("alive").take(connection, [("a", "r4")], NOW + 1)
        assert 0 == leases.sweep(connection, a, END - 1, 9)
        assert [1, 1, 0] == [leases.sweep(connection, a, END, 1) for _ in range(3)]
        assert {("a", "r1"), ("a", "r4"), ("b", "r2")} == set(held(connection))

    await database.write(work)
