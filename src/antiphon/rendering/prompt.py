"""From a rendered template to token ids, such that the text of users never becomes a control token.

A template and the texts given to it come out as one string, in which ``<|im_end|>`` may stand because the template
wrote it or because a user did. So users' characters are exchanged for lone surrogates before rendering, which no
valid text contains, and exchanged back behind the search for control tokens:

- rendering one exchanges only what is the text of a control token (:meth:`PromptEncoder.mask`), so that the template
  reads everything else as it is;
- rendering two exchanges every character that occurs in any such text (:meth:`PromptEncoder.shadow`), so that not
  even a part of a control token, completed by what the template writes next to it, can come from a user.

When both give the same text, as nearly always, rendering two says where the control tokens are. When they differ, the
template looks into the text (``'</think>' in content``): rendering one is taken if it has the same control tokens in
the same order, else rendering two. Whitespace, quotes and backslashes are never exchanged: templates trim, JSON
escapes.
"""

import re
from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Final, Protocol

from msgspec import Struct

from antiphon.errors import InvalidRequestError
from antiphon.rendering.conversation import Mask

_FIRST: Final = 0xD800
_SHADOWS: Final = 0x800
"""Lone surrogates, as many as there are: more characters than control tokens are written with."""
_SHADOWED: Final = re.compile("[\ud800-\udfff]+")
_NEVER: Final = frozenset('"\\')
_ENDING: Final = 256
Render = Callable[[Mask], str]
"""Gives the rendered text when every text of the user's went through the mask."""
MAX_CACHED_FRAGMENTS: Final = 512
MAX_CACHED_LENGTH: Final = 1 << 14
"""Characters of a fragment whose token ids are kept: together at most 8 million."""


class Vocabulary(Protocol):
    """What is needed of a tokenizer."""

    n_vocab: int
    add_bos: bool
    bos_id: int | None
    special_tokens: dict[str, int]
    """Texts of the control tokens."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return token ids; control tokens only with ``parse_special``."""


class Prompt(Struct, frozen=True):
    """A prompt as ids and as text."""

    ids: list[int]
    ending: str
    """The last characters that the template wrote itself, trailing whitespace stripped; a user's are unreadable
    there.
    """


class PromptEncoder:
    """Renders and tokenizes for one vocabulary.

    Keeps the ids of recent fragments, since a conversation comes back with a little more at its end.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids = {text: token for text, token in vocabulary.special_tokens.items() if text.strip()}
        texts = sorted(self._ids, key=len, reverse=True)
        self._special = re.compile("(" + "|".join(map(re.escape, texts)) + ")") if texts else re.compile("((?!))")
        self._control = frozenset(self._ids.values())
        shadowed = _alphabet(texts)
        self._shadow = {ord(c): _FIRST + i for i, c in enumerate(shadowed)}
        self._original = {_FIRST + i: c for i, c in enumerate(shadowed)}
        self._cached = lru_cache(MAX_CACHED_FRAGMENTS)(self._encode)
        self._strips = lru_cache(MAX_CACHED_FRAGMENTS)(self._stripping)

    def mask(self, text: str) -> str:
        """Make the control tokens' texts in a user's text unreadable, and nothing else."""
        return self._special.sub(lambda match: match[0].translate(self._shadow), _valid(text))

    def shadow(self, text: str) -> str:
        """Make every character that control tokens are written with unreadable."""
        return _valid(text).translate(self._shadow)

    def encode(self, render: Render, suffix: Callable[[str], str]) -> Prompt:
        """Return the prompt that ``render`` gives for a mask, with what ``suffix`` gives for its ending behind it.

        The suffix is the server's own text: control tokens in it are such.
        """
        rendered = self._rendered(render)
        rendered += suffix(_ending(rendered))
        pieces = self._special.split(rendered)
        ids = array("i", self._fragment(pieces, 0))
        for position in range(2, len(pieces), 2):
            ids.append(self._ids[pieces[position - 1]])
            ids.extend(self._fragment(pieces, position))
        return Prompt(self._begun(ids.tolist()), _ending(rendered))

    def _rendered(self, render: Render) -> str:
        try:
            masked, shadowed = render(self.mask), render(self.shadow)
        except InvalidRequestError as error:
            raise InvalidRequestError(self._unmask(error.message), param=error.param, code=error.code) from error
        if self._unmask(masked) == self._unmask(shadowed):
            return shadowed
        same = self._special.findall(masked) == self._special.findall(shadowed)
        return masked if same else shadowed

    def _fragment(self, pieces: list[str], position: int) -> "array[int]":
        """Return the ids of the text between two control tokens, less the whitespace that these swallow."""
        text = self._unmask(pieces[position])
        if position and self._strips(pieces[position - 1])[1]:
            text = text.lstrip()
        if position + 1 < len(pieces) and self._strips(pieces[position + 1])[0]:
            text = text.rstrip()
        return self._cached(text) if len(text) <= MAX_CACHED_LENGTH else self._encode(text)

    def _encode(self, text: str) -> "array[int]":
        """Return ids without control tokens, whatever the text. Some vocabularies merge characters into one."""
        if not text:
            return array("i")
        ids = array("i", self._vocabulary.encode(text))
        if self._control.isdisjoint(ids):
            return ids
        parts = [self._vocabulary.encode(part) for part in self._broken(text)]
        return array("i", (token for part in parts for token in part if token not in self._control))

    def _broken(self, text: str) -> list[str]:
        """Cut the text inside every text of a control token, so that no token covers it."""
        cuts = [match.start() + max(1, len(match[0]) // 2) for match in self._special.finditer(text)]
        bounds = [0, *cuts, len(text)]
        return [text[begin:end] for begin, end in pairwise(bounds) if begin < end]

    def _stripping(self, special: str) -> tuple[bool, bool]:
        """Return whether a control token swallows the whitespace before and behind it, as some of Phi's do."""
        encode = self._vocabulary.encode
        token = [self._ids[special]]
        return encode("\n" + special, parse_special=True) == token, encode(special + "\n", parse_special=True) == token

    def _begun(self, ids: list[int]) -> list[int]:
        bos = self._vocabulary.bos_id
        if not self._vocabulary.add_bos or bos is None or ids[:1] == [bos]:
            return ids
        return [bos, *ids]

    def _unmask(self, text: str) -> str:
        return _SHADOWED.sub(lambda match: match[0].translate(self._original), text)


def _ending(text: str) -> str:
    return text[-_ENDING:].rstrip()


def _alphabet(texts: list[str]) -> list[str]:
    """Return the characters of the control tokens' texts, the most frequent first, as many as there are shadows."""
    counts: dict[str, int] = {}
    for character in "".join(texts):
        if not character.isspace() and character not in _NEVER:
            counts[character] = counts.get(character, 0) + 1
    return sorted(counts, key=lambda c: -counts[c])[:_SHADOWS]


def _valid(text: str) -> str:
    """Return the text without lone surrogates, which no UTF-8 contains."""
    return _SHADOWED.sub(lambda match: "\ufffd" * len(match[0]), text)
