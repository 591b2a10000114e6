"""The notations of calls that an answer may begin with, beside the notation of the model's own family.

A weak model writes calls as it has read them most often: as plain JSON, or in the notation of another family. Such a
call counts at the start of an answer only, and only from the name of a declared function on: other text stays text.

A JSON call is an object, ``{"name": NAME, "arguments": ARGUMENTS}`` with the keys below, alone or as the value of
``function``. It may stand in a fence, in a list, and after the opening of a family. A named call is
``OPENING NAME NAME_END ARGUMENTS``. After a call further calls may follow, with any of ``endings`` and a comma between.
Families that write each parameter separately are left out, because their grammars are large (docs/performance.md).
"""

import re
from functools import cache
from typing import Final

from msgspec import Struct

from antiphon.chat_formats.chat_format import ToolNotation
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS

NAME_KEYS: Final = ("name", "function", "tool", "tool_name")
NESTING_KEYS: Final = ("function", "tool")
"""Keys whose value may be the object with name and arguments."""
ARGUMENTS_KEYS: Final = ("arguments", "parameters", "input")
TYPE_KEY: Final = "type"
TYPES: Final = ("function", "tool_call")
ID_KEYS: Final = ("id", "tool_call_id")
MAX_ID: Final = 64
"""Letters, digits, ``-`` and ``_`` of an identifier before the name."""
FENCES: Final = ("```json", "```tool_call", "```")
MAX_ENDINGS: Final = 4
"""Texts of ``endings`` after one call."""

_BRACKET: Final = re.compile(r"```\w*|\[\s*$|^\s*\]")


class NamedOpening(Struct, frozen=True):
    """The texts around the name of a call."""

    opening: str
    name_end: str


class ForeignNotations(Struct, frozen=True):
    """The texts of all foreign notations, for a model of one family."""

    marks: tuple[str, ...]
    """Texts before a JSON call, its list or its fence."""
    named: tuple[NamedOpening, ...]
    endings: tuple[str, ...]


@cache
def foreign_notations(own: ToolNotation) -> ForeignNotations:
    """Return the notations of the other families, without openings that hold a trigger of the family ``own``."""
    triggers = [text for one in (own, *own.alternatives) for text in one.triggers]
    marks, named, endings = dict[str, None](), dict[NamedOpening, None](), dict.fromkeys(("}", "]", "```"))
    for family in TOOL_NOTATIONS.values():
        for one in (family, *family.alternatives):
            opening = one.section_start + one.call_start
            if not is_foreign(one) or any(text in opening or text.startswith(opening) for text in triggers):
                continue
            if one.shape == "object":
                marks[_bare(opening)] = None
            else:
                named[NamedOpening(opening.strip(), one.name_end)] = None
            endings.update(dict.fromkeys((_bare(one.call_end), _bare(one.section_end))))
    return ForeignNotations(tuple(filter(None, marks)), tuple(named), tuple(filter(None, endings)))


def is_foreign(notation: ToolNotation) -> bool:
    """Return whether models of other families may use it: an object, or a name and JSON that no bracket surrounds."""
    return notation.shape == "object" or (
        notation.shape == "named" and notation.call_id is None and not notation.call_end.startswith("}")
    )


def _bare(text: str) -> str:
    """Return the text of an opening or an ending without fence and list bracket."""
    return _BRACKET.sub("", text).strip()
