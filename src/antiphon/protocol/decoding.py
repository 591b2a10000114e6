"""From the bytes of a body to a Struct, or to the one error that says what is wrong with it."""

import json
from collections import Counter
from typing import Any, Final, TypeVar

import msgspec
from msgspec.json import Decoder

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_DEPTH
from antiphon.protocol.diagnosis import diagnose

_T = TypeVar("_T")

_MAX_DIGITS = 400
"""Longer integers are beyond every bound; cutting them keeps the sign and stays within int()'s own limit."""
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def decode(decoder: Decoder[_T], body: bytes) -> _T:
    """Decode ``body``. Raises InvalidRequestError for anything but a ``_T`` in JSON text of bounded depth.

    No object may have a key twice.
    """
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(decoder, body, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise validation.invalid_json(_reason(error)) from None
    _parse(body, "utf-8")  # msgspec takes no other
    return value


def _explain(decoder: Decoder[_T], body: bytes, error: msgspec.ValidationError) -> InvalidRequestError:
    try:
        found = diagnose(decoder.type, _parse(body, json.detect_encoding(body)))
    except InvalidRequestError as malformed:
        return malformed
    return found or _translate(error)


def _translate(error: msgspec.ValidationError) -> InvalidRequestError:
    """Report what only msgspec sees: a number inside free-form JSON that no float or int64 can hold."""
    reason, _, place = str(error).rpartition(" - at `$")
    path = place.rstrip("`").lstrip(".").partition("[...]")[0]
    return validation.invalid_value(path, f"{validation.shorten(reason)}.")


def _parse(body: bytes, encoding: str) -> Any:  # noqa: ANN401 (JSON)
    """Parse JSON once more, with Python's own parser, which can see that an object has a key twice.

    The last one would win unseen: a proxy in front of this server may have judged the first.
    """
    try:
        text = body.decode(encoding, "surrogatepass")
        value = _PYTHON_DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise validation.invalid_json(_reason(error)) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and nests_deeper(value, MAX_DEPTH):
        raise validation.invalid_json(_TOO_DEEP)
    return value


def nests_deeper(value: object, levels: int) -> bool:
    """Say whether arrays and objects nest more than ``levels`` deep. Walks by level: recursion would need the bound."""
    containers = [value] if isinstance(value, dict | list) else []
    while containers and levels:
        members = (each.values() if isinstance(each, dict) else each for each in containers)
        containers = [member for inner in members for member in inner if isinstance(member, dict | list)]
        levels -= 1
    return bool(containers)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise validation.invalid_json(f"the key '{validation.shorten(_double(pairs))}' occurs twice in one object")
    return members


def _double(pairs: list[tuple[str, object]]) -> str:
    counts = Counter(key for key, _ in pairs)
    return counts.most_common(1)[0][0]


def _integer(digits: str) -> int:
    return int(digits[:_MAX_DIGITS])


_PYTHON_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def _reason(error: Exception) -> str:
    match error:
        case RecursionError():
            return _TOO_DEEP
        case UnicodeDecodeError():
            return "it is not UTF-8 text"
        case msgspec.DecodeError():
            return validation.shorten(str(error).removeprefix("JSON is malformed: "))
        case _:
            return "it is not valid JSON"
