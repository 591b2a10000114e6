"""Tokenizes a rendered template such that the text of users never becomes a control token.

A rendered template is one string, in which the template or a user may have written ``<|im_end|>``. Therefore users'
texts are replaced before rendering by lone surrogates, which no valid text contains; after the search for control
tokens the texts are put back. Every token of structure counts as a control token here
(:mod:`antiphon.rendering.structure`). Texts of the server among users' texts are not replaced
(:mod:`antiphon.rendering.server_text`). There are two renderings:

- *visible*: only the texts of control tokens are replaced, so that the template reads everything else;
- *hidden*: whole texts are replaced, except for the whitespace around them, so that not even a part of a control token,
  completed by the template's text beside it, can come from a user.

Nearly always both give the same text in the end; then the hidden one has the positions of the control tokens. When
they differ, the template reads the text (``'</think>' in content``) or escapes it. Then the visible one is used if it
has the same control tokens in the same order, else the hidden one. Templates read variables (the types of a tool's
parameters) more often than messages. Where control tokens depend on variables, a third rendering shows the variables
that are plain words: such a word is at most the inside of a control token.
"""

import re
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Final, Protocol

from msgspec import Struct

from antiphon.errors import InvalidRequestError
from antiphon.rendering.masks import Mask
from antiphon.rendering.plain_text import PlainText
from antiphon.rendering.server_text import replace_surrogates, split_server_text
from antiphon.rendering.structure import StructureVocabulary, structure_tokens

_HIGH, _LOW, _BASE = 0xD800, 0xDC00, 0x3FF
_FILL: Final = "\udfff"
_FILLED: Final = 64
_PLACEHOLDER: Final = re.compile("[\ud800-\udbff][\udc00-\udffe]\udfff*")
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_ .-]*")
"""Words with which templates compare variables."""
_ENDING: Final = 256
Render = Callable[[Mask, Mask], str]
"""Returns the rendered text; the first mask was applied to the texts of messages, the second to those of variables."""
MAX_CACHED_FRAGMENTS: Final = 512
MAX_CACHED_LENGTH: Final = 1 << 14
"""Characters of a fragment whose token ids are kept: together at most 8 million."""


class Vocabulary(StructureVocabulary, Protocol):
    """The part of a tokenizer that prompts need."""

    n_vocab: int
    add_bos: bool


class Prompt(Struct, frozen=True):
    """A prompt as ids and as text."""

    ids: list[int]
    ending: str
    """The last characters without trailing whitespace; users' texts are hidden."""


class HiddenTexts:
    """The texts that renderings of one conversation hide. Two lone surrogates, a placeholder, stand for each.

    The placeholder of a short text has its length, because some templates check the length of ids.
    """

    def __init__(self, special: re.Pattern[str]) -> None:
        self._special = special
        self._texts: list[str] = []
        self._placeholders: dict[str, str] = {}

    def hide_structure(self, text: str) -> str:
        """Hide the texts of control tokens."""
        return self._users(text, lambda part: self._special.sub(lambda match: self._hide(match[0]), part))

    def hide_all(self, text: str) -> str:
        """Hide all but the whitespace at both ends."""
        return self._users(text, self._hide_inside)

    def hide_sentences(self, text: str) -> str:
        """Hide all but plain words."""
        return text if _PLAIN.fullmatch(text) else self.hide_all(text)

    def restore(self, text: str) -> str:
        """Put the hidden texts back. A placeholder that the template cut apart stays."""
        return text if text.isascii() else replace_surrogates(_PLACEHOLDER.sub(self._shown, text))

    @staticmethod
    def _users(text: str, mask: Mask) -> str:
        """Mask the parts of a text that the server did not write."""
        first, *rest = split_server_text(text)
        if not rest:
            return mask(replace_surrogates(first))
        return "".join(
            part if number % 2 else mask(replace_surrogates(part)) for number, part in enumerate((first, *rest))
        )

    def _hide_inside(self, text: str) -> str:
        begin = len(text) - len(text.lstrip())
        end = len(text.rstrip())
        return text[:begin] + self._hide(text[begin:end]) + text[end:] if begin < end else text

    def _hide(self, text: str) -> str:
        placeholder = self._placeholders.get(text)
        if placeholder is None:
            high, low = divmod(len(self._texts), _BASE)
            if high > _LOW - _HIGH - 1:
                raise InvalidRequestError("The messages have too many texts.", param="messages")
            placeholder = self._placeholders[text] = chr(_HIGH + high) + chr(_LOW + low) + _filling(text)
            self._texts.append(text)
        return placeholder

    def _shown(self, match: re.Match[str]) -> str:
        number = (ord(match[0][0]) - _HIGH) * _BASE + ord(match[0][1]) - _LOW
        return self._texts[number] if number < len(self._texts) else match[0]


class PromptEncoder:
    """Renders and tokenizes for one vocabulary.

    Keeps the ids of recent fragments, because most requests repeat the conversation of an earlier one.
    """

    def __init__(self, vocabulary: Vocabulary, written: Iterable[str] = ()) -> None:
        """``written``: the literal texts of the chat template and of the family's notation."""
        self._vocabulary = vocabulary
        self._ids = structure_tokens(vocabulary, written)
        self._plain = PlainText(vocabulary, self._ids)
        self._special = self._plain.texts
        self._cached = lru_cache(MAX_CACHED_FRAGMENTS)(self._plain.encode)
        self._strips = lru_cache(MAX_CACHED_FRAGMENTS)(self._stripping)

    def encode(
        self, render: Render, suffix: Callable[[str], str], check: Callable[[str], None] = lambda _: None
    ) -> Prompt:
        """Return the prompt that ``render`` gives, followed by the suffix for its ending.

        The suffix is the server's text, so control tokens in it stay control tokens. ``check`` may refuse a text before
        it is tokenized.
        """
        hidden = HiddenTexts(self._special)
        rendered = self._rendered(render, hidden)
        rendered += suffix(_ending(rendered))
        ids = array("i")
        before, *rest = [None, *self._special.split(rendered), None]
        texts = [hidden.restore(text or "") for text in rest[::2]]
        check("".join(texts))
        for text, behind in zip(texts, rest[1::2], strict=True):
            ids.extend(self._fragment(text, before, behind))
            if behind is not None:
                ids.append(self._ids[behind])
            before = behind
        return Prompt(self._begun(ids.tolist()), _ending(rendered))

    def draft(self, text: str) -> list[int]:
        """Return the ids of a text that the model may write: it writes structure as well."""
        return self._plain.tokens(text)

    def _rendered(self, render: Render, hidden: HiddenTexts) -> str:
        try:
            return self._masked_rendering(render, hidden)
        except InvalidRequestError as error:
            raise InvalidRequestError(hidden.restore(error.message), param=error.param, code=error.code) from error

    def _masked_rendering(self, render: Render, hidden: HiddenTexts) -> str:
        visible = render(hidden.hide_structure, hidden.hide_structure)
        with suppress(InvalidRequestError):  # a template that refuses variables which it cannot read must see them
            masked = render(hidden.hide_all, hidden.hide_all)
            if self._agree(visible, masked, hidden):
                return self._chosen(visible, masked, hidden)
        masked = render(hidden.hide_all, hidden.hide_sentences)
        return self._chosen(visible, masked, hidden) if self._agree(visible, masked, hidden) else masked

    def _agree(self, visible: str, masked: str, hidden: HiddenTexts) -> bool:
        """Return whether two renderings have the same text, or else the same control tokens."""
        same = self._special.findall(visible) == self._special.findall(masked)
        return same or hidden.restore(visible) == hidden.restore(masked)

    @staticmethod
    def _chosen(visible: str, masked: str, hidden: HiddenTexts) -> str:
        """Return the rendering with the positions of control tokens, or else the one whose template read the texts."""
        return masked if hidden.restore(visible) == hidden.restore(masked) else visible

    def _fragment(self, text: str, before: str | None, behind: str | None) -> "array[int]":
        """Return the ids of the text between two control tokens, without the whitespace that these remove."""
        if before is not None and self._strips(before)[1]:
            text = text.lstrip()
        if behind is not None and self._strips(behind)[0]:
            text = text.rstrip()
        return self._cached(text) if len(text) <= MAX_CACHED_LENGTH else self._plain.encode(text)

    def _stripping(self, special: str) -> tuple[bool, bool]:
        """Return whether a control token removes the whitespace before it and after it, as some of Phi's do."""
        encode = self._vocabulary.encode
        token = [self._ids[special]]
        return encode("\n" + special, parse_special=True) == token, encode(special + "\n", parse_special=True) == token

    def _begun(self, ids: list[int]) -> list[int]:
        bos = self._vocabulary.bos_id
        if not self._vocabulary.add_bos or bos is None or ids[:1] == [bos]:
            return ids
        return [bos, *ids]


def _filling(text: str) -> str:
    return _FILL * (len(text) - 2) if len(text) <= _FILLED else ""


def _ending(text: str) -> str:
    return text[-_ENDING:].rstrip()
