"""Finds texts and numbers of decoded JSON that no program can use: lone surrogates, and numbers that no float can hold.

Python's JSON parser accepts both. msgspec refuses both, but its error lacks the path of the text.
"""

import re
import sys
from collections.abc import Iterator
from typing import Final

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation

Members = Iterator[tuple[str, object]] | Iterator[tuple[int, object]]
"""The keys or indices of a container, each with its value."""
_MAX_PATH: Final = 256
"""Characters of a path that an error names; one of free-form JSON may be long."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def unusable(value: object) -> InvalidRequestError | None:
    """Return the error of the first unusable key, text or number of ``value``, in the order of the document.

    The walk neither recurses nor lists its values: hostile JSON may be deep or large.
    """
    walk: list[tuple[str, Members]] = [("", iter([("", value)]))]
    while walk:
        path, members = walk[-1]
        for key, member in members:
            found = _key_problem(path, key) or _problem(path, key, member)
            if found is not None:
                return found
            if isinstance(member, dict | list):
                walk.append((_inner(path, key), _members(member)))
                break
        else:
            walk.pop()
    return None


def _members(value: dict[str, object] | list[object]) -> Members:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _bounded(path: str) -> str:
    return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH - 3]}..."


def _inner(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return validation.join(path, key) if key else path


def _key_problem(path: str, key: str | int) -> InvalidRequestError | None:
    reason = _surrogate(key) if isinstance(key, str) else None
    if reason is None:
        return None
    path = _bounded(path)
    message = f"Invalid key in {validation.quote(path)}: '{validation.shorten(str(key))}': {reason}"
    return InvalidRequestError(message, param=path or None, code="invalid_value")


def _problem(path: str, key: str | int, member: object) -> InvalidRequestError | None:
    if isinstance(member, str):
        reason = _surrogate(member)
    elif isinstance(member, int | float) and abs(member) > sys.float_info.max:
        reason = "Number out of range."
    else:
        return None
    return None if reason is None else validation.invalid_value(_bounded(_inner(path, key)), reason)


def _surrogate(text: str) -> str | None:
    """Return what is wrong with a text that has a lone surrogate, else None."""
    lone = None if text.isascii() else _SURROGATE.search(text)
    if lone is None:
        return None
    return (
        f"character {lone.start()} is the lone surrogate '\\u{ord(lone[0]):04x}', half of a character. "
        "Escape both halves, or write the character in UTF-8."
    )
