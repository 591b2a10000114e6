"""Any text is stored unchanged in both databases."""

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
def test_text_is_stored_unchanged(text: str) -> None:
    assert "\0" not in bound(text)
    assert text == ClientText().process_result_value(bound(text), DIALECT)


@given(TEXT, TEXT)
def test_different_texts_are_stored_differently(first: str, second: str) -> None:
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


def test_collation_is_set_for_postgresql_only() -> None:
    assert 'COLLATE "C"' in str(CreateTable(schema.projects).compile(dialect=POSTGRESQL))
    assert "COLLATE" not in str(CreateTable(schema.projects).compile(dialect=DIALECT))
