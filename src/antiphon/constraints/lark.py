"""Pieces of grammars in llguidance's Lark dialect: rules, and literals that know the vocabulary's special tokens.

llguidance's lexer takes the longest match and never goes back. So grammars here keep to two invariants: a text is
written as one literal with what must follow it (``f(`` and not ``f`` ``(``), and free text is a terminal from which
whatever may end it is excluded.
"""

import json
import re
from typing import Final, Protocol

from msgspec import Struct

ANY: Final = "/(?s:.*)/"
_MARKER: Final = re.compile(r"<[^<>\s]+>")
"""What llguidance takes for a special token where the vocabulary has it as one token, control token or not."""


class MarkerVocabulary(Protocol):
    """What is needed of a tokenizer to tell tokens that are markers from text."""

    special_tokens: dict[str, int]
    """Texts of the control tokens."""

    @property
    def eog_ids(self) -> frozenset[int]:
        """Tokens that end the generation: they are the end of every grammar, and no part of it."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return token ids."""


class Piece(Struct, frozen=True):
    """Text, or the text of the special token ``token``."""

    text: str
    token: int | None = None

    @property
    def literal(self) -> str:
        """How a rule writes it."""
        return quoted(self.text) if self.token is None else f"<[{self.token}]>"


def quoted(text: str) -> str:
    """Write a string literal."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def alternatives(items: list[str]) -> str:
    """Write a group of which one item is taken."""
    return items[0] if len(items) == 1 else f"({' | '.join(items)})"


def sequence(*items: str) -> str:
    """Write items one behind the other; empty ones are nothing."""
    return " ".join(item for item in items if item)


def excluding(body: str, texts: list[str], *, before: str = ANY) -> str:
    """Write the terminal expression ``body`` without the texts in which one of ``texts`` stands behind ``before``."""
    return f"{body} & ~({before} {alternatives([quoted(text) for text in texts])} {ANY})" if texts else body


class Lark:
    """A grammar on its way to text. The same calls give the same text, so that it can be the key of a cache."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._grammars: dict[str, str] = {}

    def rule(self, name: str, body: str) -> str:
        """Define a rule; return how others refer to it."""
        return self._define(name, name, body)

    def lazy(self, name: str, body: str) -> str:
        """Define a rule of one lexeme that ends as soon as the terminal expression ``body`` matches."""
        return self._define(name, f"{name}[lazy]", body)

    def terminal(self, name: str, body: str) -> str:
        """Define a terminal by a terminal expression."""
        return self._define(name.upper(), name.upper(), body)

    def grammar(self, name: str, text: str) -> str:
        """Define a grammar of its own, whose names are apart from those of this one."""
        assert self._grammars.get(name, text) == text, f"grammar {name} is defined twice"
        self._grammars[name] = text
        return f"@{name}"

    def text(self, start: str) -> str:
        """Return the whole grammar, which generates ``start``."""
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
    """Finds the special tokens in the texts of a notation."""

    def __init__(self, vocabulary: MarkerVocabulary) -> None:
        self._vocabulary = vocabulary
        self._control = {text: token for text, token in vocabulary.special_tokens.items() if text.strip()}
        texts = sorted(self._control, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, texts), _MARKER.pattern]))
        self._known: dict[str, int | None] = {}

    def split(self, text: str) -> list[Piece]:
        """Return the text as pieces, none empty."""
        pieces: list[Piece] = []
        begin = 0
        for match in self._pattern.finditer(text):
            token = self._token(match[0])
            if token is not None:
                pieces += [Piece(text[begin : match.start()]), Piece(match[0], token)]
                begin = match.end()
        return [piece for piece in [*pieces, Piece(text[begin:])] if piece.text]

    def literal(self, text: str) -> str:
        """Write ``text`` as it has to be generated; nothing for no text."""
        return sequence(*(piece.literal for piece in self.split(text)))

    def unended(self, text: str) -> str:
        """Return ``text`` without the end-of-generation tokens that it ends in."""
        pieces = self.split(text)
        while pieces and pieces[-1].token in self._vocabulary.eog_ids:
            pieces.pop()
        return "".join(piece.text for piece in pieces)

    def until(self, lark: Lark, name: str, body: str, end: str) -> str:
        """Write text of the terminal expression ``body`` up to the first ``end``, which is generated as well."""
        first, *rest = self.split(end)
        behind = sequence(*(piece.literal for piece in rest))
        if first.token is None:
            return sequence(lark.lazy(name, f"({body}) {first.literal}"), behind)
        return sequence(lark.terminal(name, body), first.literal, behind)

    def _token(self, text: str) -> int | None:
        """Return the token that stands for this text alone: a control token, or one that such text always becomes."""
        if text in self._control:
            return self._control[text]
        if text not in self._known:
            ids = self._vocabulary.encode(text)
            self._known[text] = ids[0] if len(ids) == 1 else None
        return self._known[text]
