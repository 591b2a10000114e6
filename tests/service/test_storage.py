import pytest

from antiphon.service.storage import Storage
from antiphon.store.failures import NewerDatabaseError
from antiphon.store.limits import Limits
from antiphon.store.migration import VERSION_TABLE
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


async def test_the_limits_are_those_that_were_asked_for(site: Site) -> None:
    async with Storage.open(site.url, site.data_dir, key_limits=Limits(requests_per_minute=1)) as storage:
        assert storage.limiter.active
    async with Storage.open(site.url, site.data_dir) as storage:
        assert not storage.limiter.active
