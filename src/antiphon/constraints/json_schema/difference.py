"""The difference of two shapes of one type, as alternatives."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from msgspec.structs import replace

from antiphon.constraints.json_schema.intersection import intersect_shapes
from antiphon.constraints.json_schema.normalise import normalise
from antiphon.constraints.json_schema.pattern_queries import matches
from antiphon.constraints.json_schema.schema_errors import UnenforceableError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Contains, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Term, negation

MAX_UNROLLED_ITEMS: Final = 16
"""Items of a bounded array that become alternatives when a bound on every item is negated."""


def subtract_shape(shape: Shape, other: Shape) -> Iterator[Shape | None]:
    """Yield, for each bound of ``other``, the values of ``shape`` that violate it, or None if there are none.

    Raises :class:`SchemaRefusedError` with the keyword that cannot be negated.
    """
    match shape, other:
        case Boolean(), Boolean():
            values = shape.values - other.values
            yield Boolean(values) if values else None
        case Number(), Number():
            yield from _subtract_number(shape, other)
        case String(), String():
            yield from _subtract_string(shape, other)
        case Array(), Array():
            yield from _subtract_array(shape, other)
        case Object(), Object():
            yield from _subtract_object(shape, other)


def _subtract_number(shape: Number, other: Number) -> Iterator[Shape | None]:
    if other.lower is not None:
        yield intersect_shapes(shape, Number(upper=(other.lower[0], not other.lower[1])))
    if other.upper is not None:
        yield intersect_shapes(shape, Number(lower=(other.upper[0], not other.upper[1])))
    if other.point is not None:
        return
    step, finer = _step(other), _step(shape)
    if step is None or (finer is not None and finer % step == 0):
        return
    if shape.point is None:
        raise UnenforceableError(f"'{'type' if step == 1 else 'multipleOf'}' cannot be negated")
    if shape.point % step:
        yield shape


def _step(shape: Number) -> Fraction | None:
    return shape.multiple_of or (Fraction(1) if shape.integer else None)


def _subtract_string(shape: String, other: String) -> Iterator[Shape | None]:
    if other.values is not None:
        yield normalise(replace(shape, excluded=shape.excluded | set(other.values)))
        return
    if other.excluded:
        yield intersect_shapes(shape, String(values=tuple(sorted(other.excluded))))
    if other.min_length:
        yield intersect_shapes(shape, String(max_length=other.min_length - 1))
    if other.max_length is not None:
        yield intersect_shapes(shape, String(min_length=other.max_length + 1))
    for pattern in other.patterns:
        if pattern in shape.patterns:
            continue
        if shape.values is None:
            raise UnenforceableError("'pattern' and 'format' cannot be negated")
        yield intersect_shapes(shape, String(values=tuple(text for text in shape.values if not matches(pattern, text))))


def _subtract_array(shape: Array, other: Array) -> Iterator[Shape | None]:
    if other.unique and shape.unique is False:
        raise UnenforceableError("'uniqueItems' cannot be negated")
    if other.min_items:
        yield intersect_shapes(shape, Array(max_items=other.min_items - 1))
    if other.max_items is not None:
        yield intersect_shapes(shape, Array(min_items=other.max_items + 1))
    for index, term in enumerate(other.prefix):
        yield _with_item(shape, index, negation(term))
    if other.items != ANY:
        yield from _with_an_item_from(shape, len(other.prefix), negation(other.items))
    for contains in other.contains:
        if contains.low > 1 or contains.high is not None:
            raise UnenforceableError("'contains' with a count cannot be negated")
        yield intersect_shapes(shape, Array(items=negation(contains.term)))


def _with_item(shape: Array, index: int, term: Term) -> Shape | None:
    return intersect_shapes(shape, Array(prefix=(*[ANY] * index, term), min_items=index + 1))


def _with_an_item_from(shape: Array, start: int, term: Term) -> Iterator[Shape | None]:
    """Yield the arrays in which an item at ``start`` or later satisfies ``term``."""
    if term == ANY:
        yield intersect_shapes(shape, Array(min_items=start + 1))
        return
    longest = len(shape.prefix) if shape.items == NEVER else shape.max_items
    if longest is not None and longest - start <= MAX_UNROLLED_ITEMS:
        for index in range(start, longest):
            yield _with_item(shape, index, term)
    elif start == 0:
        yield intersect_shapes(shape, Array(contains=(Contains(term),)))
    else:
        raise UnenforceableError("'items' after 'prefixItems' cannot be negated")


def _subtract_object(shape: Object, other: Object) -> Iterator[Shape | None]:
    required = set(shape.required)
    for name in other.required:
        if name not in required:
            yield intersect_shapes(shape, Object(properties=((name, NEVER),)))
    for name, term in other.properties:
        if term != ANY:
            yield _with_property(shape, name, negation(term))
    if other.min_properties:
        yield intersect_shapes(shape, Object(max_properties=other.min_properties - 1))
    if other.max_properties is not None:
        yield intersect_shapes(shape, Object(min_properties=other.max_properties + 1))
    if other.patterns or other.additional != ANY:
        yield from _with_another_property(shape, other)


def _with_property(shape: Object, name: str, term: Term) -> Shape | None:
    return intersect_shapes(shape, Object(properties=((name, term),), required=(name,)))


def _with_another_property(shape: Object, other: Object) -> Iterator[Shape | None]:
    """Yield the objects with a property that ``other`` does not name and whose value ``other`` refuses."""
    if not shape.is_closed and not (shape.additional == other.additional and shape.patterns == other.patterns):
        keyword = "patternProperties" if other.patterns else "additionalProperties"
        raise UnenforceableError(f"'{keyword}' cannot be negated")
    known = {name for name, _ in other.properties}
    for name, _ in shape.properties:
        if name not in known:
            yield _with_property(shape, name, negation(other.member(name)))
