"""Bounds on numbers, in the form in which llguidance 1.9.1 follows them exactly.

It reads the numbers of a schema as doubles with an error in the last digit (0.9999999999999999 becomes 1), admits an
excluded whole bound when the other bound has the same whole part, cannot begin a range beyond 18 digits, and reads
``multipleOf`` by multiplying a double by ten until it is whole, which may never give the right number. Here a bound
that would not be read exactly is moved inwards to the next one that is; a constant or a step is refused. Multiples are
in :mod:`~antiphon.constraints.json_schema.multiples`.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Number

Bound = tuple[Fraction, bool]

MAX_DECIMALS: Final = 22
"""Digits after the point: the powers of ten up to here are doubles, so that one division reads the number exactly."""
MAX_DIGITS: Final = 15
"""Significant digits of a number that is not whole."""
MAX_STEP: Final = 2**32 - 1
"""Greatest coefficient of ``multipleOf`` (llguidance has 32 bits)."""
_FARTHEST: Final = Fraction(2**63 - 1024)
"""The greatest double that fits in 64 bits."""
_NEAR: Final = Fraction(10**18)
"""Beyond here a range without an end is not supported."""


def exact(value: float) -> Fraction:
    """A number as the JSON text had it: 0.1 is a tenth."""
    return Fraction(Decimal(repr(value)))


def number_schema(shape: Number) -> dict[str, Any]:
    """The schema for llguidance of a number shape. Raises :class:`SchemaRefusedError`."""
    if shape.point is not None:
        return {"const": _constant(shape.point)}
    schema: dict[str, Any] = {"type": "integer" if shape.integer else "number"}
    lower, upper = _inwards(_nearer(shape, shape.lower), 1), _inwards(_nearer(shape, shape.upper), -1)
    if not shape.integer and lower is not None and upper is not None:
        lower, upper = _shifted(lower, upper)
    if lower is not None and upper is not None and lower[0] >= upper[0]:
        raise SchemaRefusedError("bounds on numbers that lie so close together are not supported")
    if lower is not None:
        schema["exclusiveMinimum" if lower[1] else "minimum"] = _spell(lower[0])
    if upper is not None:
        schema["exclusiveMaximum" if upper[1] else "maximum"] = _spell(upper[0])
    if shape.multiple_of is not None:
        schema["multipleOf"] = _step(shape.multiple_of)
    return schema


def _nearer(shape: Number, bound: Bound | None) -> Bound | None:
    """Bound positive multiples by 1 and negative ones by -1, which takes no automaton beside that of the multiples."""
    if not shape.integer or bound is None or shape.multiple_of is None or abs(bound[0]) != shape.multiple_of:
        return bound
    positive = bound[0] > 0
    return (Fraction(1 if positive else -1), False) if (bound == shape.lower) == positive else bound


def _spell(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _is_read_exactly(value: Fraction) -> bool:
    if value.denominator == 1:
        return abs(value) <= _FARTHEST and int(float(value)) == value
    scaled = value * 10**MAX_DECIMALS
    if scaled.denominator != 1:
        return False
    return len(str(abs(int(scaled))).rstrip("0")) <= MAX_DIGITS


def _constant(value: Fraction) -> float:
    if not _is_read_exactly(value):
        raise SchemaRefusedError(f"a number of more than {MAX_DIGITS} digits is not supported as a constant")
    return _spell(value)


def _inwards(bound: Bound | None, direction: int) -> Bound | None:
    """The bound, or the next one that is read exactly, in ``direction``: 1 for a lower bound, -1 for an upper."""
    if bound is None:
        return None
    value = bound[0]
    if value * direction >= _NEAR:
        raise SchemaRefusedError("numbers that must have more than 18 digits are not supported")
    if _is_read_exactly(value):
        return bound
    if abs(value) > _FARTHEST:
        return (-direction * _FARTHEST, False)
    if value.denominator == 1:
        nearest = float(value)
        if (int(nearest) - value) * direction < 0:  # by half a step at most
            nearest = math.nextafter(nearest, direction * math.inf)
        return (Fraction(int(nearest)), False)
    return (_cut(value, direction), False)


def _cut(value: Fraction, direction: int) -> Fraction:
    magnitude = math.floor(math.log10(abs(value))) + 1
    scale = Fraction(10) ** max(0, min(MAX_DECIMALS, MAX_DIGITS - 1 - magnitude))
    return Fraction(math.ceil(value * scale) if direction > 0 else math.floor(value * scale)) / scale


def _shifted(lower: Bound, upper: Bound) -> tuple[Bound, Bound]:
    """Move an excluded whole bound inwards where llguidance would admit it."""
    if lower[1] and lower[0].denominator == 1 and lower[0] >= 0 and upper[0] < lower[0] + 1:
        lower = (lower[0] + _next(lower[0]), False)
    if upper[1] and upper[0].denominator == 1 and upper[0] <= 0 and lower[0] > upper[0] - 1:
        upper = (upper[0] - _next(upper[0]), False)
    return lower, upper


def _next(value: Fraction) -> Fraction:
    """A small step from a whole number to one that is read exactly."""
    return Fraction(1, 10**MAX_DECIMALS) if value == 0 else Fraction(1, 10 ** (MAX_DIGITS - len(str(abs(int(value))))))


def _step(step: Fraction) -> float:
    """A step that llguidance reads as the same number."""
    spelled = _spell(step)
    value, exponent = float(spelled), 0
    while value != int(value) and exponent <= MAX_DECIMALS:
        value, exponent = value * 10, exponent + 1
    if value > MAX_STEP or Fraction(int(value), 10**exponent) != step:
        raise SchemaRefusedError("'multipleOf' of so many digits is not supported")
    return spelled
