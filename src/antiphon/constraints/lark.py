"""Builds grammars in llguidance's Lark dialect: rules, terminals, and literals with the vocabulary's special tokens.

llguidance's lexer takes the longest match and does not backtrack. So grammars here have two invariants: a text and
the text that must follow it form one literal (``f(``, not ``f`` ``(``), and a terminal of free text excludes every
text that may end it.
"""

import json
import re
from typing import Final, Protocol

from msgspec import Struct

ANY: Final = "/(?s:.*)/"
_MARKER: Final = re.compile(r"<[^<>\s]+>")
"""A text that llguidance treats as a special token if the vocabulary has it as one token of any kind."""


class MarkerVocabulary(Protocol):
    """The part of a tokenizer that distinguishes markers from text."""

    special_tokens: dict[str, int]
    """Texts of the control tokens."""

    @property
    def eog_ids(self) -> frozenset[int]:
        """Tokens that end the generation; they follow every grammar and are no part of it."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return the token ids of ``text``."""


class Piece(Struct, frozen=True):
    """Text, or the text of the special token ``token``."""

    text: str
    token: int | None = None

    @property
    def literal(self) -> str:
        """The piece as a rule writes it."""
        return quoted(self.text) if self.token is None else f"<[{self.token}]>"


def quoted(text: str) -> str:
    """Return a string literal."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def alternatives(items: list[str]) -> str:
    """Return a group that admits one of ``items``."""
    return items[0] if len(items) == 1 else f"({' | '.join(items)})"


def sequence(*items: str) -> str:
    """Return the items in a row, without empty ones."""
    return " ".join(item for item in items if item)


def excluding(body: str, texts: list[str], *, before: str = ANY) -> str:
    """Return the terminal expression ``body`` without texts in which one of ``texts`` follows ``before``."""
    return f"{body} & ~({before} {alternatives([quoted(text) for text in texts])} {ANY})" if texts else body


class Lark:
    """Collects the rules of a grammar. The same calls give the same text, so the text can be the key of a cache."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._grammars: dict[str, str] = {}

    def rule(self, name: str, body: str) -> str:
        """Define a rule; return its name."""
        return self._define(name, name, body)

    def lazy(self, name: str, body: str) -> str:
        """Define a rule of one lexeme that ends at the first match of the terminal expression ``body``."""
        return self._define(name, f"{name}[lazy]", body)

    def limited(self, name: str, body: str, tokens: int) -> str:
        """Define a rule of one terminal that ends after so many tokens, if the next literal is a token of its own."""
        return self._define(name, f"{name}[max_tokens={tokens}]", body)

    def terminal(self, name: str, body: str) -> str:
        """Define a terminal by the terminal expression ``body``; return its name."""
        return self._define(name.upper(), name.upper(), body)

    def grammar(self, name: str, text: str) -> str:
        """Define a nested grammar with names of its own; return a reference to it."""
        assert self._grammars.get(name, text) == text, f"grammar {name} is defined twice"
        self._grammars[name] = text
        return f"@{name}"

    def text(self, start: str) -> str:
        """Return the text of the whole grammar, which generates ``start``."""
        lines = [f"start: {start}", *(f"{head}: {body}" for head, body in self._lines.items())]
        main = "\n".join(lines) + "\n"
        if not self._grammars:
            return main
        named = {"main": main, **self._grammars}
        return json.dumps({"grammars": [{"name": name, "lark_grammar": text} for name, text in named.items()]})

    def _define(self, name: str, head: str, body: str) -> str:
        assert self._lines.get(head, body) == body, f"{head} is defined as {self._lines[head]} and as {body}"
        self._lines[head] = body
        return name


class Markers:
    """Finds special tokens in texts of a notation, and writes them as tokens."""

    def __init__(self, vocabulary: MarkerVocabulary) -> None:
        self._vocabulary = vocabulary
        self._control = {text: token for text, token in vocabulary.special_tokens.items() if text.strip()}
        texts = sorted(self._control, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, texts), _MARKER.pattern]))
        self._known: dict[str, int | None] = {}

    def split(self, text: str) -> list[Piece]:
        """Return the text as pieces, none of them empty."""
        pieces: list[Piece] = []
        begin = 0
        for match in self._pattern.finditer(text):
            token = self._token(match[0])
            if token is not None:
                pieces += [Piece(text[begin : match.start()]), Piece(match[0], token)]
                begin = match.end()
        return [piece for piece in [*pieces, Piece(text[begin:])] if piece.text]

    def literal(self, text: str) -> str:
        """Return the literals that generate ``text``; empty for an empty text."""
        return sequence(*(piece.literal for piece in self.split(text)))

    def begins_with_token(self, text: str) -> bool:
        """Return whether the text begins with the text of a single token."""
        return self.split(text)[0].token is not None

    def without_end_tokens(self, text: str) -> str:
        """Return ``text`` without end-of-generation tokens at its end."""
        pieces = self.split(text)
        while pieces and pieces[-1].token in self._vocabulary.eog_ids:
            pieces.pop()
        return "".join(piece.text for piece in pieces)

    def until(self, lark: Lark, name: str, body: str, end: str) -> str:
        """Write text of the terminal expression ``body`` up to and including the first ``end``."""
        first, *rest = self.split(end)
        remainder = sequence(*(piece.literal for piece in rest))
        if first.token is None:
            return sequence(lark.lazy(name, f"({body}) {first.literal}"), remainder)
        return sequence(lark.terminal(name, body), first.literal, remainder)

    def _token(self, text: str) -> int | None:
        """Return the only token of this text, or None: a control token, or the token that the text always becomes."""
        if text in self._control:
            return self._control[text]
        if text not in self._known:
            ids = self._vocabulary.encode(text)
            self._known[text] = ids[0] if len(ids) == 1 else None
        return self._known[text]
