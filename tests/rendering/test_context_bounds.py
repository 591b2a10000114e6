import pytest

from antiphon.errors import InvalidRequestError
from antiphon.rendering.context_bounds import ContextBounds

BOUNDS = ContextBounds(10, 4)


def test_bounds_grow_with_the_context_and_the_longest_token() -> None:
    assert (2560, 40) == (BOUNDS.max_characters, BOUNDS.max_bytes)


def test_size_at_its_limit_is_accepted_and_one_more_is_refused() -> None:
    BOUNDS.check_size(3, 3, "messages")
    with pytest.raises(InvalidRequestError, match="your request has 4 messages") as caught:
        BOUNDS.check_size(4, 3, "messages")
    assert ("messages", "context_length_exceeded") == (caught.value.param, caught.value.code)


def test_text_of_more_bytes_than_the_context_can_hold_is_refused() -> None:
    BOUNDS.check_bytes("é" * 20)
    with pytest.raises(InvalidRequestError, match="41 bytes, which are at least 11 tokens"):
        BOUNDS.check_bytes("é" * 20 + "a")


@pytest.mark.parametrize("length", [0, 10])
def test_prompt_that_is_empty_or_leaves_no_room_is_refused(length: int) -> None:
    BOUNDS.check_length(1)
    BOUNDS.check_length(9)
    with pytest.raises(InvalidRequestError):
        BOUNDS.check_length(length)
