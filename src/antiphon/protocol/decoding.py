"""Decodes the body of a request into a Struct, or raises the first error in it."""

import json
import re
from collections import Counter
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
from msgspec.json import Decoder

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_DEPTH
from antiphon.protocol.diagnosis import diagnose
from antiphon.protocol.unknown_members import Removes, is_null, remove_unknown
from antiphon.protocol.unusable_json import unusable

_T = TypeVar("_T")

_MAX_DIGITS = 400
"""Digits of an integer that are parsed. A longer one exceeds every bound and the digit limit of ``int``."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


def decode(decoder: Decoder[_T], body: bytes, removes: Removes = is_null) -> _T:
    """Decode ``body``. Raises InvalidRequestError unless it is a ``_T`` as JSON text.

    At most ``MAX_DEPTH`` levels may be nested, and a key may occur only once in an object. ``removes`` says which
    unknown members are removed instead of refused: null always asks for nothing.
    """
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError:
        return _without_unknown(decoder, body, removes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(body, error) from None
    _parse(body, "utf-8")  # the only encoding that msgspec accepts
    return value


def _without_unknown(decoder: Decoder[_T], body: bytes, removes: Removes) -> _T:
    """Decode a body that msgspec has refused, without the unknown members that ``removes`` accepts."""
    value = _parse(body, json.detect_encoding(body))
    remove_unknown(decoder.type, value, removes)
    try:
        converted = msgspec.convert(value, decoder.type)
    except msgspec.ValidationError:
        raise _first_error(decoder.type, value) from None
    found = unusable(value)
    if found is not None:
        raise found
    return converted


def _first_error(model: Any, value: object) -> InvalidRequestError:  # noqa: ANN401 (a type)
    found = diagnose(model, value) or unusable(value)
    assert found is not None, "msgspec has found an error"
    return found


def _malformed(body: bytes, error: Exception) -> InvalidRequestError:
    """Make the error of a body that msgspec cannot parse. Python's parser gives the path of a lone surrogate."""
    if _SURROGATE.search(body):
        with suppress(InvalidRequestError):
            found = unusable(_parse(body, "utf-8"))
            if found is not None:
                return found
    return validation.invalid_json(_reason(error))


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


def _constant(name: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(name)


def _integer(digits: str) -> int:
    return int(digits[:_MAX_DIGITS])


_PYTHON_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)


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
