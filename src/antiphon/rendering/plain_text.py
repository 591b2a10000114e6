"""Text to token ids none of which is structure, whatever the text."""

import re
from array import array
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Final

from antiphon.rendering.structure import StructureVocabulary, alternation

_BEFORE: Final = ("\n", "a", ".")
"""Texts that a piece is tokenized behind. Every vocabulary of a chat model has tokens for them."""
_TOGETHER: Final = 64
"""USER_DEFINED tokens that are searched for in one call: llama.cpp's time grows with the square of their number."""


class PlainText:
    """Encodes text for one vocabulary without the tokens of structure that it has.

    A tokenizer finds such tokens in plain text: llama.cpp those that are USER_DEFINED, some kinds of vocabulary even
    control tokens. So a text is cut inside each of their texts, and the pieces are tokenized apart: a token stands for
    its text, so no piece gives it. A tokenizer that reads a text as another one (full-width characters as plain ones)
    may still find one in a piece, which is then halved until it does not.
    """

    def __init__(self, vocabulary: StructureVocabulary, structure: Mapping[str, int]) -> None:
        """``structure`` holds the texts of the tokens and their ids."""
        self._vocabulary = vocabulary
        self.texts = _pattern(structure)
        """Matches the text of any token of structure, and captures it."""
        self._found = _pattern(structure.keys() & vocabulary.user_defined_tokens.keys())
        self._defined = _pattern(vocabulary.user_defined_tokens)
        self._ids = frozenset(structure.values()) - vocabulary.unknown_ids
        self._heads = [(before, head) for before in _BEFORE if (head := vocabulary.encode(before))]

    def encode(self, text: str) -> "array[int]":
        """Return ids without structure."""
        first, *rest = _cut(text, self._found) or [""]
        ids = array("i", self._piece(first, begins=True))
        known: dict[str, list[int]] = {}
        for piece in rest:
            if piece not in known:
                known[piece] = self._piece(piece, begins=False)
            ids.extend(known[piece])
        return ids

    def tokens(self, text: str) -> list[int]:
        """Return ids as the tokenizer gives them, structure among them, in a time that grows with the text's length.

        A text may be cut before a USER_DEFINED token: the tokenizer takes these out first, and tokenizes what is
        between them apart.
        """
        starts = [match.start() for match in self._defined.finditer(text)][_TOGETHER::_TOGETHER]
        if not starts:
            return self._vocabulary.encode(text)
        bounds = pairwise([0, *starts, len(text)])
        return [token for begin, end in bounds for token in self._vocabulary.encode(text[begin:end])]

    def _piece(self, text: str, *, begins: bool) -> list[int]:
        """Return the ids of a piece, in smaller ones where it gives structure; ``begins``: the text begins with it."""
        ids = self.tokens(text) if begins else self._inside(text)
        if self._ids.isdisjoint(ids):
            return ids
        if len(text) == 1:
            return [token for token in ids if token not in self._ids]
        pieces = _cut(text, self.texts)
        if len(pieces) == 1:
            pieces = [text[: len(text) // 2], text[len(text) // 2 :]]
        first, *rest = pieces
        return [*self._piece(first, begins=begins), *(i for piece in rest for i in self._piece(piece, begins=False))]

    def _inside(self, piece: str) -> list[int]:
        """Return the ids of a piece that stands inside a text: SentencePiece puts a space before a text's beginning.

        So the piece is tokenized behind another text, whose ids are taken off: when they come out as they are of that
        text alone, no token lies across the border, and the others are those of the piece.
        """
        for before, head in self._heads:
            ids = self.tokens(before + piece)
            if ids[: len(head)] == head:
                return ids[len(head) :]
        return self.tokens(piece)


def _pattern(texts: Collection[str]) -> re.Pattern[str]:
    return re.compile(f"({alternation(texts)})" if texts else "((?!))")


def _cut(text: str, texts: re.Pattern[str]) -> list[str]:
    """Cut the text inside everything that matches; what overlaps it may be whole in a piece."""
    cuts = [match.start() + max(1, len(match[0]) // 2) for match in texts.finditer(text)]
    return [text[begin:end] for begin, end in pairwise([0, *cuts, len(text)]) if begin < end]
