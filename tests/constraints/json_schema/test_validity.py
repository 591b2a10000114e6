"""Texts that the validator judges, and schemas that it does not take."""

from typing import Any

import pytest

from antiphon.constraints.json_schema.validity import is_valid

TAGS = {"type": "array", "uniqueItems": True}


@pytest.mark.parametrize(
    ("expected", "schema", "text"),
    [
        (True, TAGS, "[1, 2]"),
        (False, TAGS, "[1, 1]"),
        (False, TAGS, "[1"),
        (True, {"pattern": "^(?=a)"}, '"ab"'),
        (False, {"pattern": "^(?=a)"}, '"b"'),
        (True, {"format": "ipv4"}, '"no address"'),
        (None, {"$ref": "http://a.test/b"}, "1"),
        (None, {"pattern": "("}, '"a"'),
        (None, {"type": "nothing"}, "1"),
    ],
)
def test_text_is_validated(expected: bool | None, schema: dict[str, Any], text: str) -> None:  # noqa: FBT001
    assert expected is is_valid(schema, text)


def test_object_with_the_same_key_twice_is_invalid() -> None:
    assert [True, False] == [is_valid({}, text) for text in ('{"a": {"a": 1}}', '[{"a": 1, "a": 1}]')]


def test_endless_backtracking_ends() -> None:
    assert is_valid({"pattern": "^(?=(a+)+$)b"}, f'"{"a" * 40}!"') is not True


def test_nesting_that_json_does_not_take_is_invalid() -> None:
    assert False is is_valid({}, "[" * 100_000)
