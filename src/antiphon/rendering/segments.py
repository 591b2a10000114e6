"""The content of a message as a sequence of segments. Text is the only kind of segment so far."""

from collections.abc import Iterable
from itertools import chain, groupby

from msgspec import Struct


class TextSegment(Struct, frozen=True):
    """A text that is not empty."""

    text: str


Segment = TextSegment
Content = tuple[Segment, ...]
"""Adjacent texts are one segment. The empty content has no segment."""


def text_content(text: str) -> Content:
    """Return the content of one text."""
    return (TextSegment(text),) if text else ()


def joined_content(contents: Iterable[Content], separator: str = "") -> Content:
    """Return the contents in order, with ``separator`` as text between them, as in :meth:`str.join`."""
    between = text_content(separator)
    separated = [content if number == 0 else between + content for number, content in enumerate(contents)]
    return tuple(
        segment
        for kind, run in groupby(chain.from_iterable(separated), key=type)
        for segment in (text_content("".join(each.text for each in run)) if kind is TextSegment else run)
    )


def content_size(content: Content) -> int:
    """Return the number of characters."""
    return sum(len(segment.text) for segment in content)
