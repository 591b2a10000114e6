import anyio
import pytest
import structlog

from antiphon.errors import RateLimitError, ServiceUnavailableError
from antiphon.service.maintenance import Retention, delete_old, renew_leases, watch_database
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.engines import DATABASE_FILE
from antiphon.store.keys import Principal
from antiphon.store.limits import RENEW_INTERVAL, Limits
from antiphon.store.rate_leases import LEASE
from tests.databases import Site
from tests.store.rows import PROJECT, Clock, completion

pytestmark = pytest.mark.anyio


class Turns:
    """A sleep that advances the clock, and ends the work after some turns."""

    def __init__(self, turns: int, clock: Clock) -> None:
        self._left = turns
        self._clock = clock

    async def __call__(self, seconds: float) -> None:
        self._left -= 1
        self._clock.now += seconds
        if not self._left:
            raise TimeoutError


async def work(storage: Storage, clock: Clock, turns: int, retention: Retention | None = None) -> None:
    with pytest.raises(TimeoutError):
        await delete_old(storage, retention or Retention(), sleep=Turns(turns, clock))


async def renew(storage: Storage, clock: Clock, turns: int) -> None:
    with pytest.raises(TimeoutError):
        await renew_leases(storage, sleep=Turns(turns, clock))


def storage_at(database: Database, clock: Clock) -> Storage:
    limits = Limits(concurrent_requests=1)
    return Storage(database, holder="test", project_limits=limits, clock=clock)


async def test_old_completions_are_deleted_at_once_and_again_after_the_interval(database: Database) -> None:
    clock = Clock(1000.0)
    storage = storage_at(database, clock)
    for created in (0, 950):
        await storage.completions.save(PROJECT, completion(f"c{created}", created=created), [])
    await work(storage, clock, 1, Retention(max_age=100))
    assert ["c950"] == [row.id for row in (await storage.completions.list(PROJECT)).data]
    await work(storage, clock, 2, Retention(max_age=100))
    assert [] == (await storage.completions.list(PROJECT)).data


async def test_without_retention_nothing_is_deleted(database: Database) -> None:
    clock = Clock(10.0**9)
    storage = storage_at(database, clock)
    await storage.completions.save(PROJECT, completion("c", created=1), [])
    await work(storage, clock, 2)
    assert 1 == len((await storage.completions.list(PROJECT)).data)


async def test_lease_of_a_long_request_is_renewed(database: Database) -> None:
    clock = Clock()
    storage = storage_at(database, clock)
    await storage.limiter.admit("long", Principal(), tokens=0)
    await renew(storage, clock, round(3 * LEASE / RENEW_INTERVAL))
    with pytest.raises(RateLimitError):
        await storage.limiter.admit("next", Principal(), tokens=0)


async def test_rows_of_end_users_without_requests_for_a_minute_are_deleted(database: Database) -> None:
    clock = Clock()
    limits = Limits(requests_per_minute=1)
    storage = Storage(database, holder="test", end_user_limits=limits, clock=clock)
    await storage.limiter.admit("r", Principal(), tokens=0, end_user="ada")
    await renew(storage, clock, round(60 / RENEW_INTERVAL))
    assert 1 == await storage.limiter.sweep(), "the row was full only after the last turn"
    await storage.limiter.admit("r", Principal(), tokens=0, end_user="ada")
    await renew(storage, clock, round(60 / RENEW_INTERVAL) + 1)
    assert 0 == await storage.limiter.sweep()


async def test_failure_is_logged_and_the_work_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    storage = storage_at(database, clock)

    async def fail() -> None:
        raise ServiceUnavailableError("The database is busy.")

    monkeypatch.setattr(storage.limiter, "renew", fail)
    with structlog.testing.capture_logs() as lines:
        await renew(storage, clock, 2)
    assert ["maintenance_failed"] * 2 == [line["event"] for line in lines]


async def test_reserve_file_is_filled(site: Site) -> None:
    async with site.open() as database:
        await work(storage_at(database, Clock()), Clock(), 1)
        found = [path.name for path in site.data_dir.glob("*-reserve")]
        assert ([f"{DATABASE_FILE}-reserve"] if database.dialect == "sqlite" else []) == found


async def test_maintenance_ends_when_cancelled(database: Database) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delete_old, storage_at(database, Clock()), Retention())
        tasks.start_soon(renew_leases, storage_at(database, Clock()))
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert [] == await database.check()


async def test_begin_and_end_of_a_database_failure_are_logged(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter(("The database is busy.", "The database is busy.", None))

    async def probe() -> None:
        database.write_failure = next(failures)
        if database.write_failure:
            raise ServiceUnavailableError(database.write_failure)

    monkeypatch.setattr(database, "probe", probe)
    clock = Clock()
    with structlog.testing.capture_logs() as lines, pytest.raises(TimeoutError):
        await watch_database(storage_at(database, clock), sleep=Turns(3, clock))
    assert ["database_failing", "database_ready"] == [line["event"] for line in lines]
