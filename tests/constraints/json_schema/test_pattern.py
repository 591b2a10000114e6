"""Translated patterns match as ECMA-262 and Python's re do."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.constraints.json_schema.pattern import any_text, any_text_except, translate
from antiphon.constraints.json_schema.pattern_queries import matches
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
def test_translated_pattern_matches_the_texts_that_python_matches(pattern: str, texts: list[str]) -> None:
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
        (r"^[\d-a-z]$", "z", True),
        (r"^[\d-a-z]$", "-", True),
        (r"^[\d-a-z]$", "b", False),
        (r"^[a-\d]$", "-", True),
        (r"^[a-\d]$", "5", True),
        (r"^[a-\d]$", ".", False),
        (r"^[\d]$", "-", False),
        (r"^[--a]$", "A", True),
        (r"^[^\D]$", "5", True),
        (r"^[^\D]$", "a", False),
        (r"^[^ab]$", "b", False),
        (r"^[a-a]$", "a", True),
        (r"^[\uD7FF-\uE000]$", "\ud7ff", True),
        (r"^[\uD7FF-\uE000]$", "\ue000", True),
        (r"\uD83D", "😀", False),
        (r"^\u{10FFFF}$", "\U0010ffff", True),
        (r"^\uDBFF\uDFFF$", "\U0010ffff", True),
        (r"^\uD800\uDC00$", "\U00010000", True),
        (r"^\P{Lu}\p{gc=L}$", "1a", True),
        (r"^a{2}$", "aaa", False),
        (r"^a{02,03}$", "aaa", True),
        (r"^a{2,}$", "aaaaa", True),
        (r"^(a|b)*?c|d$", "abcx", True),
        (r"^\cj[\cJ]$", "\n\n", True),
        (r"^[\0]\x41\t\f\r$", "\0A\t\f\r", True),
    ],
)
def test_details_of_ecma_262_are_translated(pattern: str, text: str, found: bool) -> None:  # noqa: FBT001
    assert found == matches(translate(pattern), text)


LOOK_AROUND = "uses look-around or flags, which are not supported"
BOUNDARY = r"uses the word boundary '\b', which is not supported"
BACK = "uses a back-reference, which is not supported"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)b", LOOK_AROUND),
        ("(?!a)b", LOOK_AROUND),
        ("(?<=a)b", LOOK_AROUND),
        ("(?i)a", LOOK_AROUND),
        ("(?P<name>a)", LOOK_AROUND),
        ("(a)\\1", BACK),
        ("\\9", BACK),
        ("\\k<name>", BACK),
        ("\\bword\\b", BOUNDARY),
        ("a\\B", BOUNDARY),
        ("a**", "has nothing to repeat"),
        ("*a", "has nothing to repeat"),
        ("a{2}{3}", "has nothing to repeat"),
        ("(^a)*", "repeats an anchor"),
        ("(a$|b)+", "repeats an anchor"),
        ("(a", "has an unclosed group"),
        ("a)", "has an unmatched ')'"),
        ("[a", "has an unclosed class"),
        ("[z-a]", "has a range out of order"),
        ("a{3,2}", "has a repetition out of order"),
        ("a{10001}", "repeats more than 10000 times"),
        ("a{1,10001}", "repeats more than 10000 times"),
        ("a{10001,}", "repeats more than 10000 times"),
        ("\\Z", "has an escape that ECMA-262 does not define: '\\Z'"),
        ("\\é", "has an escape that ECMA-262 does not define: '\\é'"),
        ("\\x4", "has an escape that ECMA-262 does not define: '\\x'"),
        ("\\p", "has an escape that ECMA-262 does not define: '\\p'"),
        ("\\k", "has an escape that ECMA-262 does not define: '\\k'"),
        ("\\c1", "has an escape that ECMA-262 does not define: '\\c'"),
        ("\\cé", "has an escape that ECMA-262 does not define: '\\c'"),
        ("\\01", "has an escape that ECMA-262 does not define: '\\0'"),
        ("\\", "has an escape that ECMA-262 does not define: '\\'"),
        ("\\u{110000}", "names a character beyond Unicode"),
        ("(" * 50 + ")" * 50, "has more than 50 nested groups"),
        ("a" * 8193, "is longer than 8192 characters"),
    ],
)
def test_unsupported_construct_is_refused_with_a_reason(pattern: str, reason: str) -> None:
    with pytest.raises(SchemaRefusedError) as caught:
        translate(pattern)
    assert f"'pattern' {reason}" == caught.value.reason


@pytest.mark.parametrize(
    ("expected", "pattern"),
    [
        ("a|b|", "a|b|"),
        ("(?:a(?:b))(?:c)", "(a(?:b))(?<name>c)"),
        ("(?:a){2}(?:b){2,}(?:c){2,10}(?:d)*(?:e)+(?:f)?", "a{2}b{02,}c{2,010}d*?e+f??"),
        ("(?:a){0}(?:a){0,0}", "a{0}a{0,0}"),
        (r"a\x{7B}\x{2C}2\x{7D}\x{5D}", "a{,2}]"),
        (r"[^\x{A}-\x{A}\x{D}-\x{D}\x{2028}-\x{2029}]", "."),
        (r"[\x{61}-\x{7A}\x{5F}-\x{5F}]", "[a-z_]"),
        (r"[^\x{61}-\x{61}\x{2D}-\x{2D}]", "[^a-]"),
        (r"[\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]", "[^]"),
        (r"[^\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]", "[]"),
        (r"[^\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]", r"\uD800"),
        (r"[^\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]", r"\uDFFF"),
        (r"\x{D7FF}\x{E000}", r"\uD7FF\uE000"),
        (r"[\x{D7FF}-\x{D7FF}][\x{E000}-\x{E000}]", r"[\uD7FF-\uD800][\uDFFF-\uE000]"),
        (r"[\p{L}\x{61}-\x{61}]", r"[\p{L}a]"),
        (r"[^\p{Nd}][^[\p{Nd}]]", r"\D[^\d]"),
        (r"[\x{30}-\x{39}][[\x{30}-\x{39}]]", r"\d[\d]"),
        (r"AA\x{2F}\x{5F}", r"\x41\u0041\/\_"),
        (r"\x{E9}\x{661}", "é\u0661"),
    ],
)
def test_pattern_is_written_in_llguidance_s_syntax(expected: str, pattern: str) -> None:
    assert expected == translate(pattern)


def test_patterns_at_the_limits_are_translated() -> None:
    assert "a" * 8192 == translate("a" * 8192)
    assert "(?:" * 49 + ")" * 49 == translate("(" * 49 + ")" * 49)
    assert "(?:a)" * 99 == translate("(a)" * 99)
    assert "(?:a){10000}(?:a){1,10000}" == translate("a{10000}a{1,10000}")


@given(st.lists(st.text("ab\n", max_size=3), max_size=4), st.text("ab\n", max_size=4))
@settings(deadline=None)
def test_excluded_texts_do_not_match_and_all_others_do(texts: list[str], text: str) -> None:
    assert (text not in texts) == matches(any_text_except(texts), text)


def test_any_text_bounds_the_length_of_the_whole_text() -> None:
    assert matches(any_text(1, 2), "é😀")
    assert not matches(any_text(1, 2), "abc")
    assert not matches(any_text(1, None), "")
