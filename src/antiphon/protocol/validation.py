"""The errors of malformed requests: message, ``param`` and ``code``, in the wording of the reference's service.

A path is a ``param`` such as ``messages[0].role``; the empty path is the body itself. Quoted values are shortened, so
that the length of messages is bounded.
"""

from collections.abc import Sequence

from antiphon.errors import InvalidRequestError

MAX_ECHO = 64
"""Characters of the client's text that a message or a param quotes."""


def shorten(text: str) -> str:
    """Return ``text`` cut to :data:`MAX_ECHO` characters, with ``...`` for the rest and ``?`` for lone surrogates."""
    cut = text if len(text) <= MAX_ECHO else text[: MAX_ECHO - 3] + "..."
    return cut.encode(errors="replace").decode()


def join(path: str, key: str) -> str:
    """Return the path of member ``key`` of the object at ``path``."""
    return f"{path}.{shorten(key)}" if path else shorten(key)


def quote(path: str) -> str:
    """Return the name of the field at ``path``, as a message shows it."""
    return f"'{path}'" if path else "the request body"


def number(value: float) -> str:
    """Return a number as text: 2.0 as ``2``, huge integers shortened."""
    return shorten(str(value).removesuffix(".0"))


def enumerate_values(values: Sequence[str]) -> str:
    """Return a list of values as text: ``'a'``, ``'a' and 'b'``, ``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) <= 2:  # noqa: PLR2004 (English has no comma between two)
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def invalid_json(reason: str) -> InvalidRequestError:
    """Make the error of a body that is not JSON text."""
    return InvalidRequestError(f"We could not parse the JSON body of your request: {reason}.", code="invalid_json")


def missing_required_parameter(path: str) -> InvalidRequestError:
    """Make the error of a required field that is absent."""
    message = f"Missing required parameter: '{path}'."
    return InvalidRequestError(message, param=path, code="missing_required_parameter")


def unknown_parameter(path: str) -> InvalidRequestError:
    """Make the error of a field that the reference does not have."""
    return InvalidRequestError(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def unsupported_parameter(path: str, capability: str) -> InvalidRequestError:
    """Make the error of a refused field of the reference, which needs the missing ``capability``."""
    message = f"Unsupported parameter: '{path}'. This server does not support {capability} yet."
    return InvalidRequestError(message, param=path, code="unsupported_parameter")


def invalid_type(path: str, expected: str, got: str) -> InvalidRequestError:
    """Make the error of a JSON value of the wrong type; both types include their article."""
    message = f"Invalid type for {quote(path)}: expected {expected}, but got {got} instead."
    return InvalidRequestError(message, param=path or None, code="invalid_type")


def invalid_value(path: str, reason: str) -> InvalidRequestError:
    """Make the error of a value that breaks the rule ``reason``, a full sentence."""
    message = f"Invalid value for {quote(path)}: {reason}"
    return InvalidRequestError(message, param=path or None, code="invalid_value")


def unsupported_value(path: str, value: str, values: Sequence[str]) -> InvalidRequestError:
    """Make the error of a string that is not one of ``values``."""
    allowed = enumerate_values(values)
    supported = f"Value must be {allowed}." if len(values) == 1 else f"Supported values are: {allowed}."
    message = f"Invalid value: '{shorten(value)}'. {supported}"
    return InvalidRequestError(message, param=path, code="invalid_value")


def spell_pattern(pattern: str) -> str:
    """Return a pattern without the guard against a final newline, which only Python's ``$`` needs."""
    return pattern.removesuffix(r"(?!\n)")


def pattern_mismatch(path: str, pattern: str) -> InvalidRequestError:
    """Make the error of a string that does not match ``pattern``."""
    message = (
        f"Invalid '{path}': string does not match pattern. "
        f"Expected a string that matches the pattern '{spell_pattern(pattern)}'."
    )
    return InvalidRequestError(message, param=path, code="invalid_value")


def invalid_key(path: str, key: str, expected: str, code: str) -> InvalidRequestError:
    """Make the error of an invalid key in the map at ``path``."""
    message = f"Invalid key in '{path}': '{shorten(key)}'. Expected {expected}."
    return InvalidRequestError(message, param=path, code=code)


def out_of_range(path: str, kind: str, relation: str, bound: float, value: float) -> InvalidRequestError:
    """Make the error of a number out of bounds.

    ``kind`` is ``integer`` or ``decimal``; ``relation`` (``<=``, ``<``, ``>=`` or ``>``) is required between the value
    and ``bound``.
    """
    side, extreme = ("above", "max") if relation in {"<=", "<"} else ("below", "min")
    message = (
        f"Invalid '{path}': {kind} {side} {extreme}imum value. "
        f"Expected a value {relation} {number(bound)}, but got {number(value)} instead."
    )
    return InvalidRequestError(message, param=path, code=f"{kind}_{side}_{extreme}_value")


def empty(path: str, kind: str) -> InvalidRequestError:
    """Make the error of an empty ``kind`` (``string`` or ``array``)."""
    article = "an" if kind == "array" else "a"
    message = (
        f"Invalid '{path}': empty {kind}. "
        f"Expected {article} {kind} with minimum length 1, but got an empty {kind} instead."
    )
    return InvalidRequestError(message, param=path, code=f"empty_{kind}")


def too_long(path: str, kind: str, limit: int, length: int) -> InvalidRequestError:
    """Make the error of a ``string`` or ``array`` longer than ``limit`` characters or elements."""
    article = "an" if kind == "array" else "a"
    message = (
        f"Invalid '{path}': {kind} too long. Expected {article} {kind} with maximum length {limit}, "
        f"but got {article} {kind} with length {length} instead."
    )
    return InvalidRequestError(message, param=path, code=f"{kind}_above_max_length")


def too_many(path: str, things: str, limit: int, count: int) -> InvalidRequestError:
    """Make the error of an array whose elements hold more than ``limit`` ``things`` together."""
    message = f"Invalid '{path}': too many {things}. Expected at most {limit} {things} in all, but got {count} instead."
    return InvalidRequestError(message, param=path, code="array_above_max_length")


def too_many_properties(path: str, limit: int, count: int) -> InvalidRequestError:
    """Make the error of an object with more than ``limit`` members."""
    message = (
        f"Invalid '{path}': too many properties. Expected an object with at most {limit} properties, "
        f"but got an object with {count} properties instead."
    )
    return InvalidRequestError(message, param=path, code="object_above_max_properties")
