"""The cost of work on shapes, in comparisons of small shapes; see :class:`Budget`."""

from typing import Final

from antiphon.constraints.json_schema.schema_errors import COMPARISONS, COMPILED_PATTERN
from antiphon.constraints.json_schema.shapes import Array, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import Conjunction, Constant, Negation, Term

TERMS_PER_COMPARISON: Final = 2
"""Terms that cost as much as one comparison."""
_JOINED_PER_TERM: Final = 8
"""Terms of a conjunction that cost as much as a separate term."""
_CHARACTERS_PER_TERM: Final = 64
"""Characters of a constant that cost as much as a term."""
_BITS_PER_COMPARISON: Final = 256
"""Bits of a multiple that cost as much as one comparison."""
_CHARACTERS_PER_COMPARISON: Final = 16
"""Characters of matched text that cost as much as one comparison."""


def size(shape: Shape) -> int:
    """Return the cost of reading a whole shape once."""
    match shape:
        case Object():
            terms = sum(_weight(term) for _, term in (*shape.properties, *shape.patterns))
            return 1 + (terms + len(shape.required)) // TERMS_PER_COMPARISON
        case Array():
            terms = sum(_weight(term) for term in (*shape.prefix, shape.items))
            return 1 + (terms + len(shape.contains)) // TERMS_PER_COMPARISON
        case String():
            return 1 + (len(shape.values or ()) + len(shape.excluded) + len(shape.patterns)) // TERMS_PER_COMPARISON
        case Number(multiple_of=step) if step is not None:
            return 1 + (step.numerator.bit_length() + step.denominator.bit_length()) // _BITS_PER_COMPARISON
    return 1


def intersection(left: Shape, right: Shape) -> int:
    """Return the cost of intersecting two shapes of one type."""
    cost = size(left) + size(right)
    match left, right:
        case String(), String():
            return cost + _string_patterns(left, right)
        case Object(), Object():
            return cost + _object_patterns(left, right)
    return cost


def matching(patterns: int, texts: int, characters: int) -> int:
    """Return the cost of matching ``texts`` texts of ``characters`` characters in total with each pattern."""
    return patterns * (texts * COMPARISONS + characters // _CHARACTERS_PER_COMPARISON)


def _string_patterns(left: String, right: String) -> int:
    """Return the cost of matching the patterns of both with the values, or of compiling the patterns together."""
    patterns = len(left.patterns) + len(right.patterns)
    if patterns == 0 or String() in {left, right}:
        return 0
    values = left.values or right.values
    if values:
        return matching(patterns, len(values), sum(map(len, values)))
    return COMPILED_PATTERN * COMPARISONS * patterns


def _object_patterns(left: Object, right: Object) -> int:
    pairs = len(left.patterns) * len(right.patterns) * COMPILED_PATTERN * COMPARISONS
    return pairs + sum(
        matching(len(shape.patterns), len(other.properties), sum(len(name) for name, _ in other.properties))
        for shape, other in ((left, right), (right, left))
        if shape.patterns
    )


def _weight(term: Term) -> int:
    match term:
        case Conjunction(terms):
            return 1 + len(terms) // _JOINED_PER_TERM
        case Constant(text):
            return 1 + len(text) // _CHARACTERS_PER_TERM
        case Negation(inner):
            return _weight(inner)
    return 1
