"""Questions about patterns, answered by llguidance."""

import pytest

from antiphon.constraints.json_schema.pattern import translate
from antiphon.constraints.json_schema.pattern_queries import (
    MAX_TEXT,
    MAX_TEXTS,
    can_begin,
    few_texts,
    is_empty,
    matches,
    string_schema,
)
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError


def test_patterns_are_unanchored() -> None:
    assert matches("b", "abc")
    assert not matches("^b", "abc")


def test_any_text_can_be_matched() -> None:
    for text in ("", '"\\', "\x00\x1f\x7f", "é😀\n"):
        assert matches("", text)
        assert not matches("x", text)


def test_patterns_without_a_common_text_are_empty() -> None:
    assert is_empty(("^a", "^b"))
    assert not is_empty(("^a", "b$"))
    assert is_empty(("^a{3}$",), 0, 2)


def test_hostile_patterns_are_matched_in_linear_time() -> None:
    assert not matches("^(a+)+$", "a" * 200 + "b")
    assert not is_empty(("^(a?){50}a{50}$",))


def test_pattern_that_llguidance_cannot_compile_is_refused() -> None:
    with pytest.raises(SchemaRefusedError):
        matches("a^b", "ab")
    with pytest.raises(SchemaRefusedError):
        is_empty(("a^b",))


def test_string_schema_has_all_patterns_and_lengths() -> None:
    assert {"type": "string"} == string_schema(())
    assert {
        "type": "string",
        "pattern": "a",
        "minLength": 1,
        "maxLength": 2,
        "allOf": [{"type": "string", "pattern": "b"}],
    } == string_schema(("a", "b"), 1, 2)


def test_text_whose_bounds_require_a_huge_length_cannot_begin() -> None:
    multiples = tuple(f"^(a{{{count}}})*$" for count in (97, 101, 103, 107))
    assert [True, False] == [can_begin(multiples[:1], 1, None), can_begin(multiples, 0, None)]
    assert can_begin(("^[a-z]+$", "b"), 3, 40)


def test_start_of_a_match_does_not_match() -> None:
    assert [False, True] == [matches("^ab$", text) for text in ("a", "ab")]


def test_a_control_character_is_one_character() -> None:
    assert [True, True] == [matches("^[^a]$", text) for text in ("\x7f", "\x1f")]


def test_pattern_of_an_empty_class_matches_nothing() -> None:
    assert not matches("[^\\x{0}-\\x{10FFFF}]", "a")


def test_patterns_that_share_only_the_empty_text_are_not_empty() -> None:
    assert not is_empty(("^a*$", "^b*$"))


def test_refused_pattern_writes_nothing_to_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SchemaRefusedError):
        matches("b^a", "ab")
    assert not can_begin(tuple(f"^(b{{{count}}})*$" for count in (97, 101, 103, 107)), 0, None)
    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize(
    ("expected", "pattern"),
    [
        (("a", "b"), "^(?:a|b)$"),
        (("", "a", "aa"), "^a{0,2}$"),
        (("é",), "^é$"),
        (None, "^[a-z]+$"),
        (None, "a"),
        (None, "^[0-9]{4}$"),
        (None, '^"$'),
        (None, f"^a{{{MAX_TEXT}}}$"),
        (("a" * (MAX_TEXT - 1),), f"^a{{{MAX_TEXT - 1}}}$"),
        (None, f"^(?:{'|'.join(f'a{number}' for number in range(MAX_TEXTS + 1))})$"),
    ],
)
def test_texts_of_a_pattern_are_listed_if_they_are_few(expected: tuple[str, ...] | None, pattern: str) -> None:
    assert expected == few_texts(translate(pattern))
