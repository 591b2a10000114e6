"""Patterns mean what ECMA-262 says, and what Python's re says."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.constraints.json_schema.matching import matches
from antiphon.constraints.json_schema.pattern import any_but, any_text, literal, translate
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError

ATOMS: tuple[str, ...] = (
    "a",
    "b",
    "\\d",
    "\\w",
    "\\s",
    "\\S",
    "\\W",
    "\\D",
    ".",
    "[ab]",
    "[^ab]",
    "[\\w-]",
    "[^\\s]",
    "[^\\W]",
    "(a|b)",
)
ATOMS += ("(?:ab)", "\\.", "-", "[.]", "é", "\\u00e9", "\\x41", "[\\d.-]", "[-a]", "[a-]", "(^a|b)", "(a$|b)", "()")
QUANTIFIERS = ("", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,}", "*?")
ALPHABET = "ab.-AéF1\u0663 _\n\ufeff\x1c\x85{,\u6f22"

sequences = st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(QUANTIFIERS)).map("".join), max_size=4)
patterns = st.tuples(st.sampled_from(("", "^")), sequences.map("".join), st.sampled_from(("", "$"))).map("".join)


@settings(deadline=None)
@given(st.lists(patterns, min_size=1, max_size=2).map("|".join), st.lists(st.text(ALPHABET, max_size=4), min_size=5))
def test_what_is_found_is_what_python_finds(pattern: str, texts: list[str]) -> None:
    expected = re.compile(pattern.replace("$", r"\Z"))
    try:
        translated = translate(pattern)
        found = [text for text in texts if matches(translated, text)]
    except SchemaRefusedError as error:
        assert "anchor" in error.reason or "complex" in error.reason  # noqa: PT017 (others would be bugs)
        return
    assert [] == [text for text in found if not expected.search(text)]
    agreed = [text for text in texts if text.isascii() and text.isprintable() and expected.search(text)]
    assert [] == [text for text in agreed if text not in found]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^\/$", "/", True),
        (r"^[/]\u{1F600}$", "/😀", True),
        (r"^\uD83D\uDE00$", "😀", True),
        (r"^[\uD83D\uDE00-\uD83D\uDE4F]$", "😁", True),
        (r"^[\u0000-\uFFFF]$", "\uffff", True),
        (r"^[\u0000-\uFFFF]$", "😀", False),
        (r"^\cJ\0\v$", "\n\0\v", True),
        (r"^[^]$", "\n", True),
        (r"[]", "a", False),
        (r"^.$", "\u2028", False),
        (r"^[a&&b]$", "&", True),
        (r"^[[a]$", "[", True),
        (r"^[\b]$", "\b", True),
        (r"^{}$", "{}", True),
        (r"^a{,2}$", "a{,2}", True),
        (r"^(?<year>\d{4})$", "2024", True),
        (r"^\p{Lu}\p{Script=Greek}$", "A\u03b1", True),
        (r"^\P{L}$", "1", True),
        (r"a$", "a\n", False),
        (r"^#$", "#", True),
    ],
)
def test_details_of_ecma(pattern: str, text: str, found: bool) -> None:  # noqa: FBT001
    assert found == matches(translate(pattern), text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)b", "look-around"),
        ("(?!a)b", "look-around"),
        ("(?<=a)b", "look-around"),
        ("(?i)a", "look-around or flags"),
        ("(a)\\1", "back-reference"),
        ("\\bword\\b", "word boundary"),
        ("a**", "nothing to repeat"),
        ("*a", "nothing to repeat"),
        ("(^a)*", "repeats an anchor"),
        ("(a", "unclosed group"),
        ("a)", "unmatched"),
        ("[a", "unclosed class"),
        ("[z-a]", "range out of order"),
        ("a{3,2}", "repetition out of order"),
        ("a{99999}", "repeats more than"),
        ("\\Z", "does not define"),
        ("\\", "does not define"),
        ("(" * 60 + ")" * 60, "nested groups"),
        ("a" * 9000, "longer than"),
    ],
)
def test_what_cannot_be_followed_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(SchemaRefusedError, match=reason):
        translate(pattern)


@given(st.lists(st.text("ab\n", max_size=3), max_size=4), st.text("ab\n", max_size=4))
@settings(deadline=None)
def test_any_text_but_some(texts: list[str], text: str) -> None:
    assert (text not in texts) == matches(any_but(texts), text)


def test_whole_texts() -> None:
    assert matches(any_text(1, 2), "é😀")
    assert not matches(any_text(1, 2), "abc")
    assert not matches(any_text(1, None), "")
    assert matches("^" + literal("a.b\\") + "$", "a.b\\")
