import pytest

from antiphon.errors import DatabaseUnavailableError
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.failures import NewerDatabaseError
from antiphon.store.limits import Limits
from antiphon.store.ownership import VERSION_TABLE
from tests.databases import Site

pytestmark = pytest.mark.anyio


async def test_an_empty_database_is_upgraded_when_it_is_opened(empty_site: Site) -> None:
    async with Storage.open(empty_site.url, empty_site.data_dir) as storage:
        assert [] == await storage.database.check()


async def test_a_newer_database_is_refused(site: Site) -> None:
    async with site.open() as database:
        await database.write(
            lambda connection: connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
        )
    with pytest.raises(NewerDatabaseError, match="newer version"):
        async with Storage.open(site.url, site.data_dir):
            pass


async def test_storage_uses_the_given_limits(site: Site) -> None:
    asked = Limits(requests_per_minute=1)
    for opening in (
        Storage.open(site.url, site.data_dir, project_limits=asked),
        Storage.open(site.url, site.data_dir, key_limits=asked),
        Storage.open(site.url, site.data_dir, end_user_limits=asked),
    ):
        async with opening as storage:
            assert storage.limiter.active
    async with Storage.open(site.url, site.data_dir) as storage:
        assert not storage.limiter.active


class Failing(Storage):
    """A storage whose database fails while ``fails`` is set."""

    fails = True

    def fail(self) -> None:
        self.database.write_failure = "The database is busy."

        async def probe() -> None:
            if self.fails:
                raise DatabaseUnavailableError("The database is busy. Please try again.", retry_after=1)
            self.database.write_failure = None

        self.database.probe = probe  # type: ignore[method-assign]


async def test_check_does_not_probe_a_working_database(database: Database) -> None:
    storage = Failing(database, holder="test")
    storage.fail()
    database.write_failure = None
    await storage.check()


async def test_check_probes_a_failing_database_before_it_refuses(database: Database) -> None:
    storage = Failing(database, holder="test")
    storage.fail()
    with pytest.raises(DatabaseUnavailableError, match=r"Nothing was generated.* The database is busy\.") as caught:
        await storage.check()
    assert 1 == caught.value.retry_after
    storage.fails = False
    await storage.check()
