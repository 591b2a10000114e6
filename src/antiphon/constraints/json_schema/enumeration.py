"""The values of shapes that have few, as keys: sets of them are intersected and subtracted without comparing pairs."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from antiphon.constraints.json_schema.normalise import normalise
from antiphon.constraints.json_schema.numbers import exact
from antiphon.constraints.json_schema.shapes import Array, Boolean, Null, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import NEVER, Constant

Keys = tuple[Hashable, ...]


def value_keys(shape: Shape) -> Keys | None:
    """Give a key for each value of a shape in its simplest form; None when its values are not listed.

    Equal values have equal keys.
    """
    match shape:
        case Null():
            return (None,)
        case Boolean(values):
            return tuple(map(_key, values))
        case Number():
            return None if shape.point is None else (shape.point,)
        case String(values=values):
            return values
        case Array():
            return _key_of_array(shape)
        case Object():
            return _key_of_object(shape)


def exclude_keys(shape: Shape, keys: frozenset[Hashable]) -> Shape | None:
    """Give the listed values of a shape that are not among ``keys``, or None."""
    match shape:
        case Boolean(values):
            kept = frozenset(value for value in values if _key(value) not in keys)
            return Boolean(kept) if kept else None
        case String(values=values) if values is not None:
            texts = tuple(text for text in values if text not in keys)
            return replace(shape, values=texts) if texts else None
    return shape if keys.isdisjoint(value_keys(shape) or ()) else None


def exclude_points(shape: Number, points: Sequence[Fraction]) -> list[Number]:
    """Cut an interval at ``points``, ascending."""
    first = 0 if shape.lower is None else bisect_left(points, shape.lower[0])
    last = len(points) if shape.upper is None else bisect_right(points, shape.upper[0])
    cuts = [(point, True) for point in points[first:last] if _admits(shape, point)]
    if not cuts:
        return [shape]
    bounds = zip([shape.lower, *cuts], [*cuts, shape.upper], strict=True)
    pieces = (normalise(replace(shape, lower=lower, upper=upper)) for lower, upper in bounds)
    return [piece for piece in pieces if piece is not None]


def _admits(shape: Number, point: Fraction) -> bool:
    """Whether a number between the bounds, or on one, is a value of the shape."""
    step = shape.multiple_of or (Fraction(1) if shape.integer else None)
    return step is None or point % step == 0


def exclude_texts(shape: String, texts: Iterable[str]) -> String | None:
    """Exclude texts from a shape that lists none."""
    return normalise(replace(shape, excluded=shape.excluded.union(texts)))


def _key_of_array(shape: Array) -> Keys | None:
    if shape.items != NEVER or shape.min_items != len(shape.prefix) or shape.contains or shape.unique:
        return None
    texts = [term.text for term in shape.prefix if isinstance(term, Constant)]
    if len(texts) < len(shape.prefix):
        return None
    return (("array", *(_key(json.loads(text)) for text in texts)),)


def _key_of_object(shape: Object) -> Keys | None:
    if shape.additional != NEVER or shape.patterns or len(shape.required) < len(shape.properties):
        return None
    texts = {name: term.text for name, term in shape.properties if isinstance(term, Constant)}
    if len(texts) < len(shape.properties):
        return None
    return (("object", frozenset((name, _key(json.loads(text))) for name, text in texts.items())),)


def _key(value: Any) -> Hashable:  # noqa: ANN401 (JSON)
    """Give equal keys to equal values: 1 and 1.0, but not 1 and true."""
    match value:
        case bool():
            return ("boolean", value)
        case int() | float():
            return exact(value)
        case list():
            return ("array", *map(_key, value))
        case dict():
            return ("object", frozenset((name, _key(member)) for name, member in value.items()))
        case _:
            result: Hashable = value
            return result
