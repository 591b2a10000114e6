"""Intersection and difference of unions of shapes: what allOf, not, oneOf and if are made of.

Both are exact, or raise :class:`SchemaRefusedError` with the keyword that cannot be intersected or negated.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import product

from msgspec.structs import replace

from antiphon.rendering.json_schema.errors import SchemaRefusedError
from antiphon.rendering.json_schema.matching import is_empty, matches
from antiphon.rendering.json_schema.normal import least_common_multiple, normal
from antiphon.rendering.json_schema.shapes import (
    Array,
    Boolean,
    Contains,
    Evaluated,
    Number,
    Object,
    Shape,
    String,
    Union,
    union,
)
from antiphon.rendering.json_schema.terms import ANY, NEVER, Term, both, inverse

MAX_UNROLLED_ITEMS = 16
"""Items of a bounded array that are told apart when a bound on every item is negated."""


def intersect(left: Union, right: Union) -> Union:
    """The values of both."""
    return union(
        shape
        for one, other in product(left, right)
        if type(one) is type(other) and (shape := meet(one, other)) is not None
    )


def subtract(left: Union, right: Union, possible: Callable[[Shape], bool]) -> Union:
    """The values of ``left`` that are not in ``right``; ``possible`` tells shapes that may have a value."""
    for other in right:
        left = union(piece for shape in left for piece in _difference(shape, other, possible))
    return left


def _difference(shape: Shape, other: Shape, possible: Callable[[Shape], bool]) -> Iterable[Shape]:
    common = meet(shape, other) if type(shape) is type(other) else None
    if common is None or not possible(common):
        return (shape,)
    return filter(possible, _without(shape, other))


def meet(left: Shape, right: Shape) -> Shape | None:
    """The values of two shapes of one type, or None."""
    match left, right:
        case Boolean(), Boolean():
            values = left.values & right.values
            return Boolean(values) if values else None
        case Number(), Number():
            return normal(_meet_numbers(left, right))
        case String(), String():
            return normal(_meet_strings(left, right))
        case Array(), Array():
            return normal(_meet_arrays(left, right))
        case Object(), Object():
            return normal(_meet_objects(left, right))
    return left


def _meet_numbers(left: Number, right: Number) -> Number:
    multiples = [step for step in (left.multiple_of, right.multiple_of) if step is not None]
    return Number(
        integer=left.integer or right.integer,
        lower=max((bound for bound in (left.lower, right.lower) if bound is not None), default=None),
        upper=min(
            (bound for bound in (left.upper, right.upper) if bound is not None),
            key=lambda bound: (bound[0], not bound[1]),
            default=None,
        ),
        multiple_of=least_common_multiple(*multiples) if len(multiples) > 1 else next(iter(multiples), None),
    )


def _least(left: int | None, right: int | None) -> int | None:
    return min((bound for bound in (left, right) if bound is not None), default=None)


def _meet_strings(left: String, right: String) -> String:
    values = left.values if right.values is None else right.values
    if left.values is not None and right.values is not None:
        shared = set(right.values)
        values = tuple(text for text in left.values if text in shared)
    return String(
        values=values,
        excluded=left.excluded | right.excluded,
        patterns=tuple(dict.fromkeys(left.patterns + right.patterns)),
        min_length=max(left.min_length, right.min_length),
        max_length=_least(left.max_length, right.max_length),
    )


def _meet_arrays(left: Array, right: Array) -> Array:
    length = max(len(left.prefix), len(right.prefix))
    return Array(
        prefix=tuple(both(left.item(index), right.item(index)) for index in range(length)),
        items=both(left.items, right.items),
        min_items=max(left.min_items, right.min_items),
        max_items=_least(left.max_items, right.max_items),
        contains=tuple(dict.fromkeys(left.contains + right.contains)),
        unique=left.unique or right.unique,
    )


def _meet_objects(left: Object, right: Object) -> Object:
    names = dict.fromkeys(name for shape in (left, right) for name, _ in shape.properties)
    known, other = dict(left.properties), dict(right.properties)
    return Object(
        properties=tuple(
            (
                name,
                both(
                    known[name] if name in known else left.member(name),
                    other[name] if name in other else right.member(name),
                ),
            )
            for name in names
        ),
        patterns=tuple(_meet_patterns(left, right)),
        additional=both(left.additional, right.additional),
        required=tuple(dict.fromkeys(left.required + right.required)),
        min_properties=max(left.min_properties, right.min_properties),
        max_properties=_least(left.max_properties, right.max_properties),
        evaluated=join_evaluated(left.evaluated, right.evaluated),
    )


def _meet_patterns(left: Object, right: Object) -> Iterator[tuple[str, Term]]:
    mine, theirs = dict(left.patterns), dict(right.patterns)
    for pattern in dict.fromkeys((*mine, *theirs)):
        if pattern in mine and pattern in theirs:
            yield pattern, both(mine[pattern], theirs[pattern])
            continue
        term, others, additional = (
            (mine[pattern], theirs, right.additional) if pattern in mine else (theirs[pattern], mine, left.additional)
        )
        if any(foreign != additional and not is_empty((other, pattern)) for other, foreign in others.items()):
            raise SchemaRefusedError("'patternProperties' with overlapping patterns is not supported")
        yield pattern, both(term, additional)


def join_evaluated(left: Evaluated, right: Evaluated) -> Evaluated:
    """What either has looked at."""
    return Evaluated(left.names | right.names, left.patterns | right.patterns, left.everything or right.everything)


def _without(shape: Shape, other: Shape) -> Iterable[Shape]:
    """The values of ``shape`` that break a bound of ``other``, one bound after the other."""
    match shape, other:
        case Boolean(), Boolean():
            values = shape.values - other.values
            return (Boolean(values),) if values else ()
        case Number(), Number():
            pieces = _without_number(shape, other)
        case String(), String():
            pieces = _without_string(shape, other)
        case Array(), Array():
            pieces = _without_array(shape, other)
        case Object(), Object():
            pieces = _without_object(shape, other)
        case _:
            return ()
    return [piece for piece in pieces if piece is not None]


def _without_number(shape: Number, other: Number) -> Iterator[Shape | None]:
    if other.lower is not None:
        yield meet(shape, Number(upper=(other.lower[0], not other.lower[1])))
    if other.upper is not None:
        yield meet(shape, Number(lower=(other.upper[0], not other.upper[1])))
    if other.point is not None:
        return
    step, finer = _step(other), _step(shape)
    if step is None or (finer is not None and finer % step == 0):
        return
    if shape.point is None:
        raise SchemaRefusedError(f"'{'type' if step == 1 else 'multipleOf'}' cannot be negated")
    if shape.point % step:
        yield shape


def _step(shape: Number) -> Fraction | None:
    return shape.multiple_of or (Fraction(1) if shape.integer else None)


def _without_string(shape: String, other: String) -> Iterator[Shape | None]:
    if other.values is not None:
        yield normal(replace(shape, excluded=shape.excluded | set(other.values)))
        return
    if other.excluded:
        yield meet(shape, String(values=tuple(sorted(other.excluded))))
    if other.min_length:
        yield meet(shape, String(max_length=other.min_length - 1))
    if other.max_length is not None:
        yield meet(shape, String(min_length=other.max_length + 1))
    for pattern in other.patterns:
        if pattern in shape.patterns:
            continue
        if shape.values is None:
            raise SchemaRefusedError("'pattern' and 'format' cannot be negated")
        yield meet(shape, String(values=tuple(text for text in shape.values if not matches(pattern, text))))


def _without_array(shape: Array, other: Array) -> Iterator[Shape | None]:
    if other.unique and shape.unique is False:
        raise SchemaRefusedError("'uniqueItems' cannot be negated")
    if other.min_items:
        yield meet(shape, Array(max_items=other.min_items - 1))
    if other.max_items is not None:
        yield meet(shape, Array(min_items=other.max_items + 1))
    for index, term in enumerate(other.prefix):
        yield _with_item(shape, index, inverse(term))
    if other.items != ANY:
        yield from _with_an_item_from(shape, len(other.prefix), inverse(other.items))
    for contains in other.contains:
        if contains.low > 1 or contains.high is not None:
            raise SchemaRefusedError("'contains' with a count cannot be negated")
        yield meet(shape, Array(items=inverse(contains.term)))


def _with_item(shape: Array, index: int, term: Term) -> Shape | None:
    return meet(shape, Array(prefix=(*[ANY] * index, term), min_items=index + 1))


def _with_an_item_from(shape: Array, start: int, term: Term) -> Iterator[Shape | None]:
    """Arrays in which an item at ``start`` or later satisfies ``term``."""
    if term == ANY:
        yield meet(shape, Array(min_items=start + 1))
        return
    longest = len(shape.prefix) if shape.items == NEVER else shape.max_items
    if longest is not None and longest - start <= MAX_UNROLLED_ITEMS:
        for index in range(start, longest):
            yield _with_item(shape, index, term)
    elif start == 0:
        yield meet(shape, Array(contains=(Contains(term),)))
    else:
        raise SchemaRefusedError("'items' after 'prefixItems' cannot be negated")


def _without_object(shape: Object, other: Object) -> Iterator[Shape | None]:
    for name in other.required:
        if name not in shape.required:
            yield meet(shape, Object(properties=((name, NEVER),)))
    for name, term in other.properties:
        if term != ANY:
            yield _with_property(shape, name, inverse(term))
    if other.min_properties:
        yield meet(shape, Object(max_properties=other.min_properties - 1))
    if other.max_properties is not None:
        yield meet(shape, Object(min_properties=other.max_properties + 1))
    if other.patterns or other.additional != ANY:
        yield from _with_another_property(shape, other)


def _with_property(shape: Object, name: str, term: Term) -> Shape | None:
    return meet(shape, Object(properties=((name, term),), required=(name,)))


def _with_another_property(shape: Object, other: Object) -> Iterator[Shape | None]:
    """Objects in which a property that ``other`` does not name is not as its patterns or ``additional`` demand."""
    if not shape.closed and not (shape.additional == other.additional and shape.patterns == other.patterns):
        keyword = "patternProperties" if other.patterns else "additionalProperties"
        raise SchemaRefusedError(f"'{keyword}' cannot be negated")
    known = {name for name, _ in other.properties}
    for name, _ in shape.properties:
        if name not in known:
            yield _with_property(shape, name, inverse(other.member(name)))
