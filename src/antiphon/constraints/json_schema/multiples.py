"""Limits on ``multipleOf``: llguidance follows a multiple with an automaton that has as many states.

The multiple counts without its decimal point: 25 for 0.25. Bounds on the number multiply the states of a step.
Alternative multiples in one place count as their least common multiple. If there are few multiples between the bounds,
they are listed instead.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Final

from antiphon.constraints.json_schema.schema_errors import UnenforceableError
from antiphon.constraints.json_schema.shapes import Number, Shape

MAX_MULTIPLE: Final = 10_000
"""Greatest ``multipleOf`` of integers without bounds that a decode step can follow within its limit of work."""
MAX_BOUNDED_MULTIPLE: Final = 250
"""Greatest ``multipleOf`` of integers with bounds and of numbers that are not integers."""
MAX_LISTED_MULTIPLES: Final = 2000
"""Multiples between bounds that are listed if ``multipleOf`` is greater than :data:`MAX_BOUNDED_MULTIPLE`."""
_LONGEST_SPELLED: Final = 10**15
_THOUSAND: Final = 1000
"""The last three digits decide divisibility by its divisors, so bounds add no states."""


def listed_multiples(shape: Number) -> list[Number]:
    """Return the multiples between the bounds if they are few and the automaton is too large; else the shape."""
    step, lower, upper = shape.multiple_of, shape.lower, shape.upper
    if not shape.integer or step is None or lower is None or upper is None or _is_small(int(step)):
        return [shape]
    first, last = ceil(lower[0] / step), floor(upper[0] / step)
    if last - first >= MAX_LISTED_MULTIPLES:
        return [shape]
    points = [(step * count, False) for count in range(first, last + 1)]
    return [Number(integer=True, lower=point, upper=point) for point in points]


def check_multiples(shapes: Iterable[Shape]) -> None:
    """Raise :class:`SchemaRefusedError` if the alternatives of one place need too large an automaton."""
    numbers = [shape for shape in shapes if isinstance(shape, Number) and shape.multiple_of is not None]
    found = {_without_point(shape.multiple_of) for shape in numbers if shape.multiple_of is not None}
    if not found:
        return
    together, bounded = lcm(*found), not all(map(_bounds_only_sign, numbers))
    limit = MAX_BOUNDED_MULTIPLE if bounded else MAX_MULTIPLE // len(found)
    if together <= limit or (len(found) == 1 and _is_small(together)):
        return
    beside = " beside bounds or decimals" if bounded else ""
    if len(found) > 1:
        beside += f" for {len(found)} alternatives together"
    largest = max(shape.multiple_of for shape in numbers if shape.multiple_of is not None)
    raise UnenforceableError(f"'multipleOf' {_spell(largest)} exceeds the limit of {limit}{beside}")


def _is_small(multiple: int) -> bool:
    return multiple <= MAX_BOUNDED_MULTIPLE or _THOUSAND % multiple == 0


def _bounds_only_sign(shape: Number) -> bool:
    """Return whether the bounds admit all integers, or all integers of one sign."""
    step = shape.multiple_of or Fraction(1)
    near = all(bound is None or abs(bound[0]) <= step for bound in (shape.lower, shape.upper))
    return shape.integer and near and (shape.lower is None or shape.upper is None)


def _without_point(step: Fraction) -> int:
    """Return a decimal number without its point: 25 for 0.25."""
    while step.denominator > 1:
        step *= 10
    return step.numerator


def _spell(step: Fraction) -> str:
    if step.numerator >= _LONGEST_SPELLED:
        return "of many digits"
    return str(step.numerator if step.denominator == 1 else float(step))
