"""Idempotency keys: leases, kept answers and expiry."""

import time

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import func, select

from antiphon.errors import ServiceUnavailableError
from antiphon.store import idempotency
from antiphon.store.database import Database
from antiphon.store.idempotency import LEASE, LIFETIME, Done, IdempotencyStore, InProgress, Mismatch, New
from antiphon.store.schema import idempotency_keys
from tests.databases import Site
from tests.store.rows import OTHER, PROJECT, Clock, add_project, recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> IdempotencyStore:
    return IdempotencyStore(database, holder="a", clock=clock)


async def begin(store: IdempotencyStore, key: str = "k", body: str = "h", project: str = PROJECT) -> New:
    new = await store.begin(project, key, body)
    assert isinstance(new, New)
    return new


async def test_second_request_gets_the_first_answer(store: IdempotencyStore) -> None:
    new = await begin(store)
    assert InProgress() == await store.begin(PROJECT, "k", "h")
    assert await store.finish(new, status=200, answer=b"\0answer")
    assert Done(status=200, answer=b"\0answer") == await store.begin(PROJECT, "k", "h")
    assert Done(status=200, answer=b"\0answer") == await store.begin(PROJECT, "k", "h")


async def test_empty_answer_is_kept(store: IdempotencyStore) -> None:
    await store.finish(await begin(store), status=204, answer=b"")
    assert Done(status=204, answer=b"") == await store.begin(PROJECT, "k", "h")


async def test_another_body_is_a_mismatch(store: IdempotencyStore) -> None:
    new = await begin(store)
    assert Mismatch() == await store.begin(PROJECT, "k", "other")
    await store.finish(new, status=200, answer=b"x")
    assert Mismatch() == await store.begin(PROJECT, "k", "other")


async def test_projects_have_separate_keys(database: Database, store: IdempotencyStore) -> None:
    await add_project(database)
    await store.finish(await begin(store), status=200, answer=b"x")
    await begin(store, key="K")
    await begin(store, project=OTHER, body="other")


async def test_a_key_may_hold_any_character(store: IdempotencyStore) -> None:
    await store.finish(await begin(store, key="\0é😀"), status=200, answer=b"x")
    assert Done(status=200, answer=b"x") == await store.begin(PROJECT, "\0é😀", "h")
    await begin(store, key="\\0é😀")


async def test_abandoned_key_is_new_again(store: IdempotencyStore) -> None:
    await store.abandon(await begin(store))
    await begin(store, body="other")


async def test_abandon_does_not_delete_a_kept_answer(store: IdempotencyStore) -> None:
    new = await begin(store)
    await store.finish(new, status=200, answer=b"x")
    await store.abandon(new)
    assert not await store.finish(new, status=500, answer=b"y")
    assert Done(status=200, answer=b"x") == await store.begin(PROJECT, "k", "h")


async def test_an_answer_is_kept_for_a_day(store: IdempotencyStore, clock: Clock) -> None:
    await store.finish(await begin(store), status=200, answer=b"x")
    clock.now += LIFETIME - 1
    assert Done(status=200, answer=b"x") == await store.begin(PROJECT, "k", "h")
    clock.now += 1
    new = await begin(store, body="other")
    assert InProgress() == await store.begin(PROJECT, "k", "other")
    await store.finish(new, status=201, answer=b"y")
    assert Done(status=201, answer=b"y") == await store.begin(PROJECT, "k", "other")


async def test_key_is_new_again_after_the_lease_of_a_dead_process(
    database: Database, store: IdempotencyStore, clock: Clock
) -> None:
    dead = IdempotencyStore(database, holder="dead", clock=clock)
    lost, kept = await begin(dead, key="lost"), await begin(store, key="kept")
    clock.now += LEASE - 1
    await store.renew()
    clock.now += 1
    assert InProgress() == await store.begin(PROJECT, "kept", "h")
    taken = await begin(store, key="lost")
    assert not await dead.finish(lost, status=200, answer=b"late")
    await dead.abandon(lost)
    assert InProgress() == await store.begin(PROJECT, "lost", "h")
    assert await store.finish(taken, status=200, answer=b"x")
    assert await store.finish(kept, status=200, answer=b"x")


@pytest.mark.parametrize("end", ["finished", "abandoned"])
async def test_lease_expires_when_the_end_could_not_be_written(
    end: str, database: Database, store: IdempotencyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = await begin(store)

    async def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailableError("The database is busy.")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", fail)
        with pytest.raises(ServiceUnavailableError):
            await (store.finish(new, status=200, answer=b"x") if end == "finished" else store.abandon(new))
    clock.now += LEASE - 1
    await store.renew()
    assert InProgress() == await store.begin(PROJECT, "k", "h")
    clock.now += 1
    await begin(store)


async def test_renew_without_running_requests_makes_no_statement(database: Database, store: IdempotencyStore) -> None:
    await store.finish(await begin(store), status=200, answer=b"x")
    with recorded(database) as statements:
        await store.renew()
    assert [] == statements


async def test_a_renewed_key_is_held_against_other_processes(
    database: Database, store: IdempotencyStore, clock: Clock
) -> None:
    other = IdempotencyStore(database, holder="b", clock=clock)
    await begin(store)
    clock.now += LEASE - 1
    await store.renew()
    clock.now += LEASE - 1
    assert InProgress() == await other.begin(PROJECT, "k", "h")
    clock.now += 1
    await begin(other)


async def test_retries_do_not_prolong_the_lease_of_a_dead_process(
    database: Database, store: IdempotencyStore, clock: Clock
) -> None:
    await begin(IdempotencyStore(database, holder="dead", clock=clock))
    for _ in range(LEASE - 1):
        clock.now += 1
        assert InProgress() == await store.begin(PROJECT, "k", "h")
    clock.now += 1
    await begin(store)


HOUR = 3600


async def test_lease_of_a_dead_process_expires_after_the_clock_steps_back(
    database: Database, store: IdempotencyStore, clock: Clock
) -> None:
    dead = IdempotencyStore(database, holder="dead", clock=clock)
    await begin(dead)
    clock.now -= HOUR
    assert InProgress() == await store.begin(PROJECT, "k", "h")
    clock.now += LEASE - 1
    assert InProgress() == await store.begin(PROJECT, "k", "h")
    clock.now += 1
    await begin(store)


async def test_running_request_keeps_its_lease_when_the_clock_steps(
    database: Database, store: IdempotencyStore, clock: Clock
) -> None:
    other = IdempotencyStore(database, holder="b", clock=clock)
    new = await begin(store)
    clock.now -= HOUR
    for _ in range(3):
        await store.renew()
        assert InProgress() == await other.begin(PROJECT, "k", "h")
        clock.now += LEASE - 1
    clock.now += HOUR
    assert 0 == await store.purge()
    assert InProgress() == await store.begin(PROJECT, "k", "h")
    assert await store.finish(new, status=200, answer=b"x")
    assert Done(status=200, answer=b"x") == await other.begin(PROJECT, "k", "h")


async def test_answer_is_kept_for_a_day_after_the_clock_steps_back(store: IdempotencyStore, clock: Clock) -> None:
    for key in ("asked", "purged"):
        await store.finish(await begin(store, key=key), status=200, answer=b"x")
    clock.now -= 30 * LIFETIME
    assert Done(status=200, answer=b"x") == await store.begin(PROJECT, "asked", "h")
    assert 0 == await store.purge()
    clock.now += LIFETIME - 1
    assert Done(status=200, answer=b"x") == await store.begin(PROJECT, "purged", "h")
    clock.now += 1
    await begin(store, key="asked", body="other")
    assert 1 == await store.purge()


async def test_default_clock_is_the_clock_of_the_database(database: Database) -> None:
    await begin(IdempotencyStore(database, holder="a"))
    statement = select(idempotency_keys.c.expires_at)
    end = await database.read(lambda connection: connection.execute(statement).scalar_one())
    assert abs(end - LEASE - time.time()) < 60


async def test_one_of_many_concurrent_requests_is_the_first(site: Site, clock: Clock) -> None:
    outcomes = []
    async with site.open() as first, site.open() as second:
        stores = [IdempotencyStore(database, holder=str(id(database)), clock=clock) for database in (first, second)]

        async def ask(number: int) -> None:
            outcomes.append(type(await stores[number % 2].begin(PROJECT, "k", "h")))

        async with anyio.create_task_group() as group:
            for number in range(16):
                group.start_soon(ask, number)
    assert (1, 15) == (outcomes.count(New), outcomes.count(InProgress))


async def test_cancelled_begin_leaves_no_lease(store: IdempotencyStore) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(store.begin, PROJECT, "k", "h")
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await begin(store)


async def test_expired_keys_are_purged_in_batches(
    database: Database, store: IdempotencyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PURGE_BATCH", 2)
    for number in range(5):
        await store.finish(await begin(store, key=f"k{number}"), status=200, answer=b"x")
    clock.now += LIFETIME
    await store.finish(await begin(store, key="new"), status=200, answer=b"x")
    assert 5 == await store.purge()
    assert 0 == await store.purge()
    statement = select(func.count()).select_from(idempotency_keys)
    assert 1 == await database.read(lambda connection: connection.execute(statement).scalar())
