"""Projects: create, get and list."""

import pytest

from antiphon.errors import NotFoundError
from antiphon.store.database import Database
from antiphon.store.projects import Project, ProjectStore
from antiphon.store.schema import DEFAULT_PROJECT
from tests.store.rows import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(database: Database) -> ProjectStore:
    return ProjectStore(database, clock=Clock(7.9))


async def test_default_project_exists(store: ProjectStore) -> None:
    default = Project(id=DEFAULT_PROJECT, name="Default project", created=0)
    assert [default] == await store.list()
    assert default == await store.get(DEFAULT_PROJECT)


async def test_created_project_has_a_unique_id(store: ProjectStore) -> None:
    first, second = await store.create("weather"), await store.create("weather")
    assert first.id != second.id
    assert (("weather", 7), 5 + 24) == ((first.name, first.created), len(first.id))
    assert first == await store.get(first.id)
    assert {DEFAULT_PROJECT, first.id, second.id} == {project.id for project in await store.list()}


@pytest.mark.parametrize("identifier", ["nowhere", "", "\0"])
async def test_an_unknown_project_is_not_found(identifier: str, store: ProjectStore) -> None:
    with pytest.raises(NotFoundError):
        await store.get(identifier)
