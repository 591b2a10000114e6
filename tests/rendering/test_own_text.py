"""The server's own text among the texts of users."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.rendering.own_text import apart, own, valid

plain = st.text(st.characters(exclude_categories=["Cs"]))


@given(parts=st.lists(plain, min_size=1, max_size=7).filter(lambda parts: len(parts) % 2))
def test_what_is_marked_is_found_again(parts: list[str]) -> None:
    text = "".join(own(part) if number % 2 else part for number, part in enumerate(parts))
    assert parts == apart(text)


@given(text=st.text())
def test_a_valid_text_marks_nothing(text: str) -> None:
    assert [valid(text)] == apart(valid(text))


@given(text=plain)
def test_a_text_without_surrogates_is_valid(text: str) -> None:
    assert text == valid(text)
    assert f"\ufffd{text}\ufffd" == valid(f"\ud800{text}\udfff")
