"""Deletion of completions by age and count, and their tombstones."""

import pytest
from sqlalchemy import func, select

from antiphon.errors import NotFoundError
from antiphon.protocol.stored_queries import CompletionQuery
from antiphon.store import retention
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.schema import deleted_completions
from tests.store.rows import OTHER, PROJECT, Clock, add_project, completion, messages, recorded

pytestmark = pytest.mark.anyio

NOW = 1000


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def store(database: Database, clock: Clock) -> CompletionStore:
    """Store ten completions of ages 0 to 9 in one project, three in another."""
    store = CompletionStore(database, clock=clock)
    await add_project(database)
    for age in range(10):
        name = f"c{9 - age}"
        await store.save(PROJECT, completion(name, created=NOW - age, metadata={"a": "b"}), messages(name, 2))
    for age in (3, 6, 9):
        await store.save(OTHER, completion(f"o{age}", created=NOW - age), messages(f"o{age}"))
    return store


async def left(store: CompletionStore) -> tuple[list[str], list[str]]:
    mine, theirs = [await store.list(project, CompletionQuery(limit=100)) for project in (PROJECT, OTHER)]
    return [stored.id for stored in mine.data], [stored.id for stored in theirs.data]


ALL = [f"c{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("max_age", "max_count", "deleted", "mine", "theirs"),
    [
        (None, None, 0, ALL, ["o9", "o6", "o3"]),
        (100, 100, 0, ALL, ["o9", "o6", "o3"]),
        (6, None, 4, ALL[3:], ["o6", "o3"]),
        (5.5, None, 6, ALL[4:], ["o3"]),
        (None, 2, 9, ALL[8:], ["o6", "o3"]),
        (4, 8, 7, ALL[5:], ["o3"]),
        (8, 2, 9, ALL[8:], ["o6", "o3"]),
        (None, 0, 13, [], []),
        (0, None, 12, ["c9"], []),
    ],
)
async def test_prune_deletes_old_and_surplus_completions(
    max_age: float | None,
    max_count: int | None,
    deleted: int,
    mine: list[str],
    theirs: list[str],
    store: CompletionStore,
    database: Database,
) -> None:
    assert deleted == await store.prune(max_age=max_age, max_count=max_count)
    assert (mine, theirs) == await left(store)
    assert [] == await database.check()


async def test_prune_deletes_in_batches(
    store: CompletionStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    with recorded(database) as statements:
        assert 9 == await store.prune(max_age=None, max_count=2)
    deletions = [statement for statement, _ in statements if statement.startswith("DELETE FROM completions")]
    assert 4 + 1 + 1 + 1 == len(deletions)
    assert (ALL[8:], ["o6", "o3"]) == await left(store)


async def test_last_stored_completions_of_one_second_are_kept(store: CompletionStore) -> None:
    for name in ("x3", "x1", "x2"):
        await store.save(PROJECT, completion(name, created=NOW), messages(name))
    await store.prune(max_age=None, max_count=2)
    assert ["x1", "x2"] == (await left(store))[0]


async def test_tombstone_is_kept_for_a_day(store: CompletionStore, database: Database, clock: Clock) -> None:
    await store.delete(PROJECT, "c4")
    page = await store.list(PROJECT, CompletionQuery(after="c4", limit=1))
    assert "c5" == page.first_id
    clock.now += retention.TOMBSTONE_LIFETIME + 1
    await store.delete(PROJECT, "c5")
    with pytest.raises(NotFoundError):
        await store.list(PROJECT, CompletionQuery(after="c4"))
    assert "c6" == (await store.list(PROJECT, CompletionQuery(after="c5", limit=1))).first_id
    statement = select(func.count()).select_from(deleted_completions)
    assert 1 == await database.read(lambda connection: connection.execute(statement).scalar())


async def test_id_of_a_deleted_completion_can_be_used_again(store: CompletionStore, clock: Clock) -> None:
    await store.delete(PROJECT, "c4")
    clock.now += 1
    await store.save(PROJECT, completion("c4", created=NOW - 2), messages("c4"))
    assert "c9" == (await store.list(PROJECT, CompletionQuery(after="c4"))).last_id
    await store.delete(PROJECT, "c4")
    assert "c8" == (await store.list(PROJECT, CompletionQuery(after="c4"))).first_id
