from hypothesis import given
from hypothesis import strategies as st

from antiphon.rendering.segments import TextSegment, content_size, joined_content, text_content

texts = st.lists(st.text(max_size=3), max_size=4)


def test_a_text_is_one_segment() -> None:
    assert (TextSegment("a"),) == text_content("a")


def test_the_empty_text_has_no_segment() -> None:
    assert () == text_content("")


@given(texts, st.text(max_size=2))
def test_joined_contents_have_the_text_of_joined_strings(parts: list[str], separator: str) -> None:
    assert text_content(separator.join(parts)) == joined_content(map(text_content, parts), separator)


@given(texts)
def test_adjacent_texts_are_one_segment(parts: list[str]) -> None:
    assert len(joined_content(map(text_content, parts))) <= 1


def test_the_size_is_the_number_of_characters() -> None:
    assert (0, 3) == (content_size(()), content_size(text_content("aé😀")))
