"""Questions about patterns that llguidance answers."""

import pytest

from antiphon.constraints.json_schema.matching import begins, is_empty, matches, string_schema
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError


def test_a_search_is_unanchored() -> None:
    assert matches("b", "abc")
    assert not matches("^b", "abc")


def test_any_text_can_be_searched() -> None:
    for text in ("", '"\\', "\x00\x1f\x7f", "é😀\n"):
        assert matches("", text)
        assert not matches("x", text)


def test_patterns_that_exclude_each_other_are_empty() -> None:
    assert is_empty(("^a", "^b"))
    assert not is_empty(("^a", "b$"))
    assert is_empty(("^a{3}$",), 0, 2)


def test_hostile_patterns_take_no_time() -> None:
    assert not matches("^(a+)+$", "a" * 200 + "b")
    assert not is_empty(("^(a?){50}a{50}$",))


def test_what_llguidance_cannot_follow_is_refused() -> None:
    with pytest.raises(SchemaRefusedError):
        matches("a^b", "ab")
    with pytest.raises(SchemaRefusedError):
        is_empty(("a^b",))


def test_schemas_of_texts() -> None:
    assert {"type": "string"} == string_schema(())
    assert {
        "type": "string",
        "pattern": "a",
        "minLength": 1,
        "maxLength": 2,
        "allOf": [{"type": "string", "pattern": "b"}],
    } == string_schema(("a", "b"), 1, 2)


def test_bounds_that_only_a_long_text_satisfies_cannot_be_begun() -> None:
    multiples = tuple(f"^(a{{{count}}})*$" for count in (97, 101, 103, 107))
    assert [True, False] == [begins(multiples[:1], 1), begins(multiples)]
    assert begins(("^[a-z]+$", "b"), 3, 40)
