"""The rules of calls in foreign notations, which an answer may begin with.

The text before the name is one lexeme, after which both a call and other text may follow: a name of a declared function
begins a call, which is all that the grammar admits from then on. So the text costs nothing for each function.
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from antiphon.chat_formats.chat_format import ToolNotation
from antiphon.chat_formats.foreign_notations import (
    ARGUMENTS_KEYS,
    FENCES,
    ID_KEYS,
    MAX_ENDINGS,
    MAX_ID,
    NAME_KEYS,
    NESTING_KEYS,
    TYPE_KEY,
    TYPES,
    ForeignNotations,
    foreign_notations,
)
from antiphon.constraints.lark import Lark, Markers, quoted, sequence
from antiphon.constraints.tool_parameters import CallableFunction

_SPACE: Final = r"[ \t\r\n]*"
_LIST: Final = r"\["
_SOME_SPACE: Final = r"[ \t\r\n]{0,16}"
"""Whitespace between the parts of a call; in a call it is bounded."""


class ForeignCalls(Struct, frozen=True):
    """One way in which calls begin."""

    opening: str
    """The rule of the text before the name."""
    calls: str
    """The rules of the calls from the first name on."""
    names: str
    """The regular expression of the names with the text after them; other text after the opening is no call."""


def foreign_calls(
    lark: Lark, markers: Markers, own: ToolNotation, functions: list[CallableFunction], *, parallel: bool
) -> list[ForeignCalls]:
    """Write the calls that an answer may begin with beside those of the family ``own``.

    A text that holds a token of this vocabulary that is no text is left out: text cannot hold it.
    """
    return _ForeignRules(lark, foreign_notations(own), markers, functions).ways(parallel=parallel)


class _ForeignRules:
    """Writes the rules; their names begin with ``foreign``."""

    def __init__(
        self, lark: Lark, notations: ForeignNotations, markers: Markers, functions: list[CallableFunction]
    ) -> None:
        def is_text(text: str) -> bool:
            return all(piece.token is None for piece in markers.split(text))

        self._lark = lark
        self._functions = functions
        named = [one for one in notations.named if is_text(one.opening) and is_text(one.name_end)]
        marks = _optional([_spaced(mark) for mark in notations.marks if is_text(mark)])
        fences = _optional([_spaced(text) for text in FENCES])
        self._openings = {
            "json": f"{marks}{fences}{_optional([_LIST])}{_object_opening()}",
            "named": _any([_spaced(one.opening) for one in named]) + _SPACE,
        }
        self._name_ends = {"json": '"', "named": _any([_spaced(one.name_end) for one in named])}
        endings = _any([_spaced(ending) for ending in notations.endings if is_text(ending)])
        self._endings = f"(?:{endings}{_SOME_SPACE})"

    def ways(self, *, parallel: bool) -> list[ForeignCalls]:
        """Write one call or, with ``parallel``, several, for each way in which they begin."""
        bodies = {"json": self._bodies("json"), "named": self._bodies("named")}
        close = f"{_SOME_SPACE}{self._endings}{{1,{MAX_ENDINGS}}}|[ \\t\\r\\n]{{1,16}}"
        rest = f"{self._lark.terminal('foreign_close', f'/{close}/')}?"
        if parallel:
            between = f"{_SOME_SPACE}{self._endings}{{0,{MAX_ENDINGS}}}{_optional([','])}"
            nexts = [
                sequence(self._lark.lazy(f"foreign_next_{way}", f"/{between}{opening}/"), bodies[way])
                for way, opening in self._openings.items()
            ]
            rest = sequence(f"({' | '.join(nexts)})*", rest)
        names = _any([re.escape(function.name) for function in self._functions])
        return [
            ForeignCalls(
                self._lark.lazy(f"foreign_{way}_open", f"/{_SPACE}{opening}/"),
                sequence(bodies[way], rest),
                f"/{names}{self._name_ends[way]}/",
            )
            for way, opening in self._openings.items()
        ]

    def _bodies(self, way: str) -> str:
        """Write a call of each function, from its name on."""
        key = f'{_SOME_SPACE},{_SOME_SPACE}"{_any(ARGUMENTS_KEYS)}"{_SOME_SPACE}:{_SOME_SPACE}'
        bodies = []
        for number, function in enumerate(self._functions):
            arguments = quoted("{}")
            if function.schema is not None:
                arguments = self._lark.rule(f"foreign_arguments_{number}", f"%json {function.schema}")
            end = f'"{key}' if way == "json" else f"{self._name_ends[way]}{_SOME_SPACE}"
            name = self._lark.terminal(f"foreign_{way}_{number}", f"/{re.escape(function.name)}{end}/")
            brace = self._lark.terminal("foreign_brace", rf"/{_SOME_SPACE}\}}/") if way == "json" else ""
            bodies.append(sequence(name, arguments, brace))
        return self._lark.rule(f"foreign_{way}", " | ".join(bodies))


def _object_opening() -> str:
    """Return the regular expression of a JSON call up to the quote before the name."""
    colon = f"{_SPACE}:{_SPACE}"
    kind = f'"{TYPE_KEY}"{colon}"{_any(TYPES)}"'
    identifier = f'"{_any(ID_KEYS)}"{colon}"[a-zA-Z0-9_-]{{0,{MAX_ID}}}"'
    skipped = f"(?:{_any([kind, identifier])}{_SPACE},{_SPACE})*"
    nested = rf'"{_any(NESTING_KEYS)}"{colon}\{{{_SPACE}"{NAME_KEYS[0]}"'
    return rf'\{{{_SPACE}{skipped}(?:"{_any(NAME_KEYS)}"|{nested}){colon}"'


def _any(texts: Sequence[str]) -> str:
    return f"(?:{'|'.join(texts)})"


def _optional(texts: Sequence[str]) -> str:
    return f"(?:{_any(texts)}{_SPACE})?" if texts else ""


def _spaced(text: str) -> str:
    """Return the regular expression of the text with optional whitespace before each word, as the parser reads it.

    A text of whitespace alone is the end of a line.
    """
    words = [re.escape(word).replace("/", r"\/") for word in text.split()]
    return _SPACE.join(words) if words else r"[ \t]*\n" if text else ""
