from collections.abc import Iterator

import pytest

from antiphon.errors import APIError, InvalidRequestError, ModelNotFoundError, RateLimitError


def all_errors(base: type[APIError] = APIError) -> Iterator[type[APIError]]:
    yield base
    for child in base.__subclasses__():
        yield from all_errors(child)


def test_error_has_the_status_type_param_and_code_of_the_reference() -> None:
    error = InvalidRequestError("Too small.", param="n", code="integer_below_min_value")
    assert (
        400,
        "invalid_request_error",
        "n",
        "integer_below_min_value",
    ) == (error.status, error.type, error.param, error.code)


def test_code_of_the_class_applies_unless_given() -> None:
    assert ["model_not_found", "y"] == [ModelNotFoundError("x").code, ModelNotFoundError("x", code="y").code]


def test_str_of_an_error_is_its_message() -> None:
    assert "Full." == str(RateLimitError("Full.", retry_after=1.5))


@pytest.mark.parametrize("error", list(all_errors()))
def test_every_error_has_a_status_a_type_and_a_docstring(error: type[APIError]) -> None:
    assert 400 <= error.status < 600
    assert error.type.endswith("_error")
    assert error.__doc__


@pytest.mark.parametrize("error", list(all_errors()))
def test_only_statuses_from_500_are_server_errors(error: type[APIError]) -> None:
    assert (error.status >= 500) == (error.type == "server_error")
