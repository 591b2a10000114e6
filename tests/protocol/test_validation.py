import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import APIError
from antiphon.protocol import validation


@settings(deadline=None)
@given(st.text(st.characters(categories=None)))
def test_shortened_text_is_bounded_and_encodes_as_utf8(text: str) -> None:
    assert len(validation.shorten(text)) <= validation.MAX_ECHO
    validation.shorten(text).encode()


def test_short_text_is_unchanged() -> None:
    assert validation.shorten("é" * 64) == "é" * 64
    assert validation.shorten("é" * 65) == "é" * 61 + "..."


@pytest.mark.parametrize(("path", "key", "expected"), [("", "stop", "stop"), ("a[0]", "b", "a[0].b")])
def test_join_appends_a_key_to_a_path(path: str, key: str, expected: str) -> None:
    assert expected == validation.join(path, key)


@pytest.mark.parametrize(
    ("values", "expected"), [(["a"], "'a'"), (["a", "b"], "'a' and 'b'"), (["a", "b", "c"], "'a', 'b', and 'c'")]
)
def test_enumerated_values_are_quoted_and_joined(values: list[str], expected: str) -> None:
    assert expected == validation.enumerate_values(values)


@pytest.mark.parametrize(("value", "expected"), [(2.0, "2"), (2.5, "2.5"), (3, "3"), (10**100, "1" + "0" * 60 + "...")])
def test_number_is_shortened_without_a_zero_fraction(value: float, expected: str) -> None:
    assert expected == validation.number(value)


@pytest.mark.parametrize(
    ("relation", "code"),
    [
        ("<=", "integer_above_max_value"),
        ("<", "integer_above_max_value"),
        (">=", "integer_below_min_value"),
        (">", "integer_below_min_value"),
    ],
)
def test_out_of_range_error_has_the_code_of_its_relation(relation: str, code: str) -> None:
    error: APIError = validation.out_of_range("n", "integer", relation, 1, 0)
    assert code == error.code
    assert f"Expected a value {relation} 1, but got 0 instead." in error.message


def test_error_with_one_supported_value_names_it() -> None:
    assert "Invalid value: 'x'. Value must be 'y'." == validation.unsupported_value("a", "x", ["y"]).message


def test_pattern_is_shown_without_the_guard_against_newlines() -> None:
    assert validation.pattern_mismatch("name", "^a$(?!\\n)").message.endswith("matches the pattern '^a$'.")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("array", "Invalid 'x': empty array. Expected an array with minimum length 1, but got an empty array instead."),
        (
            "string",
            "Invalid 'x': empty string. Expected a string with minimum length 1, but got an empty string instead.",
        ),
    ],
)
def test_error_of_an_empty_value_has_its_code(kind: str, message: str) -> None:
    error: APIError = validation.empty("x", kind)
    assert (message, f"empty_{kind}") == (error.message, error.code)


def test_error_of_the_whole_body_has_no_param() -> None:
    error = validation.invalid_type("", "an object", "null")
    assert (None, "Invalid type for the request body: expected an object, but got null instead.") == (
        error.param,
        error.message,
    )


def test_error_with_a_lone_surrogate_encodes_as_json() -> None:
    assert json.dumps(validation.unknown_parameter(validation.join("", "\ud800")).message)
    assert "?" == validation.unknown_parameter(validation.join("", "\ud800")).param
