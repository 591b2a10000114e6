"""Tokenizes a rendered template such that the text of users never becomes a control token.

A template and the texts given to it come out as one string, in which ``<|im_end|>`` may stand because the template
wrote it or because a user did. So users' texts are exchanged before rendering for lone surrogates, which no valid
text contains, and put back after the search for control tokens. Every token that is structure counts as one here
(:mod:`antiphon.rendering.structure`). What the server writes among users' texts is not exchanged
(:mod:`antiphon.rendering.server_text`). There are two renderings:

- *visible*: only what is the text of a control token is exchanged, so that the template reads everything else;
- *veiled*: whole texts are, but for the whitespace around them, so that not even a part of a control token, completed
  by what the template writes next to it, can come from a user.

When both give the same text in the end, as nearly always, the veiled one says where the control tokens are. When they
differ, the template looks into the text (``'</think>' in content``) or escapes it: the visible one is taken if it has
the same control tokens in the same order, else the veiled one. Templates look into variables (the types of a tool's
parameters) more often than into messages: where control tokens depend on that, a third rendering shows them the
variables that are plain words, of which no more than the inside of a control token can come.
"""

import re
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Final, Protocol

from msgspec import Struct

from antiphon.errors import InvalidRequestError
from antiphon.rendering.plain_text import PlainText
from antiphon.rendering.server_text import replace_surrogates, split_server_text
from antiphon.rendering.structure import StructureVocabulary, structure_tokens
from antiphon.rendering.turns import Mask

_HIGH, _LOW, _BASE = 0xD800, 0xDC00, 0x3FF
_FILL: Final = "\udfff"
_FILLED: Final = 64
_VEILED: Final = re.compile("[\ud800-\udbff][\udc00-\udffe]\udfff*")
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_ .-]*")
"""Words with which templates compare variables."""
_ENDING: Final = 256
Render = Callable[[Mask, Mask], str]
"""Gives the rendered text when the texts of messages went through the first mask, of variables through the second."""
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
    """The last characters, trailing whitespace stripped; those of a user are veiled."""


class Veil:
    """The texts that renderings of one conversation hide, each behind two lone surrogates.

    Short texts keep their length, since some templates look at the length of ids.
    """

    def __init__(self, special: re.Pattern[str]) -> None:
        self._special = special
        self._texts: list[str] = []
        self._veils: dict[str, str] = {}

    def visible(self, text: str) -> str:
        """Hide the texts of control tokens."""
        return self._users(text, lambda part: self._special.sub(lambda match: self._hide(match[0]), part))

    def veiled(self, text: str) -> str:
        """Hide all but the whitespace at both ends."""
        return self._users(text, self._veil)

    def guarded(self, text: str) -> str:
        """Hide all but plain words."""
        return text if _PLAIN.fullmatch(text) else self.veiled(text)

    def lift(self, text: str) -> str:
        """Show what is hidden. A veil that the template tore apart hides nothing that could be known."""
        return text if text.isascii() else replace_surrogates(_VEILED.sub(self._shown, text))

    @staticmethod
    def _users(text: str, mask: Mask) -> str:
        """Mask a text but for what of it the server wrote."""
        first, *rest = split_server_text(text)
        if not rest:
            return mask(replace_surrogates(first))
        return "".join(
            part if number % 2 else mask(replace_surrogates(part)) for number, part in enumerate((first, *rest))
        )

    def _veil(self, text: str) -> str:
        begin = len(text) - len(text.lstrip())
        end = len(text.rstrip())
        return text[:begin] + self._hide(text[begin:end]) + text[end:] if begin < end else text

    def _hide(self, text: str) -> str:
        veil = self._veils.get(text)
        if veil is None:
            high, low = divmod(len(self._texts), _BASE)
            if high > _LOW - _HIGH - 1:
                raise InvalidRequestError("The messages have too many texts.", param="messages")
            veil = self._veils[text] = chr(_HIGH + high) + chr(_LOW + low) + _filling(text)
            self._texts.append(text)
        return veil

    def _shown(self, match: re.Match[str]) -> str:
        number = (ord(match[0][0]) - _HIGH) * _BASE + ord(match[0][1]) - _LOW
        return self._texts[number] if number < len(self._texts) else match[0]


class PromptEncoder:
    """Renders and tokenizes for one vocabulary.

    Keeps the ids of recent fragments, since a conversation comes back with a little more at its end.
    """

    def __init__(self, vocabulary: Vocabulary, written: Iterable[str] = ()) -> None:
        """``written``: what the chat template and the notation of the family write of their own."""
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

        The suffix is the server's own text: control tokens in it are such. ``check`` may refuse a text before it is
        tokenized.
        """
        veil = Veil(self._special)
        rendered = self._rendered(render, veil)
        rendered += suffix(_ending(rendered))
        ids = array("i")
        before, *rest = [None, *self._special.split(rendered), None]
        texts = [veil.lift(text or "") for text in rest[::2]]
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

    def _rendered(self, render: Render, veil: Veil) -> str:
        try:
            return self._told_apart(render, veil)
        except InvalidRequestError as error:
            raise InvalidRequestError(veil.lift(error.message), param=error.param, code=error.code) from error

    def _told_apart(self, render: Render, veil: Veil) -> str:
        visible = render(veil.visible, veil.visible)
        with suppress(InvalidRequestError):  # the template refuses variables that it cannot read: it must see them
            veiled = render(veil.veiled, veil.veiled)
            if self._agree(visible, veiled, veil):
                return self._chosen(visible, veiled, veil)
        veiled = render(veil.veiled, veil.guarded)
        return self._chosen(visible, veiled, veil) if self._agree(visible, veiled, veil) else veiled

    def _agree(self, visible: str, veiled: str, veil: Veil) -> bool:
        """Return whether two renderings have the same text, or else the same control tokens."""
        same = self._special.findall(visible) == self._special.findall(veiled)
        return same or veil.lift(visible) == veil.lift(veiled)

    @staticmethod
    def _chosen(visible: str, veiled: str, veil: Veil) -> str:
        """Return the rendering that says where the control tokens are, or else the one that has read the texts."""
        return veiled if veil.lift(visible) == veil.lift(veiled) else visible

    def _fragment(self, text: str, before: str | None, behind: str | None) -> "array[int]":
        """Return the ids of the text between two control tokens, less the whitespace that these swallow."""
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
