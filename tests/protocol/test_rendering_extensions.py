from typing import Any

import msgspec
import pytest

from antiphon.protocol.rendering_extensions import FORM_FIELDS
from tests.protocol.bodies import accepted, error, place

FORMS: dict[str, Any] = {
    "structured_outputs": {"json": None, "json_object": True, "regex": None, "choice": None, "grammar": None},
    "guided_json": {"type": "object"},
    "guided_regex": "[a-z]+",
    "guided_choice": ["yes", "no"],
    "guided_grammar": 'root ::= "a"',
    "grammar": 'root ::= "a"',
}


def test_every_form_but_the_response_format_is_tested() -> None:
    assert set(FORM_FIELDS[1:]) == set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_form_of_the_content_keeps_its_value(name: str) -> None:
    assert FORMS[name] == msgspec.to_builtins(getattr(accepted(**{name: FORMS[name]}), name))


@pytest.mark.parametrize("name", FORMS)
def test_two_forms_of_the_content_are_refused_by_the_name_of_the_second(name: str) -> None:
    message = f"Invalid value for '{name}': it contradicts 'response_format': both constrain the content."
    fields = {name: FORMS[name], "response_format": {"type": "json_object"}}
    assert (message, name, "invalid_value") == error(**fields)


def test_format_of_type_text_is_no_second_form() -> None:
    assert "a+" == accepted(guided_regex="a+", response_format={"type": "text"}).guided_regex


@pytest.mark.parametrize("members", [{}, {"regex": "a", "choice": ["a"]}, {"json_object": False}])
def test_structured_outputs_have_exactly_one_form(members: dict[str, Any]) -> None:
    assert ("structured_outputs", "invalid_value") == place(structured_outputs=members)


@pytest.mark.parametrize(
    ("choices", "code"),
    [([], "empty_array"), ([""], "empty_string"), (["a"] * 1025, "array_above_max_length"), ([1], "invalid_type")],
)
def test_choices_have_bounds(choices: list[Any], code: str) -> None:
    assert code == error(guided_choice=choices)[2]
