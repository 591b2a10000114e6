"""Writes bounds on numbers so that llguidance 1.9.1 reads them exactly.

llguidance deviates in four ways:

- It reads the numbers of a schema as doubles with an error in the last digit: 0.9999999999999999 becomes 1.
- It admits an excluded integer bound if the other bound has the same integer part.
- It cannot begin a range beyond 18 digits.
- It reads ``multipleOf`` by multiplying a double by ten until it is an integer, which can give another number.

So a bound that llguidance would not read exactly moves inwards to the next one that it does; such a constant or
multiple is refused. The limits on multiples are in :mod:`~antiphon.constraints.json_schema.multiples`.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from antiphon.constraints.json_schema.schema_errors import UnenforceableError
from antiphon.constraints.json_schema.shapes import Number

Bound = tuple[Fraction, bool]

MAX_DECIMALS: Final = 22
"""Digits after the point. The powers of ten up to this one are exact doubles, so one division reads the number."""
MAX_DIGITS: Final = 15
"""Significant digits of a number that is not an integer."""
MAX_STEP: Final = 2**32 - 1
"""Greatest ``multipleOf`` without its decimal point; llguidance holds it in 32 bits."""
_LARGEST_DOUBLE: Final = Fraction(2**63 - 1024)
"""The largest double that fits in a signed 64-bit integer."""
_LARGEST_RANGE_START: Final = Fraction(10**18)
"""llguidance cannot begin a range at a larger number."""


def exact(value: float) -> Fraction:
    """Return the number that the JSON text had: 0.1 is a tenth."""
    return Fraction(Decimal(repr(value)))


def number_schema(shape: Number) -> dict[str, Any]:
    """Return llguidance's schema of a number shape. Raises :class:`SchemaRefusedError`."""
    if shape.point is not None:
        return {"const": _json_constant(shape.point)}
    schema: dict[str, Any] = {"type": "integer" if shape.integer else "number"}
    lower = _round_inwards(_bound_multiples(shape, shape.lower), 1)
    upper = _round_inwards(_bound_multiples(shape, shape.upper), -1)
    if not shape.integer and lower is not None and upper is not None:
        lower, upper = _include_integer_bounds(lower, upper)
    if lower is not None and upper is not None and lower[0] >= upper[0]:
        raise UnenforceableError("bounds on numbers that lie so close together are not supported")
    if lower is not None:
        schema["exclusiveMinimum" if lower[1] else "minimum"] = _json_number(lower[0])
    if upper is not None:
        schema["exclusiveMaximum" if upper[1] else "maximum"] = _json_number(upper[0])
    if shape.multiple_of is not None:
        schema["multipleOf"] = _multiple_of(shape.multiple_of)
    return schema


def _bound_multiples(shape: Number, bound: Bound | None) -> Bound | None:
    """Return the bound 1 for all positive multiples and -1 for all negative ones; it needs no second automaton."""
    if not shape.integer or bound is None or shape.multiple_of is None or abs(bound[0]) != shape.multiple_of:
        return bound
    positive = bound[0] > 0
    return (Fraction(1 if positive else -1), False) if (bound == shape.lower) == positive else bound


def _json_number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _is_read_exactly(value: Fraction) -> bool:
    if value.denominator == 1:
        return abs(value) <= _LARGEST_DOUBLE and int(float(value)) == value
    scaled = value * 10**MAX_DECIMALS
    if scaled.denominator != 1:
        return False
    return len(str(abs(int(scaled))).rstrip("0")) <= MAX_DIGITS


def _json_constant(value: Fraction) -> float:
    if not _is_read_exactly(value):
        raise UnenforceableError(f"a number of more than {MAX_DIGITS} digits is not supported as a constant")
    return _json_number(value)


def _round_inwards(bound: Bound | None, direction: int) -> Bound | None:
    """Return the next bound that is read exactly, in ``direction``: 1 for a lower bound, -1 for an upper."""
    if bound is None:
        return None
    value = bound[0]
    if value * direction >= _LARGEST_RANGE_START:
        raise UnenforceableError("numbers that must have more than 18 digits are not supported")
    if _is_read_exactly(value):
        return bound
    if abs(value) > _LARGEST_DOUBLE:
        return (-direction * _LARGEST_DOUBLE, False)
    if value.denominator == 1:
        nearest = float(value)
        if (int(nearest) - value) * direction < 0:  # by half a step at most
            nearest = math.nextafter(nearest, direction * math.inf)
        return (Fraction(int(nearest)), False)
    return (_round_decimal(value, direction), False)


def _round_decimal(value: Fraction, direction: int) -> Fraction:
    magnitude = math.floor(math.log10(abs(value))) + 1
    scale = Fraction(10) ** max(0, min(MAX_DECIMALS, MAX_DIGITS - 1 - magnitude))
    return Fraction(math.ceil(value * scale) if direction > 0 else math.floor(value * scale)) / scale


def _include_integer_bounds(lower: Bound, upper: Bound) -> tuple[Bound, Bound]:
    """Replace an excluded integer bound that llguidance would admit by the next included number."""
    if lower[1] and lower[0].denominator == 1 and lower[0] >= 0 and upper[0] < lower[0] + 1:
        lower = (lower[0] + _smallest_step(lower[0]), False)
    if upper[1] and upper[0].denominator == 1 and upper[0] <= 0 and lower[0] > upper[0] - 1:
        upper = (upper[0] - _smallest_step(upper[0]), False)
    return lower, upper


def _smallest_step(value: Fraction) -> Fraction:
    """Return the smallest step from an integer to a number that is read exactly."""
    return Fraction(1, 10**MAX_DECIMALS) if value == 0 else Fraction(1, 10 ** (MAX_DIGITS - len(str(abs(int(value))))))


def _multiple_of(step: Fraction) -> float:
    """Return a step as JSON has it. Raises :class:`SchemaRefusedError` if llguidance would read another number."""
    spelled = _json_number(step)
    value, exponent = float(spelled), 0
    while value != int(value) and exponent <= MAX_DECIMALS:
        value, exponent = value * 10, exponent + 1
    if value > MAX_STEP or Fraction(int(value), 10**exponent) != step:
        raise UnenforceableError("'multipleOf' of so many digits is not supported")
    return spelled
