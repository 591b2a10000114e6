r"""Rewrites look-aheads at the start of a pattern as further patterns that the same text must match.

``(?=.*\d)`` after ``^`` asks for another pattern, ``^.*\d``. A negative look-ahead is rewritten in three forms: those
of zod's ``email`` (``(?!\.)``, ``(?!.*\.\.)``) and of pydantic's ``Decimal`` (``(?!^[-+.]*$)``). Other patterns stay
as they are, and the translator refuses them.
"""

import re
from typing import Final

_ATOM: Final = r"(?:\[(?:\\.|[^\]\\])+\]|\\[^a-zA-Z0-9]|[^\\\[\](){}|.*+?^$])"
_ONE: Final = re.compile(rf"\^?({_ATOM})", re.DOTALL)
_ALL_OF: Final = re.compile(rf"\^?({_ATOM})\*\$", re.DOTALL)
_TWICE: Final = re.compile(rf"\^?\.\*({_ATOM})\1", re.DOTALL)
_ITEM: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|.", re.DOTALL)


def split_look_aheads(pattern: str) -> tuple[str, ...]:
    """Return patterns in ECMA-262's syntax that a text matches together if it matches ``pattern``."""
    found: list[str] = []
    rest = pattern.removeprefix("^")
    while pattern.startswith("^") and rest.startswith(("(?=", "(?!")):
        end = _end_of_group(rest)
        rewritten = None if end is None else _rewritten(rest[3 : end - 1], negative=rest[2] == "!")
        if rewritten is None:
            return (pattern,)
        found.append(rewritten)
        rest = rest[end:]
    if not found or _has_alternatives(rest):
        return (pattern,)
    return (*found, f"^{rest}")


def _rewritten(inner: str, *, negative: bool) -> str | None:
    """Return the pattern of the texts at whose start the look-ahead holds, or None."""
    if not negative:
        return None if _has_alternatives(inner) else f"^{inner.removeprefix('^')}"
    if one := _ONE.fullmatch(inner):
        return f"^(?:{_complement(one[1])}|$)"
    if every := _ALL_OF.fullmatch(inner):
        return _complement(every[1])
    if twice := _TWICE.fullmatch(inner):
        return f"^(?:{twice[1]}?{_complement(twice[1])})*{twice[1]}?$"
    return None


def _complement(atom: str) -> str:
    """Return the class of all characters that the atom, a class or a character, does not match."""
    if atom.startswith("[^"):
        return f"[{atom[2:]}"
    return f"[^{atom[1:]}" if atom.startswith("[") else f"[^{atom}]"


def _end_of_group(text: str) -> int | None:
    """Return the position after the group with which the text begins, or None if it is not closed."""
    depth = 0
    for item in _ITEM.finditer(text):
        depth += (item[0] == "(") - (item[0] == ")")
        if depth == 0:
            return item.end()
    return None


def _has_alternatives(text: str) -> bool:
    """Return whether the text has ``|`` outside of groups."""
    depth = 0
    for item in _ITEM.finditer(text):
        depth += (item[0] == "(") - (item[0] == ")")
        if item[0] == "|" and depth == 0:
            return True
    return False
