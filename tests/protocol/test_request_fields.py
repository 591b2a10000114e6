from typing import get_type_hints

import msgspec
import pytest

from antiphon.protocol.decoding_fields import IDLE
from antiphon.protocol.field import Row, expand, honoured, refused
from antiphon.protocol.request_fields import REFUSED_ROWS, REQUEST_ROWS, REQUESTS
from antiphon.protocol.requests import CreateChatCompletion
from tests.protocol.sdk_types import struct_paths


def test_the_table_has_exactly_the_fields_that_are_decoded() -> None:
    decoded = {field.path for field in expand(REQUEST_ROWS) if field.status != "redundant"}
    assert struct_paths(CreateChatCompletion) == decoded


def test_no_field_has_two_rows() -> None:
    paths = [field.path for field in expand(REQUEST_ROWS)]
    assert len(paths) == len(set(paths))


def test_every_refusal_says_what_is_asked_for() -> None:
    assert all(row.field.note for row in REQUEST_ROWS if row.field.status == "refused")


@pytest.mark.parametrize("row", [*REFUSED_ROWS, *IDLE], ids=lambda row: row.field.path)
def test_what_passes_is_a_value_of_the_field(row: Row) -> None:
    model = get_type_hints(CreateChatCompletion, include_extras=True)[row.field.path]
    for value in row.field.idle:
        assert value == msgspec.to_builtins(msgspec.convert(value, model))


def test_moving_a_field_is_one_word() -> None:
    nested = ("[].type",)
    now, then = refused("tools", "tool calls", nested=nested), honoured("tools", REQUESTS, nested=nested)
    assert [field.path for field in expand((now,))] == [field.path for field in expand((then,))]
    assert ["honoured", "honoured"] == [field.status for field in expand((then,))]
