from antiphon.protocol.field import expand
from antiphon.protocol.response_fields import RESPONSE_ROWS
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk
from tests.protocol.sdk_types import struct_paths

FIELDS = expand(RESPONSE_ROWS)


def test_every_field_that_is_sent_has_a_place_in_a_struct() -> None:
    places = struct_paths(ChatCompletion) | struct_paths(ChatCompletionChunk)
    assert {field.path for field in FIELDS if field.status == "honoured"} <= places


def test_every_field_of_a_struct_has_a_row() -> None:
    places = struct_paths(ChatCompletion) | struct_paths(ChatCompletionChunk)
    assert places <= {field.path for field in FIELDS}


def test_no_field_has_two_rows() -> None:
    assert len(FIELDS) == len({field.path for field in FIELDS})


def test_every_field_that_is_not_sent_says_why_or_lies_within_one_that_does() -> None:
    explained = tuple(field.path for field in FIELDS if field.status == "refused" and field.note)
    assert all(field.path.startswith(explained) for field in FIELDS if field.status == "refused")
