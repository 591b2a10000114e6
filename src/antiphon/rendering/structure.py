# ruff: noqa: RUF001 (full-width bars are what some markers are written with)
"""Which tokens are structure: those that no text of a client's may become.

Every control token is. Of the tokens that llama.cpp calls USER_DEFINED and takes from every text, asked or not, many
are structure as well: Command-R's and DeepSeek-Coder's turn tokens, gpt-oss's ``<|channel|>``, Qwen's ``<tool_call>``.
Others are plain text that a tokenizer writes as one token: Gemma's runs of newlines and its tags of HTML, StarCoder's
runs of spaces, digits. A model has read these in every text, so they stay what they are. A USER_DEFINED token is
structure when

- it ends an answer, or begins every prompt;
- it looks like a marker: ``<|…|>``, or letters between other brackets or bars, as ``<…>``, ``[…]``, ``◁…▷``. The tags
  of HTML that Gemma's vocabulary has are none, but for the next rule;
- the chat template or the notation of the family writes it (``Human:``), and it is neither one character nor a plain
  word nor whitespace.

So in doubt a token is structure. The price is small: a text that contains it is read as the pieces of that text.

Tokens of other types are structure when the template or the notation writes them as a marker and the vocabulary makes
that very token of the marker's text.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Final, Protocol

_BLANK: Final = " \t\r\n\u2581"
"""Whitespace, and the character by which SentencePiece writes a space."""
_SIGNS: Final = frozenset("<>[]{}|｜◁▷«»")
_FORMATTING: Final = re.compile(
    "</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup|code)>"
)
"""HTML that Gemma's vocabularies hold as USER_DEFINED tokens."""
_MARKER: Final = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|◁[^◁▷\s]+▷")
"""Matches the markers that a template or a notation may write."""
_MAX_DEPTH: Final = 40
"""Groups inside one another in a regular expression: its compiler calls itself for each."""


class StructureVocabulary(Protocol):
    """Gives the tokens of a vocabulary that may be structure, and tokenizes text."""

    bos_id: int | None
    unknown_ids: frozenset[int]
    """Tokens that stand for what the vocabulary cannot write."""
    special_tokens: dict[str, int]
    """Texts of the control tokens."""
    user_defined_tokens: dict[str, int]
    """Texts of the tokens that every text is searched for."""

    @property
    def eog_ids(self) -> frozenset[int]:
        """Tokens that end the generation."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return token ids."""


def structure_tokens(vocabulary: StructureVocabulary, written: Iterable[str]) -> dict[str, int]:
    """Return the text and the id of every token that is structure, given the texts that template and notation write."""
    texts = "\0".join(written)
    tokens = {text: token for text, token in vocabulary.special_tokens.items() if text.strip()}
    plain: dict[str, int] = {}
    for text, token in vocabulary.user_defined_tokens.items():
        (tokens if _is_structure(text, texts) else plain)[text] = token
    if plain:  # the tokens that end an answer are asked for one by one
        ends = vocabulary.eog_ids | {vocabulary.bos_id}
        tokens |= {text: token for text, token in plain.items() if token in ends}
    for match in sorted({*_MARKER.findall(texts)} - tokens.keys()):
        only = _only(vocabulary, match)
        if only is not None and any(map(str.isalpha, match)):
            tokens[match] = only
    return tokens


def alternation(texts: Iterable[str]) -> str:
    """Return a regular expression of the longest of these texts at a place.

    Vocabularies have thousands of them with one beginning (``<unused…``), so common beginnings are tried once.
    """
    return _branches(sorted({*texts}), 0, 0)


def _is_structure(text: str, written: str) -> bool:
    core = text.strip(_BLANK)
    letters, signs = any(map(str.isalpha, core)), any(sign in _SIGNS for sign in core)
    if len(core) < 2:  # noqa: PLR2004 (one character cannot be told in pieces)
        return False
    barred = core.startswith("<|") and core.endswith("|>")
    marker = barred or (letters and core[0] in _SIGNS and core[-1] in _SIGNS)
    if marker and not _FORMATTING.fullmatch(core):
        return True
    word = all(character.isalnum() or character in " _" for character in core)
    return (signs or (letters and not word)) and core in written


def _only(vocabulary: StructureVocabulary, marker: str) -> int | None:
    """Return the one token that the marker becomes inside a text."""
    newline = vocabulary.encode("\n")
    ids = vocabulary.encode(f"\n{marker}")
    return ids[-1] if ids[:-1] == newline else None


def _branches(texts: list[str], start: int, depth: int) -> str:
    """Write the sorted texts from the character ``start`` on, which all share what is before."""
    if depth > _MAX_DEPTH or len(texts) == 1:
        return "|".join(re.escape(text[start:]) for text in sorted(texts, key=len, reverse=True))
    branches = []
    for _, group in groupby((text for text in texts if len(text) > start), key=lambda text: text[start]):
        members = [*group]
        end = _shared(members[0], members[-1], start)
        rest = f"(?:{_branches(members, end, depth + 1)})" if len(members) > 1 else ""
        branches.append(re.escape(members[0][start:end]) + rest)
    return "|".join([*branches, *([""] if any(len(text) == start for text in texts) else [])])


def _shared(first: str, last: str, start: int) -> int:
    """Return where two texts that are alike before ``start`` part."""
    end = start
    while end < min(len(first), len(last)) and first[end] == last[end]:
        end += 1
    return end
