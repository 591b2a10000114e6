import pytest

from antiphon.errors import AnswerMemoryError, InvalidRequestError
from antiphon.service.answer_memory import MAX_ANSWER, SMALL_ANSWER, AnswerMemory


def test_end_of_the_block_releases_the_share() -> None:
    memory = AnswerMemory()
    with memory.share() as first, memory.share() as second:
        first.grow(3)
        second.grow(4)
        assert 7 == memory.held
    assert 0 == memory.held


def test_too_large_answer_is_refused_and_its_share_released() -> None:
    memory = AnswerMemory()
    with memory.share() as share:
        share.grow(MAX_ANSWER)
        with pytest.raises(InvalidRequestError) as caught:
            share.grow(1)
    assert (400, "answer_too_large", 0) == (caught.value.status, caught.value.code, memory.held)
    assert str(MAX_ANSWER) in caught.value.message


def test_full_memory_ends_a_long_answer_but_not_a_short_one() -> None:
    memory = AnswerMemory(3 * SMALL_ANSWER)
    with memory.share() as first, memory.share() as long, memory.share() as short:
        first.grow(2 * SMALL_ANSWER)
        long.grow(SMALL_ANSWER)
        with pytest.raises(AnswerMemoryError) as caught:
            long.grow(1)
        assert (429, "answer_memory_exceeded", 1.0) == (
            caught.value.status,
            caught.value.code,
            caught.value.retry_after,
        )
        short.grow(SMALL_ANSWER)
        with pytest.raises(AnswerMemoryError):
            short.grow(1)
    assert 0 == memory.held
