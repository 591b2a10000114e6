"""Text to token ids none of which is structure, whatever the text."""

import re
from array import array
from itertools import pairwise
from typing import Final, Protocol

_BEFORE: Final = ("\n", "a", ".")
"""Texts that a piece is tokenized behind. Every vocabulary of a chat model has tokens for them."""


class Encoder(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return token ids."""


class PlainText:
    """Encodes text for one vocabulary without the tokens of structure that it has.

    A tokenizer finds such tokens in plain text: llama.cpp those that are USER_DEFINED, some kinds of vocabulary even
    control tokens. A text in which it does is cut inside each of their texts, and the pieces are tokenized apart: a
    token stands for its text, so no piece gives it. A tokenizer that reads a text as another one (full-width characters
    as plain ones) may still find one in a piece, which is then halved until it does not.
    """

    def __init__(self, vocabulary: Encoder, texts: re.Pattern[str], ids: frozenset[int]) -> None:
        """``texts`` matches the texts of the tokens of structure, ``ids`` are theirs."""
        self._vocabulary = vocabulary
        self._texts = texts
        self._ids = ids
        self._heads = [(before, head) for before in _BEFORE if (head := vocabulary.encode(before))]

    def encode(self, text: str) -> "array[int]":
        """Return ids without structure."""
        if not text:
            return array("i")
        ids = array("i", self._vocabulary.encode(text))
        return ids if self._ids.isdisjoint(ids) else self._apart(text)

    def _apart(self, text: str) -> "array[int]":
        ids = array("i")
        known: dict[str, list[int]] = {}
        for number, piece in enumerate(self._pieces(text)):
            if number == 0:
                ids.extend(self._halved(piece, first=True))
                continue
            if piece not in known:
                known[piece] = self._halved(piece, first=False)
            ids.extend(known[piece])
        return ids

    def _pieces(self, text: str) -> list[str]:
        """Cut the text inside every text of a token; what overlaps another one may be whole in a piece."""
        cuts = [match.start() + max(1, len(match[0]) // 2) for match in self._texts.finditer(text)]
        bounds = [0, *cuts, len(text)]
        return [text[begin:end] for begin, end in pairwise(bounds) if begin < end]

    def _halved(self, text: str, *, first: bool) -> list[int]:
        """Return the ids of a piece, in halves where it still gives structure; ``first``: the text begins with it."""
        ids = self._vocabulary.encode(text) if first else self._inside(text)
        if self._ids.isdisjoint(ids):
            return ids
        if len(text) == 1:
            return [token for token in ids if token not in self._ids]
        middle = len(text) // 2
        return [*self._halved(text[:middle], first=first), *self._halved(text[middle:], first=False)]

    def _inside(self, piece: str) -> list[int]:
        """Return the ids of a piece that stands inside a text: SentencePiece puts a space before a text's beginning.

        So the piece is tokenized behind another text, whose ids are taken off: when they come out as they are of that
        text alone, no token lies across the border, and the others are those of the piece.
        """
        for before, head in self._heads:
            ids = self._vocabulary.encode(before + piece)
            if ids[: len(head)] == head:
                return ids[len(head) :]
        return self._vocabulary.encode(piece)
