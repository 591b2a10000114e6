"""Encodes any text to token ids without structure tokens."""

import re
from array import array
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Final

from antiphon.rendering.structure import StructureVocabulary, alternation

_CONTEXTS: Final = ("\n", "a", ".")
"""Texts before a piece for its tokenization. Every vocabulary of a chat model has tokens for them."""
_TOKENS_PER_CALL: Final = 64
"""USER_DEFINED tokens in the text of one call, as llama.cpp's time grows with the square of their number."""


class PlainText:
    """Encodes text for one vocabulary without its structure tokens.

    A tokenizer finds structure tokens in plain text: llama.cpp finds USER_DEFINED tokens, and some kinds of vocabulary
    even control tokens. So a text is split inside each text of such a token, and the pieces are tokenized separately.
    A tokenizer that normalises text (full-width to plain characters) may still find a structure token in a piece; such
    a piece is halved until the tokens are free of structure.
    """

    def __init__(self, vocabulary: StructureVocabulary, structure: Mapping[str, int]) -> None:
        """``structure``: the ids of the structure tokens by their texts."""
        self._vocabulary = vocabulary
        self.texts = _pattern(structure)
        """Matches and captures the text of any structure token."""
        self._user_defined_structure = _pattern(structure.keys() & vocabulary.user_defined_tokens.keys())
        self._user_defined = _pattern(vocabulary.user_defined_tokens)
        self._ids = frozenset(structure.values()) - vocabulary.unknown_ids
        self._heads = [(before, head) for before in _CONTEXTS if (head := vocabulary.encode(before))]

    def encode(self, text: str) -> "array[int]":
        """Return the ids of the text, without structure tokens."""
        first, *rest = _split_inside(text, self._user_defined_structure) or [""]
        ids = array("i", self._piece_ids(first, begins=True))
        known: dict[str, list[int]] = {}
        for piece in rest:
            if piece not in known:
                known[piece] = self._piece_ids(piece, begins=False)
            ids.extend(known[piece])
        return ids

    def tokens(self, text: str) -> list[int]:
        """Return the tokenizer's ids, structure tokens included, in time linear in the text's length.

        The text is split before USER_DEFINED tokens. This does not change the ids, because the tokenizer itself splits
        at these tokens first.
        """
        starts = [match.start() for match in self._user_defined.finditer(text)][_TOKENS_PER_CALL::_TOKENS_PER_CALL]
        if not starts:
            return self._vocabulary.encode(text)
        bounds = pairwise([0, *starts, len(text)])
        return [token for begin, end in bounds for token in self._vocabulary.encode(text[begin:end])]

    def _piece_ids(self, text: str, *, begins: bool) -> list[int]:
        """Return the ids of a piece, split further if it gives structure tokens; ``begins``: it begins the text."""
        ids = self.tokens(text) if begins else self._ids_inside_text(text)
        if self._ids.isdisjoint(ids):
            return ids
        if len(text) == 1:
            return [token for token in ids if token not in self._ids]
        pieces = _split_inside(text, self.texts)
        if len(pieces) == 1:
            pieces = [text[: len(text) // 2], text[len(text) // 2 :]]
        first, *rest = pieces
        ids = self._piece_ids(first, begins=begins)
        for piece in rest:
            ids += self._piece_ids(piece, begins=False)
        return ids

    def _ids_inside_text(self, piece: str) -> list[int]:
        """Return the ids of a piece inside a text, without the space that SentencePiece adds before a text.

        The piece is tokenized after a context text. If the first ids are those of the context alone, no token crosses
        the boundary, and the remaining ids are those of the piece.
        """
        for before, head in self._heads:
            ids = self.tokens(before + piece)
            if ids[: len(head)] == head:
                return ids[len(head) :]
        return self.tokens(piece)


def _pattern(texts: Collection[str]) -> re.Pattern[str]:
    return re.compile(f"({alternation(texts)})" if texts else "((?!))")


def _split_inside(text: str, texts: re.Pattern[str]) -> list[str]:
    """Return the text split inside each match; a text that overlaps a match may be complete in a piece."""
    cuts = [match.start() + max(1, len(match[0]) // 2) for match in texts.finditer(text)]
    return [text[begin:end] for begin, end in pairwise([0, *cuts, len(text)]) if begin < end]
