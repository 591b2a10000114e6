"""Query plans: every page is one range of one index."""

import re

import pytest
from sqlalchemy import Connection, select, text

from antiphon.protocol.stored_queries import CompletionQuery, PageQuery
from antiphon.store import completions as store_module
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from antiphon.store.schema import completion_metadata, completions, deleted_completions
from tests.store.rows import PROJECT, Statement, completion, messages, recorded

pytestmark = pytest.mark.anyio

ROWS = 2000
TABLES = ("completions", "completion_metadata", "completion_messages")


@pytest.fixture
async def store(database: Database) -> CompletionStore:
    """Return a store with so many rows that PostgreSQL prefers an index."""

    def fill(connection: Connection) -> None:
        row = dict(connection.execute(select(completions)).one()._mapping)
        rows = [
            row | {"id": f"c-{number}", "created": number, "model": "tiny" if number % 3 else "huge"}
            for number in range(2, ROWS)
        ]
        pairs = [
            {"project_id": PROJECT, "completion_id": row["id"], "created": row["created"], "key": key, "value": value}
            for row in rows
            for key, value in (("a", f"v{row['created'] % 2}"), ("b", f"v{row['created'] // 2 % 2}"))
        ]
        connection.execute(completions.insert(), rows)
        connection.execute(completion_metadata.insert(), pairs)
        places = [{"project_id": PROJECT, "id": f"x{n}", "created": n, "deleted_at": n} for n in range(ROWS)]
        connection.execute(deleted_completions.insert(), places)
        connection.execute(text("ANALYZE"))

    store = CompletionStore(database)
    await store.save(PROJECT, completion("c", created=1), messages("c", 200))
    await database.write(fill)
    return store


async def plan(database: Database, statement: Statement) -> str:
    sqlite = database.dialect == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
    lines = await database.read(
        lambda connection: connection.exec_driver_sql(explain + statement[0], statement[1]).all()
    )
    return "\n".join(str(line[-1]) for line in lines)


def assert_no_scan(found: str) -> None:
    assert "Seq Scan" not in found, found
    assert "Sort" not in found, found
    assert "TEMP B-TREE" not in found, found
    assert not re.search(r"SCAN (completions|completion_)", found), found


CASES = [
    ("ix_completions_created", CompletionQuery()),
    ("ix_completions_created", CompletionQuery(after="c-900")),
    ("ix_completions_created", CompletionQuery(after="c-900", order="desc")),
    ("ix_completions_model", CompletionQuery(model="huge")),
    ("ix_completions_model", CompletionQuery(model="huge", after="c-900", order="desc")),
    ("ix_completion_metadata_pair", CompletionQuery(metadata={"a": "v1"})),
    ("ix_completion_metadata_pair", CompletionQuery(metadata={"a": "v1"}, after="c-900")),
    ("ix_completion_metadata_pair", CompletionQuery(metadata={"a": "v1"}, after="c-900", order="desc")),
    ("ix_completion_metadata_pair", CompletionQuery(metadata={"a": "v1", "b": "v0"}, model="tiny", after="c-900")),
]


@pytest.mark.parametrize(("index", "query"), CASES)
async def test_a_page_is_a_range_of_an_index(
    index: str, query: CompletionQuery, database: Database, store: CompletionStore
) -> None:
    with recorded(database) as statements:
        page = await store.list(PROJECT, query)
    assert page.data
    selects = [statement for statement in statements if statement[0].startswith("SELECT")]
    found = await plan(database, selects[-1])
    assert index in found, found
    assert_no_scan(found)
    if query.after is not None:
        bounded = r"\((created|project_id).*\(?created" if database.dialect == "sqlite" else r"Index Cond: .*ROW\("
        assert re.search(bounded, found), found
    for statement in selects[:-1]:
        assert_no_scan(await plan(database, statement))


async def test_other_filters_are_looked_up_by_primary_key(database: Database, store: CompletionStore) -> None:
    with recorded(database) as statements:
        await store.list(PROJECT, CompletionQuery(metadata={"a": "v1", "b": "v0"}))
    expected = {"sqlite": "CORRELATED SCALAR SUBQUERY", "postgresql": "SubPlan"}[database.dialect]
    assert expected in await plan(database, statements[-1])


async def test_rarest_filter_drives_the_query(
    database: Database, store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PROBE", 50)
    rare = completion("rare", created=5, model="rare", metadata={"a": "v1", "r": "x"})
    await store.save(PROJECT, rare, messages("rare"))
    cases = [
        ("r", CompletionQuery(metadata={"a": "v1", "r": "x"})),
        ("r", CompletionQuery(metadata={"r": "x", "a": "v1"}, model="tiny")),
        ("b", CompletionQuery(metadata={"a": "v1", "b": "none"})),
        ("rare", CompletionQuery(metadata={"a": "v1"}, model="rare")),
    ]
    for driver, query in cases:
        with recorded(database) as statements:
            page = await store.list(PROJECT, query)
        expected = [rare] if "b" not in (query.metadata or {}) and query.model != "tiny" else []
        assert expected == page.data
        last = [parameters for statement, parameters in statements if statement.startswith("SELECT")][-1]
        # The driving condition comes first: the project, then the key or the model.
        assert [PROJECT, driver] == list(last)[:2]


async def test_last_completion_of_a_second_is_found_by_the_index(database: Database, store: CompletionStore) -> None:
    with recorded(database) as statements:
        await store.save(PROJECT, completion("new", created=900), messages("new"))
    (insert,) = [statement for statement in statements if statement[0].startswith("INSERT INTO completions ")]
    found = await plan(database, insert)
    assert "ix_completions_created" in found, found
    assert_no_scan(found)


async def test_single_objects_and_messages_are_found_by_key(database: Database, store: CompletionStore) -> None:
    with recorded(database) as statements:
        await store.get(PROJECT, "c-900")
        await store.messages(PROJECT, "c", PageQuery(after="c-100"))
        await store.update_metadata(PROJECT, "c-900", {"a": "b"})
        await store.delete(PROJECT, "c-900")
    asked = [statement for statement in statements if re.match("SELECT|UPDATE|DELETE", statement[0])]
    assert 6 <= len(asked)
    for statement in asked:
        if any(table in statement[0] for table in TABLES) and "deleted_at" not in statement[0]:
            assert_no_scan(await plan(database, statement))
