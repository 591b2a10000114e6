"""Stored completions: save, read, list, update and delete."""

from collections.abc import Awaitable, Callable
from itertools import count

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from antiphon.errors import ConflictError, NotFoundError
from antiphon.protocol.stored import CompletionDeleted, StoredAnswer, StoredChoice, StoredMessage
from antiphon.protocol.stored_queries import CompletionQuery, PageQuery
from antiphon.store.completions import CompletionStore, Status
from antiphon.store.database import Database
from antiphon.store.schema import completion_messages, completion_metadata, completions
from tests.databases import Site
from tests.store.rows import OTHER, PROJECT, Clock, add_project, completion, messages, recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> CompletionStore:
    return CompletionStore(database, clock=clock)


async def rows(database: Database) -> list[int]:
    tables = (completions, completion_messages, completion_metadata)
    return await database.read(
        lambda connection: [
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        ]
    )


async def test_saved_completion_is_returned_unchanged(store: CompletionStore) -> None:
    stored = completion("c1", metadata={"user": "7", "topic": "weather"})
    await store.save(PROJECT, stored, messages("c1"))
    assert stored == await store.get(PROJECT, "c1")


async def test_saved_completion_is_visible_to_another_process(database: Database, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1", metadata={"a": "b"}), messages("c1", 3))
    assert [1, 3, 1] == await rows(database)


async def test_second_completion_with_one_id_is_a_conflict(database: Database, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1"), messages("c1"))
    with pytest.raises(ConflictError, match="There is a chat completion with id 'c1' already"):
        await store.save(PROJECT, completion("c1", model="other", metadata={"a": "b"}), messages("c1", 2))
    assert [1, 1, 0] == await rows(database)
    assert completion("c1") == await store.get(PROJECT, "c1")


async def test_one_of_many_concurrent_saves_gets_the_id(database: Database, store: CompletionStore) -> None:
    outcomes: list[str] = []

    async def save(number: int) -> None:
        try:
            await store.save(PROJECT, completion("c1", metadata={"n": str(number)}), messages("c1"))
            outcomes.append("saved")
        except ConflictError:
            outcomes.append("refused")

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(save, number)
    assert ["refused"] * 5 + ["saved"] == sorted(outcomes)
    assert [] == await database.check()


async def test_save_for_an_unknown_project_is_an_integrity_error(database: Database, store: CompletionStore) -> None:
    with pytest.raises(IntegrityError):
        await store.save("nobody", completion("c1"), messages("c1"))
    assert [0, 0, 0] == await rows(database)


@pytest.mark.parametrize("status", ["cancelled", "failed"])
async def test_partial_answer_has_its_status(status: Status, database: Database, store: CompletionStore) -> None:
    choice = StoredChoice(index=0, message=StoredAnswer(content="I am c"), finish_reason=None)
    stored = msgspec.structs.replace(completion("c1"), choices=[choice], usage=None)
    await store.save(PROJECT, stored, messages("c1"), status=status)
    assert stored == await store.get(PROJECT, "c1")
    assert status == await database.read(lambda connection: connection.execute(select(completions.c.status)).scalar())


async def test_default_status_is_completed(database: Database, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1"), messages("c1"))
    statement = select(completions.c.status)
    assert "completed" == await database.read(lambda connection: connection.execute(statement).scalar())


async def test_any_character_is_stored_unchanged(database: Database, store: CompletionStore) -> None:
    nasty = "\0\\0\\\\ é 😀 \x7f '; --"
    stored = msgspec.structs.replace(completion("c1", metadata={nasty: nasty}, model=nasty), input_user=nasty)
    await store.save(PROJECT, stored, [StoredMessage(id="c1-0", role="user", content=nasty, name=nasty)])
    assert stored == await store.get(PROJECT, "c1")
    found = await store.list(PROJECT, CompletionQuery(metadata={nasty: nasty}, model=nasty))
    assert [stored] == found.data
    assert [nasty] == [message.content for message in (await store.messages(PROJECT, "c1")).data]
    assert [] == await database.check()


async def test_the_largest_metadata_fits_the_index(store: CompletionStore) -> None:
    # Characters of four bytes that do not compress: PostgreSQL's index rows end at 2704 bytes.
    texts = [
        "".join(chr(0x10000 + (index * 7919 + salt * 104729) % 60000) for index in range(576)) for salt in range(16)
    ]
    stored = completion("c1", metadata={text[:64]: text[64:] for text in texts})
    await store.save(PROJECT, stored, messages("c1"))
    assert [stored] == (await store.list(PROJECT, CompletionQuery(metadata=stored.metadata))).data


async def test_update_replaces_all_metadata(database: Database, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1", metadata={"a": "1", "b": "2"}), messages("c1"))
    expected = completion("c1", metadata={"b": "3", "c": "4"})
    assert expected == await store.update_metadata(PROJECT, "c1", {"b": "3", "c": "4"})
    assert expected == await store.get(PROJECT, "c1")
    assert [] == (await store.list(PROJECT, CompletionQuery(metadata={"a": "1"}))).data
    assert [expected] == (await store.list(PROJECT, CompletionQuery(metadata={"c": "4"}))).data
    assert [] == await database.check()


async def test_update_leaves_the_same_id_of_another_project_unchanged(
    database: Database, store: CompletionStore
) -> None:
    await add_project(database)
    for project in (PROJECT, OTHER):
        await store.save(project, completion("c1", metadata={"a": "1"}), messages("c1"))
    await store.update_metadata(PROJECT, "c1", {"b": "2"})
    found = await store.list(OTHER, CompletionQuery(metadata={"a": "1"}))
    assert [completion("c1", metadata={"a": "1"})] == found.data
    assert [] == await database.check()


async def test_null_clears_metadata(store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1", metadata={"a": "1"}), messages("c1"))
    assert completion("c1") == await store.update_metadata(PROJECT, "c1", None)
    assert [] == (await store.list(PROJECT, CompletionQuery(metadata={"a": "1"}))).data


async def test_concurrent_updates_leave_the_metadata_of_one(database: Database, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1"), messages("c1"))
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(store.update_metadata, PROJECT, "c1", {"a": str(number), str(number): "x"})
    assert [] == await database.check()


async def test_delete_removes_messages_and_metadata(database: Database, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1", metadata={"a": "1"}), messages("c1", 3))
    await store.save(PROJECT, completion("c2", metadata={"a": "1"}), messages("c2", 3))
    assert CompletionDeleted(id="c1") == await store.delete(PROJECT, "c1")
    assert [1, 3, 1] == await rows(database)
    for call in (store.get, store.delete, store.messages):
        with pytest.raises(NotFoundError):
            await call(PROJECT, "c1")


async def test_pages_go_on_after_deleted_completions(store: CompletionStore) -> None:
    for number in range(5):
        await store.save(PROJECT, completion(f"c{number}"), messages(f"c{number}"))
    after, seen = None, []
    while (page := await store.list(PROJECT, CompletionQuery(limit=2, after=after))).data:
        for stored in page.data:
            await store.delete(PROJECT, stored.id)
        seen += [stored.id for stored in page.data]
        after = page.last_id
    assert ["c0", "c1", "c2", "c3", "c4"] == seen


@pytest.mark.parametrize("step", [-0.5, 0, 0.5])
async def test_completions_of_one_second_are_listed_as_they_were_stored(
    step: float, store: CompletionStore, clock: Clock
) -> None:
    stored = ["d", "a", "c", "b"]
    for name in stored:
        await store.save(PROJECT, completion(name), messages(name))
        clock.now += step
    assert stored == [one.id for one in (await store.list(PROJECT)).data]
    backwards = await store.list(PROJECT, CompletionQuery(order="desc", after="c"))
    assert ["a", "d"] == [one.id for one in backwards.data]


async def test_two_processes_store_completions_of_one_second_in_one_order(site: Site) -> None:
    names = ["d", "a", "c", "b", "f", "e"]
    async with site.open() as first, site.open() as second:
        ahead, behind = CompletionStore(first, clock=Clock(1000.5)), CompletionStore(second, clock=Clock(1000.0))
        for number, name in enumerate(names):
            store = (ahead, behind)[number % 2]
            await store.save(PROJECT, completion(name, metadata={"a": "b"}), messages(name))
        assert names == [one.id for one in (await behind.list(PROJECT)).data]
        filtered = CompletionQuery(metadata={"a": "b"}, after="a")
        assert names[2:] == [one.id for one in (await ahead.list(PROJECT, filtered)).data]


async def test_completion_is_listed_after_a_deleted_one_of_its_second(store: CompletionStore, clock: Clock) -> None:
    for name in ("b", "d"):
        await store.save(PROJECT, completion(name), messages(name))
    await store.delete(PROJECT, "d")
    clock.now += 0.1
    for name in ("c", "a"):
        await store.save(PROJECT, completion(name), messages(name))
    assert ["c", "a"] == [one.id for one in (await store.list(PROJECT, CompletionQuery(after="d"))).data]


async def test_updated_metadata_keeps_the_place_of_its_completion(store: CompletionStore, clock: Clock) -> None:
    for name in ("c", "b", "a"):
        await store.save(PROJECT, completion(name, metadata={"a": "b"}), messages(name))
    clock.now += 1
    await store.update_metadata(PROJECT, "c", {"a": "b", "new": "x"})
    page = await store.list(PROJECT, CompletionQuery(metadata={"a": "b"}))
    assert ["c", "b", "a"] == [one.id for one in page.data]


async def test_messages_of_the_request_are_listed_in_pages(store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1"), messages("c1", 5))
    await store.save(PROJECT, completion("c1-1"), messages("c1-1", 5))
    first = await store.messages(PROJECT, "c1", PageQuery(limit=2))
    assert (["c1-0", "c1-1"], "c1-0", "c1-1", True) == (
        [message.id for message in first.data],
        first.first_id,
        first.last_id,
        first.has_more,
    )
    rest = await store.messages(PROJECT, "c1", PageQuery(limit=3, after="c1-1"))
    assert (messages("c1", 5)[2:], False) == (rest.data, rest.has_more)
    back = await store.messages(PROJECT, "c1", PageQuery(after="c1-3", order="desc"))
    assert messages("c1", 5)[2::-1] == back.data
    assert [] == (await store.messages(PROJECT, "c1", PageQuery(after="c1-4"))).data


@pytest.mark.parametrize(
    "after", ["c1-" + "1" * 5000, "c1-5", "c1--1", "c1-01", "c1-", "c1-²", "c1-٣", "c1-x", "c2-0", "0", "", "c1-0\0"]
)
async def test_messages_after_an_unknown_message_are_not_found(after: str, store: CompletionStore) -> None:
    await store.save(PROJECT, completion("c1"), messages("c1", 5))
    with pytest.raises(NotFoundError) as caught:
        await store.messages(PROJECT, "c1", PageQuery(after=after))
    assert "after" == caught.value.param


async def test_empty_list_has_no_first_and_last_id(store: CompletionStore) -> None:
    page = await store.list(PROJECT)
    assert ([], None, None, False) == (page.data, page.first_id, page.last_id, page.has_more)


async def test_completion_must_match_all_filters(store: CompletionStore) -> None:
    for name, model, metadata in (
        ("c1", "tiny", {"a": "1"}),
        ("c2", "tiny", {"b": "2"}),
        ("c3", "tiny", {"a": "1", "b": "2"}),
        ("c4", "huge", {"a": "1", "b": "2"}),
        ("c5", "tiny", {"a": "1", "b": "3"}),
    ):
        await store.save(PROJECT, completion(name, model=model, metadata=metadata), messages(name))
    for query, expected in (
        (CompletionQuery(metadata={"a": "1", "b": "2"}), ["c3", "c4"]),
        (CompletionQuery(metadata={"b": "2", "a": "1"}, model="tiny"), ["c3"]),
        (CompletionQuery(metadata={"a": "1"}, model="tiny"), ["c1", "c3", "c5"]),
    ):
        assert expected == [stored.id for stored in (await store.list(PROJECT, query)).data]
        assert len(expected) == await store.count(PROJECT, query)


async def test_the_first_page_has_twenty_the_oldest_first(store: CompletionStore) -> None:
    for number in range(25):
        await store.save(PROJECT, completion(f"c{number:02}", created=100 - number // 3), messages(f"c{number:02}"))
    page = await store.list(PROJECT)
    assert ("c24", 20, True) == (page.first_id, len(page.data), page.has_more)
    assert [92, 93, 93, 93] == [stored.created for stored in page.data[:4]]


@pytest.mark.parametrize("after", ["nowhere", "", "\0", "x" * 1000])
async def test_page_after_an_unknown_completion_is_not_found(after: str, store: CompletionStore) -> None:
    with pytest.raises(NotFoundError) as caught:
        await store.list(PROJECT, CompletionQuery(after=after))
    assert "after" == caught.value.param
    assert len(caught.value.message) < 120


_PROJECTS = count()
NAMES = st.sampled_from(["a", "b"])
ROWS = st.lists(
    st.tuples(
        st.text("aBz_", min_size=1, max_size=3),
        st.integers(0, 3),
        st.sampled_from(["tiny", "huge"]),
        st.dictionaries(NAMES, NAMES, max_size=2),
    ),
    max_size=14,
)
QUERIES = st.builds(
    CompletionQuery,
    limit=st.integers(1, 5),
    order=st.sampled_from(["asc", "desc"]),
    model=st.none() | st.sampled_from(["tiny", "huge"]),
    metadata=st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=2),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ROWS, query=QUERIES)
async def test_pages_equal_the_pages_of_a_list_in_memory(
    database: Database, content: list[tuple[str, int, str, dict[str, str]]], query: CompletionQuery
) -> None:
    project = f"p{next(_PROJECTS)}"
    await add_project(database, project)
    store = CompletionStore(database)
    stored = [
        completion(f"{name}{-number}", created=created, model=model, metadata=metadata)
        for number, (name, created, model, metadata) in enumerate(content)
    ]
    for one in stored:
        await store.save(project, one, [])
    wanted = [
        one
        for _, one in sorted(enumerate(stored), key=lambda row: (row[1].created, row[0]), reverse=query.order == "desc")
        if query.model in {None, one.model} and (query.metadata or {}).items() <= one.metadata.items()
    ]
    for start in range(0, max(len(wanted), 1), query.limit):
        page = await store.list(project, query)
        assert wanted[start : start + query.limit] == page.data
        assert page.has_more == (len(wanted) > start + query.limit)
        query = msgspec.structs.replace(query, after=page.last_id)


@pytest.mark.parametrize("after", [False, True])
async def test_completion_of_another_project_is_not_found(
    database: Database, store: CompletionStore, *, after: bool
) -> None:
    await add_project(database)
    await store.save(OTHER, completion("theirs", metadata={"a": "b"}), messages("theirs", 3))
    await store.save(PROJECT, completion("mine"), messages("mine"))

    async def outcome(identifier: str, call: str) -> tuple[list[str], object]:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "get": lambda: store.get(PROJECT, identifier),
            "update": lambda: store.update_metadata(PROJECT, identifier, {"c": "d"}),
            "delete": lambda: store.delete(PROJECT, identifier),
            "messages": lambda: store.messages(PROJECT, identifier, PageQuery(after="x" if after else None)),
            "list": lambda: store.list(PROJECT, CompletionQuery(after=identifier)),
        }
        with recorded(database) as statements, pytest.raises(NotFoundError) as caught:
            await calls[call]()
        answer = caught.value.message.replace(identifier, "ID"), caught.value.param, caught.value.code
        return [statement for statement, _ in statements], answer

    for call in ("get", "update", "delete", "messages", "list"):
        assert await outcome("theirs", call) == await outcome("absent", call), call
    assert completion("theirs", metadata={"a": "b"}) == await store.get(OTHER, "theirs")
    assert [] == (await store.list(PROJECT, CompletionQuery(metadata={"a": "b"}))).data


async def test_two_projects_may_have_the_same_id(database: Database, store: CompletionStore) -> None:
    await add_project(database)
    for project in (PROJECT, OTHER):
        await store.save(project, completion("c1", metadata={"of": project}), messages("c1", 2))
    await store.delete(PROJECT, "c1")
    assert completion("c1", metadata={"of": OTHER}) == await store.get(OTHER, "c1")
    assert 2 == len((await store.messages(OTHER, "c1")).data)
    assert [] == await database.check()
