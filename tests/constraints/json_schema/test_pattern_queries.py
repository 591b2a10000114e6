"""Questions about patterns that llguidance answers."""

import pytest

from antiphon.constraints.json_schema.pattern_queries import can_begin, is_empty, matches, string_schema
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
    assert [True, False] == [can_begin(multiples[:1], 1, None), can_begin(multiples, 0, None)]
    assert can_begin(("^[a-z]+$", "b"), 3, 40)


def test_a_text_that_a_search_finds_only_the_start_of_does_not_match() -> None:
    assert [False, True] == [matches("^ab$", text) for text in ("a", "ab")]


def test_a_control_character_is_one_character() -> None:
    assert [True, True] == [matches("^[^a]$", text) for text in ("\x7f", "\x1f")]


def test_a_pattern_without_any_text_matches_none() -> None:
    assert not matches("[^\\x{0}-\\x{10FFFF}]", "a")


def test_the_empty_text_alone_is_enough_for_patterns_to_share_one() -> None:
    assert not is_empty(("^a*$", "^b*$"))


def test_a_pattern_that_cannot_be_followed_is_not_written_to_the_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SchemaRefusedError):
        matches("b^a", "ab")
    assert not can_begin(tuple(f"^(b{{{count}}})*$" for count in (97, 101, 103, 107)), 0, None)
    assert ("", "") == capfd.readouterr()
