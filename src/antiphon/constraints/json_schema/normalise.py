"""Brings shapes to their simplest form: drops redundant bounds, tightens others, and finds empty shapes."""

from fractions import Fraction
from math import ceil, floor, gcd, lcm
from typing import overload

from msgspec.structs import replace

from antiphon.constraints.json_schema.pattern_queries import is_empty, matches
from antiphon.constraints.json_schema.shapes import Array, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import NEVER


@overload
def normalise(shape: Number) -> Number | None: ...
@overload
def normalise(shape: String) -> String | None: ...
@overload
def normalise(shape: Array) -> Array | None: ...
@overload
def normalise(shape: Object) -> Object | None: ...
@overload
def normalise(shape: Shape) -> Shape | None: ...
def normalise(shape: Shape) -> Shape | None:
    """Return a shape of the same values in its simplest form, or None if it has no value."""
    match shape:
        case Number():
            return _number(shape)
        case String():
            return _string(shape)
        case Array():
            return _array(shape)
        case Object():
            return _object(shape)
    return shape


def least_common_multiple(left: Fraction, right: Fraction) -> Fraction:
    """Return the least positive number that both numbers divide."""
    return Fraction(lcm(left.numerator, right.numerator), gcd(left.denominator, right.denominator))


def _number(shape: Number) -> Number | None:
    step = shape.multiple_of
    if shape.integer:
        step = least_common_multiple(step or Fraction(1), Fraction(1))
    lower, upper = shape.lower, shape.upper
    if step is not None:
        lower, upper = _round_up(lower, step), _round_down(upper, step)
    if lower is not None and upper is not None and (lower[0] > upper[0] or (lower[0] == upper[0] and lower != upper)):
        return None
    if lower is not None and lower == upper:
        return None if lower[1] else Number(integer=lower[0].denominator == 1, lower=lower, upper=upper)
    integer = step is not None and step.denominator == 1
    return Number(integer=integer, lower=lower, upper=upper, multiple_of=None if step == 1 else step)


def _round_up(bound: tuple[Fraction, bool] | None, step: Fraction) -> tuple[Fraction, bool] | None:
    if bound is None:
        return None
    steps = ceil(bound[0] / step)
    return ((steps + 1 if bound[1] and steps * step == bound[0] else steps) * step, False)


def _round_down(bound: tuple[Fraction, bool] | None, step: Fraction) -> tuple[Fraction, bool] | None:
    if bound is None:
        return None
    steps = floor(bound[0] / step)
    return ((steps - 1 if bound[1] and steps * step == bound[0] else steps) * step, False)


def _string(shape: String) -> String | None:
    low, high = shape.min_length, shape.max_length
    if high is not None and low > high:
        return None
    if shape.values is None:
        if high == 0:
            return _string(replace(shape, values=("",)))
        if shape.patterns and is_empty(shape.patterns, low, high):
            return None
        return shape
    values = tuple(
        text
        for text in dict.fromkeys(shape.values)
        if text not in shape.excluded
        and low <= len(text)
        and (high is None or len(text) <= high)
        and all(matches(pattern, text) for pattern in shape.patterns)
    )
    return String(values=values) if values else None


def _array(shape: Array) -> Array | None:
    high = shape.max_items
    impossible = next((index for index, term in enumerate(shape.prefix) if term == NEVER), None)
    if impossible is None and shape.items == NEVER:
        impossible = len(shape.prefix)
    if impossible is not None:
        high = impossible if high is None else min(high, impossible)
    if high is not None and shape.min_items > high:
        return None
    prefix = shape.prefix[:high]
    items = NEVER if high is not None and high <= len(prefix) else shape.items
    while prefix and prefix[-1] == items:
        prefix = prefix[:-1]
    if high == len(prefix):  # ``items`` is NEVER: the same bound
        high = None
    unique = shape.unique and (high is None or high > 1) and not (items == NEVER and len(prefix) <= 1)
    return replace(shape, prefix=prefix, items=items, max_items=high, unique=unique)


def _object(shape: Object) -> Object | None:
    terms = dict(shape.properties)
    low, high = shape.min_properties, shape.max_properties
    if any(terms[name] == NEVER for name in shape.required):
        return None
    if high is not None and max(low, len(shape.required)) > high:
        return None
    if high == len(shape.required):
        required = set(shape.required)
        shape = replace(
            shape,
            properties=tuple((name, term) for name, term in shape.properties if name in required),
            patterns=(),
            additional=NEVER,
        )
        terms, high = dict(shape.properties), None
    if shape.is_closed:
        most = sum(term != NEVER for term in terms.values())
        if low > most:
            return None
        high = None if high is not None and high >= most else high
        if low == most:
            shape = replace(shape, required=shape.required + shape.optional)
    return replace(shape, min_properties=low if low > len(shape.required) else 0, max_properties=high)
