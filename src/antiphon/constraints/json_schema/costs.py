"""Gives the cost of looking at shapes, in comparisons of small ones; see :class:`Budget`."""

from typing import Final

from antiphon.constraints.json_schema.schema_errors import COMPARISONS, COMPILED_PATTERN
from antiphon.constraints.json_schema.shapes import Array, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import Conjunction, Constant, Negation, Term

TERMS: Final = 2
"""Terms that cost as much as one comparison."""
_JOINED: Final = 8
"""Terms of a conjunction that cost as much as a term on its own."""
_CHARACTERS: Final = 64
"""Characters of a constant that cost as much as a term."""
_BITS: Final = 256
"""Bits of a multiple that cost as much as one comparison."""
_MATCHED: Final = 16
"""Characters that a pattern is matched with for the cost of one comparison."""


def size(shape: Shape) -> int:
    """Give what it costs to look at all of a shape once."""
    match shape:
        case Object():
            named = sum(_weight(term) for _, term in shape.properties)
            return 1 + (named + len(shape.required) + sum(_weight(term) for _, term in shape.patterns)) // TERMS
        case Array():
            return 1 + (sum(map(_weight, shape.prefix)) + len(shape.contains) + _weight(shape.items)) // TERMS
        case String():
            return 1 + (len(shape.values or ()) + len(shape.excluded) + len(shape.patterns)) // TERMS
        case Number(multiple_of=step) if step is not None:
            return 1 + (step.numerator.bit_length() + step.denominator.bit_length()) // _BITS
    return 1


def intersection(left: Shape, right: Shape) -> int:
    """Give what it costs to intersect two shapes of one type."""
    cost = size(left) + size(right)
    match left, right:
        case String(), String():
            return cost + _patterns_of_strings(left, right)
        case Object(), Object():
            return cost + _patterns_of_objects(left, right)
    return cost


def matching(patterns: int, texts: int, characters: int) -> int:
    """Give what it costs to match so many texts of so many characters together with each of the patterns."""
    return patterns * (texts * COMPARISONS + characters // _MATCHED)


def _patterns_of_strings(left: String, right: String) -> int:
    """The patterns of both are tried on values, or compiled together unless one shape is any text."""
    patterns = len(left.patterns) + len(right.patterns)
    if patterns == 0 or String() in {left, right}:
        return 0
    values = left.values or right.values
    if values:
        return matching(patterns, len(values), sum(map(len, values)))
    return COMPILED_PATTERN * COMPARISONS * patterns


def _patterns_of_objects(left: Object, right: Object) -> int:
    pairs = len(left.patterns) * len(right.patterns) * COMPILED_PATTERN * COMPARISONS
    return pairs + sum(
        matching(len(shape.patterns), len(other.properties), sum(len(name) for name, _ in other.properties))
        for shape, other in ((left, right), (right, left))
        if shape.patterns
    )


def _weight(term: Term) -> int:
    match term:
        case Conjunction(terms):
            return 1 + len(terms) // _JOINED
        case Constant(text):
            return 1 + len(text) // _CHARACTERS
        case Negation(inner):
            return _weight(inner)
    return 1
