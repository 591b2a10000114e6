"""Keys for the values of shapes that list them; sets of keys are subtracted without a comparison of pairs."""

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
    """Return a key for each value of a normalised shape, or None if the shape does not list its values.

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
    """Return the shape without the values of ``keys``, or None if it has no other value."""
    match shape:
        case Boolean(values):
            kept = frozenset(value for value in values if _key(value) not in keys)
            return Boolean(kept) if kept else None
        case String(values=values) if values is not None:
            texts = tuple(text for text in values if text not in keys)
            return replace(shape, values=texts) if texts else None
    return shape if keys.isdisjoint(value_keys(shape) or ()) else None


def exclude_points(shape: Number, points: Sequence[Fraction]) -> list[Number]:
    """Return the pieces of an interval between ``points``, which ascend."""
    first = 0 if shape.lower is None else bisect_left(points, shape.lower[0])
    last = len(points) if shape.upper is None else bisect_right(points, shape.upper[0])
    cuts = [(point, True) for point in points[first:last] if _admits(shape, point)]
    if not cuts:
        return [shape]
    bounds = zip([shape.lower, *cuts], [*cuts, shape.upper], strict=True)
    pieces = (normalise(replace(shape, lower=lower, upper=upper)) for lower, upper in bounds)
    return [piece for piece in pieces if piece is not None]


def _admits(shape: Number, point: Fraction) -> bool:
    """Return whether a number within the bounds is a multiple that the shape admits."""
    step = shape.multiple_of or (Fraction(1) if shape.integer else None)
    return step is None or point % step == 0


def exclude_texts(shape: String, texts: Iterable[str]) -> String | None:
    """Return a shape that lists no texts without ``texts``, or None if it has no other value."""
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
    """Return the key of a JSON value: equal for 1 and 1.0, different for 1 and true."""
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
