"""How a model family writes, as data: no Jinja, no tokens, no HTTP."""

from msgspec import Struct


class ReasoningMarkers(Struct, frozen=True):
    """The texts around the reasoning that comes before an answer, as the model writes them.

    They may be plain text (``<think>``), the text of control tokens (``[THINK]``) or a run of both, as in channels.
    """

    start: str
    end: str


class ChatFormat(Struct, frozen=True):
    """The notation of one family."""

    name: str
    reasoning: ReasoningMarkers | None = None
    """None when the template knows no reasoning."""


class FamilyMark(Struct, frozen=True):
    """How to recognise a family: every one of ``texts`` occurs in its chat template."""

    name: str
    texts: tuple[str, ...]
