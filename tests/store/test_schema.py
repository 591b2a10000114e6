"""Text of clients passes both databases unchanged, and differs in the database when it differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Table, make_url
from sqlalchemy.schema import CreateTable

from antiphon.store import schema
from antiphon.store.schema import ClientText

TEXT = st.text(alphabet=st.sampled_from("\\0\0a") | st.characters(codec="utf-8"), max_size=20)
DIALECT = make_url("sqlite://").get_dialect()()
POSTGRESQL = make_url("postgresql+asyncpg://").get_dialect()()


def bound(text: str) -> str:
    value = ClientText().process_bind_param(text, DIALECT)
    assert value is not None
    return value


@given(TEXT)
def test_text_comes_back(text: str) -> None:
    assert "\0" not in bound(text)
    assert text == ClientText().process_result_value(bound(text), DIALECT)


@given(TEXT, TEXT)
def test_text_that_differs_is_kept_differently(first: str, second: str) -> None:
    assert (first == second) == (bound(first) == bound(second))


def test_null_stays_null() -> None:
    assert ClientText().process_bind_param(None, DIALECT) is None
    assert ClientText().process_result_value(None, DIALECT) is None


@pytest.mark.parametrize(
    "table", [table for table in schema.metadata.sorted_tables if "project_id" in table.c], ids=lambda table: table.name
)
def test_an_object_s_key_begins_with_its_project(table: Table) -> None:
    if table.name != "api_keys":  # found before the project is known
        assert "project_id" == next(iter(table.primary_key.columns)).name


def test_only_postgresql_is_told_the_order() -> None:
    assert 'COLLATE "C"' in str(CreateTable(schema.projects).compile(dialect=POSTGRESQL))
    assert "COLLATE" not in str(CreateTable(schema.projects).compile(dialect=DIALECT))
