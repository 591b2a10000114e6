from collections.abc import Iterator

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.protocol.combined_errors import MAX_ERRORS, all_results, combined


def errors(count: int) -> Iterator[InvalidRequestError]:
    return (InvalidRequestError(f"E{number}.", param=f"p{number}", code=f"c{number}") for number in range(count))


def test_no_errors_are_none() -> None:
    assert combined([]) is None


def test_single_error_stays_the_same() -> None:
    (error,) = errors(1)
    assert error is combined([error])


def test_combined_error_has_all_messages_and_the_place_of_the_first() -> None:
    error = combined(errors(MAX_ERRORS))
    assert error is not None
    assert ("E0. E1. E2. E3. E4.", "p0", "c0") == (error.message, error.param, error.code)


def test_number_of_messages_is_bounded() -> None:
    error = combined(errors(MAX_ERRORS + 1))
    assert error is not None
    assert "E0. E1. E2. E3. E4. There are more errors." == error.message


def test_errors_after_the_bound_are_not_looked_for() -> None:
    rest = errors(MAX_ERRORS + 3)
    combined(rest)
    assert f"E{MAX_ERRORS + 1}." == next(rest).message


def test_equal_messages_are_named_once() -> None:
    error = combined([*errors(1), *errors(2)])
    assert error is not None
    assert "E0. E1." == error.message


def test_every_call_is_made_and_all_errors_are_raised_as_one() -> None:
    first, second = errors(2)
    made = []

    def fails(error: InvalidRequestError) -> None:
        raise error

    with pytest.raises(InvalidRequestError, match=r"^E0\. E1\.$"):
        all_results([lambda: fails(first), lambda: made.append(1), lambda: fails(second), lambda: made.append(2)])
    assert [1, 2] == made


def test_results_of_calls_without_errors_are_returned() -> None:
    assert [1, 2] == all_results([lambda: 1, lambda: 2])
