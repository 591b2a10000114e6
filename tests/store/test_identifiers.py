"""Random text: its length, its alphabet and its distribution."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from antiphon.store.identifiers import random_text


def test_each_byte_below_a_multiple_of_62_gives_one_character() -> None:
    counts = Counter(random_text(248, lambda _: bytes(range(256))))
    assert {4} == set(counts.values())
    assert 62 == len(counts)


def test_bytes_that_would_favour_some_letters_are_dropped() -> None:
    answers = iter([b"\xff\xf8\xf7\x00", b"\x01\x02\x03\x04"])
    assert "z012" == random_text(4, lambda _: next(answers))


@given(st.integers(0, 60), st.randoms())
def test_text_has_the_given_length(length: int, random: object) -> None:
    text = random_text(length, random.randbytes)  # type: ignore[attr-defined]
    assert length == len(text)
    assert text == "" or text.isalnum()
