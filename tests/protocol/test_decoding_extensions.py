"""The rules of the extensions about decoding, and what a request says through them."""

from typing import Any

import pytest

from tests.protocol.bodies import accepted, error, place

LIMITS = ("max_completion_tokens", "max_tokens", "n_predict")


@pytest.mark.parametrize("name", LIMITS)
def test_answer_limit_of_minus_one_is_no_limit(name: str) -> None:
    assert [None, 5] == [accepted(**{name: value}).answer_limit for value in (-1, 5)]


def test_answer_limit_is_absent_without_a_field() -> None:
    assert None is accepted().answer_limit


@pytest.mark.parametrize("name", LIMITS)
def test_answer_of_no_tokens_is_refused(name: str) -> None:
    message = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got 0 instead."
    assert (message, name, "integer_below_min_value") == error(**{name: 0})


@pytest.mark.parametrize("name", LIMITS)
def test_answer_limit_below_minus_one_is_refused(name: str) -> None:
    assert (name, "integer_below_min_value") == place(**{name: -2})


@pytest.mark.parametrize(("first", "second"), [LIMITS[:2], LIMITS[1:], LIMITS[::2]])
def test_two_limits_of_the_answer_must_be_equal(first: str, second: str) -> None:
    assert 5 == accepted(**{first: 5, second: 5}).answer_limit
    message = f"Invalid value for '{second}': it differs from '{first}', which replaces it."
    assert (message, second, "invalid_value") == error(**{first: 5, second: -1})


@pytest.mark.parametrize(("expected", "seed"), [(None, None), (None, -1), (0, 0), (-2, -2)])
def test_seed_of_minus_one_is_none(expected: int | None, seed: int | None) -> None:
    assert expected == accepted(seed=seed).chosen_seed


@pytest.mark.parametrize("limit", [{}, {"max_tokens": 5}, {"n_predict": -1}])
def test_min_tokens_may_be_as_many_as_the_answer_may_have(limit: dict[str, Any]) -> None:
    assert 5 == accepted(min_tokens=5, **limit).min_tokens


def test_min_tokens_above_the_limit_is_refused() -> None:
    message = "Invalid value for 'min_tokens': it is more than the 5 tokens that the answer may have."
    assert (message, "min_tokens", "invalid_value") == error(min_tokens=6, max_tokens=5)


@pytest.mark.parametrize("asked", [0, 5, 1024])
def test_logprobs_of_the_prompt_come_in_one_body(asked: int) -> None:
    assert asked == accepted(prompt_logprobs=asked, stream=False).prompt_logprobs


@pytest.mark.parametrize("asked", [0, 5])
def test_logprobs_of_the_prompt_are_refused_in_a_stream(asked: int) -> None:
    message = "Invalid value for 'prompt_logprobs': it is only allowed when 'stream' is not enabled."
    assert (message, "prompt_logprobs", "invalid_value") == error(prompt_logprobs=asked, stream=True)


@pytest.mark.parametrize(("asked", "code"), [(-1, "integer_below_min_value"), (1025, "integer_above_max_value")])
def test_logprobs_of_all_tokens_for_the_prompt_are_refused(asked: int, code: str) -> None:
    assert ("prompt_logprobs", code) == place(prompt_logprobs=asked)


@pytest.mark.parametrize(("best_of", "n"), [(1, None), (1, 1), (3, 3)])
def test_best_of_may_be_equal_to_n(best_of: int, n: int | None) -> None:
    assert best_of == accepted(best_of=best_of, n=n).best_of


@pytest.mark.parametrize(("best_of", "n"), [(2, None), (3, 2)])
def test_best_of_more_than_n_is_refused(best_of: int, n: int | None) -> None:
    assert ("best_of", "invalid_value") == place(best_of=best_of, n=n)


@pytest.mark.parametrize("name", ["include_stop_str_in_output", "no_stop_trim"])
def test_either_name_includes_the_stop(name: str) -> None:
    assert [False, False, True] == [accepted(**fields).includes_stop for fields in ({}, {name: False}, {name: True})]


@pytest.mark.parametrize(("expected", "skipped"), [(False, None), (False, True), (True, False)])
def test_special_tokens_are_shown_unless_they_are_skipped(expected: bool, skipped: bool | None) -> None:  # noqa: FBT001
    assert expected is accepted(skip_special_tokens=skipped).shows_special_tokens


@pytest.mark.parametrize(("skipped", "spaces"), [(None, True), (True, True), (False, False), (False, None)])
def test_spaces_between_special_tokens_pass_where_there_are_none(
    skipped: bool | None,  # noqa: FBT001 (a table's column)
    spaces: bool | None,  # noqa: FBT001
) -> None:
    request = accepted(skip_special_tokens=skipped, spaces_between_special_tokens=spaces)
    assert spaces is request.spaces_between_special_tokens


def test_spaces_between_shown_special_tokens_are_refused() -> None:
    name = "spaces_between_special_tokens"
    assert (name, "invalid_value") == place(skip_special_tokens=False, spaces_between_special_tokens=True)


def test_two_names_of_the_repetition_penalty_must_agree() -> None:
    assert 1.1 == accepted(repeat_penalty=1.1, repetition_penalty=1.1).repeat_penalty
    assert ("repeat_penalty", "invalid_value") == place(repeat_penalty=1.1, repetition_penalty=1.2)
