"""Look-aheads at the start of a pattern, as further patterns."""

import re

import pytest

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.look_ahead import split_look_aheads
from tests.constraints.json_schema.random_schemas import admitted

EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
"""That of zod 4."""
DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
"""That of pydantic."""
TEXTS = [
    "",
    "a",
    "aA1",
    "A1",
    "a1b",
    "-1.5",
    ".",
    "-",
    "+.",
    "0",
    "1.",
    ".5",
    "a.b@c.de",
    ".a@b.cd",
    "a..b@c.de",
    "a@b",
]


@pytest.mark.parametrize(
    "pattern",
    [
        EMAIL,
        DECIMAL,
        r"^(?=.*[A-Z])(?=.*\d).{2,}$",
        "^(?!a)",
        "^(?![^a])",
        "^(?![a-c])[a-z]",
        r"^(?!.*11)\d*$",
        r"^(?!\|)(?:a|b)",
    ],
)
def test_text_is_admitted_if_python_finds_the_pattern(pattern: str) -> None:
    text = compile_schema({"type": "string", "pattern": pattern}, strict=False, param="p")
    assert [one for one in TEXTS if re.search(pattern, one)] == admitted(text, TEXTS)


@pytest.mark.parametrize(
    "pattern",
    ["a(?=b)", "(?=a)b", "^(?!ab)", "^(?!a|b)", "^(?=a|b)", "^(?!a)b|c", "^(?=a", "^(?<!a)b", "^a", r"^(?!.*\.\,)"],
)
def test_other_patterns_are_left_as_they_are(pattern: str) -> None:
    assert (pattern,) == split_look_aheads(pattern)


def test_email_of_zod_is_enforced_beside_its_format() -> None:
    schema = {"type": "string", "format": "email", "pattern": EMAIL}
    assert ["a.b@c.de"] == admitted(compile_schema(schema, strict=False, param="p"), TEXTS)
