"""Decodes the body of a request into a Struct, or raises the first error in it."""

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
"""Digits of an integer that are parsed. A longer one exceeds every bound and the digit limit of ``int``."""
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def decode(decoder: Decoder[_T], body: bytes) -> _T:
    """Decode ``body``. Raises InvalidRequestError unless it is a ``_T`` as JSON text.

    At most ``MAX_DEPTH`` levels may be nested, and a key may occur only once in an object.
    """
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explain(decoder, body, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise validation.invalid_json(_reason(error)) from None
    _parse(body, "utf-8")  # the only encoding that msgspec accepts
    return value


def _explain(decoder: Decoder[_T], body: bytes, error: msgspec.ValidationError) -> InvalidRequestError:
    try:
        found = diagnose(decoder.type, _parse(body, json.detect_encoding(body)))
    except InvalidRequestError as malformed:
        return malformed
    return found or _translate(error)


def _translate(error: msgspec.ValidationError) -> InvalidRequestError:
    """Make the error that only msgspec finds: a number in free-form JSON that no float or int64 can hold."""
    reason, _, place = str(error).rpartition(" - at `$")
    path = place.rstrip("`").lstrip(".").partition("[...]")[0]
    return validation.invalid_value(path, f"{validation.shorten(reason)}.")


def _parse(body: bytes, encoding: str) -> Any:  # noqa: ANN401 (JSON)
    """Parse JSON again with Python's parser, which finds keys that occur twice in one object.

    msgspec takes the last value of such a key; a proxy in front of this server may have checked the first one.
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
    """Return whether arrays and objects nest more than ``levels`` deep, by a walk without recursion."""
    containers = [value] if isinstance(value, dict | list) else []
    while containers and levels:
        members = (each.values() if isinstance(each, dict) else each for each in containers)
        containers = [member for inner in members for member in inner if isinstance(member, dict | list)]
        levels -= 1
    return bool(containers)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        key = validation.shorten(_repeated_key(pairs))
        raise validation.invalid_json(f"the key '{key}' occurs twice in one object")
    return members


def _repeated_key(pairs: list[tuple[str, object]]) -> str:
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
