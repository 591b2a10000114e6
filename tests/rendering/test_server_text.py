"""Marks of the server's text within texts of users."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.rendering.server_text import replace_surrogates, server_text, split_server_text

plain = st.text(st.characters(exclude_categories=["Cs"]))


@given(parts=st.lists(plain, min_size=1, max_size=7).filter(lambda parts: len(parts) % 2))
def test_marked_texts_are_split_off(parts: list[str]) -> None:
    text = "".join(server_text(part) if number % 2 else part for number, part in enumerate(parts))
    assert parts == split_server_text(text)


@given(text=st.text())
def test_text_without_surrogates_has_no_marks(text: str) -> None:
    assert [replace_surrogates(text)] == split_server_text(replace_surrogates(text))


@given(text=plain)
def test_only_surrogates_are_replaced(text: str) -> None:
    assert text == replace_surrogates(text)
    assert f"\ufffd{text}\ufffd" == replace_surrogates(f"\ud800{text}\udfff")
