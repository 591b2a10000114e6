from collections.abc import Iterator

import pytest

from antiphon.errors import APIError, InvalidRequestError, ModelNotFoundError, RateLimitError


def all_errors(base: type[APIError] = APIError) -> Iterator[type[APIError]]:
    yield base
    for child in base.__subclasses__():
        yield from all_errors(child)


def test_an_error_says_what_the_reference_says() -> None:
    error = InvalidRequestError("Too small.", param="n", code="integer_below_min_value")
    assert (error.status, error.type, error.param, error.code) == (
        400,
        "invalid_request_error",
        "n",
        "integer_below_min_value",
    )


def test_the_code_is_the_class_s_unless_given() -> None:
    assert [ModelNotFoundError("x").code, ModelNotFoundError("x", code="y").code] == ["model_not_found", "y"]


def test_the_message_is_what_str_gives() -> None:
    assert str(RateLimitError("Full.", retry_after=1.5)) == "Full."


@pytest.mark.parametrize("error", list(all_errors()))
def test_every_error_has_a_status_a_type_and_a_docstring(error: type[APIError]) -> None:
    assert 400 <= error.status < 600
    assert error.type.endswith("_error")
    assert error.__doc__


@pytest.mark.parametrize("error", list(all_errors()))
def test_the_client_s_mistakes_and_the_server_s_faults_are_told_apart(error: type[APIError]) -> None:
    assert (error.status >= 500) == (error.type == "server_error")
