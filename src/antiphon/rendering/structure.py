# ruff: noqa: RUF001 (full-width bars are what some markers are written with)
"""Finds the structure tokens of a vocabulary: tokens that no text of a client may become.

Every control token is structure. llama.cpp parses its USER_DEFINED tokens in every text. Many of them are structure:
Command-R's and DeepSeek-Coder's turn tokens, gpt-oss's ``<|channel|>``, Qwen's ``<tool_call>``. Others are plain text
in one token: Gemma's runs of newlines and HTML tags, StarCoder's runs of spaces, digits. The model was trained on them
in any text, so they remain plain text. A USER_DEFINED token is structure if one of these rules holds:

- It ends an answer or begins every prompt.
- It has the form of a marker: ``<|…|>``, or letters between other brackets or bars, as ``<…>``, ``[…]``, ``◁…▷``. The
  HTML tags of Gemma's vocabulary are not markers, except by the next rule.
- The chat template or the family's notation contains it (``Human:``), and it is not one character, a plain word or
  whitespace.

In doubt a token is structure. The cost is small: the text of such a token is tokenized in pieces.

A token of another type is structure if the template or the notation contains its text as a marker and the vocabulary
tokenizes the marker as this one token.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Final, Protocol

_WHITESPACE: Final = " \t\r\n\u2581"
"""Whitespace, and SentencePiece's character for a space."""
_SIGNS: Final = frozenset("<>[]{}|｜◁▷«»")
_HTML_TAG: Final = re.compile(
    "</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup|code)>"
)
"""HTML tags that are USER_DEFINED tokens of Gemma's vocabularies."""
_MARKER: Final = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|◁[^◁▷\s]+▷")
"""The form of markers in a template or a notation."""
_MAX_DEPTH: Final = 40
"""Levels of nested groups in a regular expression, as its compiler recurses for each level."""


class StructureVocabulary(Protocol):
    """The part of a vocabulary that finds structure tokens and tokenizes text."""

    bos_id: int | None
    unknown_ids: frozenset[int]
    """Tokens for text that the vocabulary cannot represent."""
    special_tokens: dict[str, int]
    """The control tokens by their texts."""
    user_defined_tokens: dict[str, int]
    """The tokens by their texts that the tokenizer parses in every text."""

    @property
    def eog_ids(self) -> frozenset[int]:
        """Tokens that end the generation."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return token ids."""


def structure_tokens(vocabulary: StructureVocabulary, written: Iterable[str]) -> dict[str, int]:
    """Return the ids of all structure tokens by their texts; ``written``: the texts of template and notation."""
    texts = "\0".join(written)
    tokens = {text: token for text, token in vocabulary.special_tokens.items() if text.strip()}
    plain: dict[str, int] = {}
    for text, token in vocabulary.user_defined_tokens.items():
        (tokens if _is_structure(text, texts) else plain)[text] = token
    if plain:  # finding the tokens that end an answer takes a call for each token
        ends = vocabulary.eog_ids | {vocabulary.bos_id}
        tokens |= {text: token for text, token in plain.items() if token in ends}
    for marker in sorted({*_MARKER.findall(texts)} - tokens.keys()):
        token_id = _single_token(vocabulary, marker)
        if token_id is not None and any(map(str.isalpha, marker)):
            tokens[marker] = token_id
    return tokens


def alternation(texts: Iterable[str]) -> str:
    """Return a regular expression that matches the longest of these texts at a position.

    Vocabularies have thousands of texts with a common prefix (``<unused…``), so each common prefix is matched once.
    """
    return _branches(sorted({*texts}), 0, 0)


def _is_structure(text: str, written: str) -> bool:
    core = text.strip(_WHITESPACE)
    letters, signs = any(map(str.isalpha, core)), any(sign in _SIGNS for sign in core)
    if len(core) < 2:  # noqa: PLR2004 (one character cannot be split into pieces)
        return False
    barred = core.startswith("<|") and core.endswith("|>")
    marker = barred or (letters and core[0] in _SIGNS and core[-1] in _SIGNS)
    if marker and not _HTML_TAG.fullmatch(core):
        return True
    word = all(character.isalnum() or character in " _" for character in core)
    return (signs or (letters and not word)) and core in written


def _single_token(vocabulary: StructureVocabulary, marker: str) -> int | None:
    """Return the single token of the marker inside a text; None if it has several."""
    newline = vocabulary.encode("\n")
    ids = vocabulary.encode(f"\n{marker}")
    return ids[-1] if ids[:-1] == newline else None


def _branches(texts: list[str], start: int, depth: int) -> str:
    """Return the expression of the sorted texts from index ``start`` on; their prefixes before it are equal."""
    if depth > _MAX_DEPTH or len(texts) == 1:
        return "|".join(re.escape(text[start:]) for text in sorted(texts, key=len, reverse=True))
    branches = []
    for _, group in groupby((text for text in texts if len(text) > start), key=lambda text: text[start]):
        members = [*group]
        end = _common_end(members[0], members[-1], start)
        rest = f"(?:{_branches(members, end, depth + 1)})" if len(members) > 1 else ""
        branches.append(re.escape(members[0][start:end]) + rest)
    return "|".join([*branches, *([""] if any(len(text) == start for text in texts) else [])])


def _common_end(first: str, last: str, start: int) -> int:
    """Return the length of the common prefix of two texts, which is at least ``start``."""
    end = start
    while end < min(len(first), len(last)) and first[end] == last[end]:
        end += 1
    return end
