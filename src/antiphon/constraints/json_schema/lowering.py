"""Bounds that llguidance does not follow, or follows for some schemas only, written as alternatives that it does.

``contains`` becomes bounds on length or a choice of the place; ``uniqueItems`` the arrangements of few values (of
more than five, those in the schema's order, as with properties);
``minProperties`` and ``maxProperties`` a choice of the properties. What would take too many alternatives is refused.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, permutations
from math import comb, perm
from typing import Any, Final

from msgspec.structs import replace

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.multiples import listed_multiples
from antiphon.constraints.json_schema.normalise import normalise
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Null, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import NEVER, Constant, Term, conjunction, negation

MAX_ALTERNATIVES: Final = 1000
MAX_PLACES: Final = 32
"""Places where the item may be that ``contains`` asks for."""


def lower_shape(shape: Shape, expander: Expander) -> list[Shape]:
    """The same values as shapes without ``contains`` and ``unique``, and with counts that llguidance follows."""
    match shape:
        case Array():
            return _paid(
                (
                    lowered
                    for counted in _count_contained(shape, expander)
                    for lowered in (_arrange(counted, expander) if counted.unique else [counted])
                ),
                expander,
                "uniqueItems" if shape.unique else "contains" if shape.contains else "",
            )
        case Object():
            counted = "minProperties" if shape.min_properties else "maxProperties"
            keyword = counted if shape.min_properties or shape.max_properties is not None else ""
            return _paid(_choose_properties(shape), expander, keyword)
        case Number():
            return _paid(listed_multiples(shape), expander, "multipleOf")
    return [shape]


def _paid(alternatives: Iterable[Shape | None], expander: Expander, keyword: str) -> list[Shape]:
    """Collect the alternatives that a keyword makes, and pay for each before the next one is made."""
    lowered: list[Shape] = []
    for shape in alternatives:
        expander.budget.spend(1 if shape is None else costs.size(shape), keyword)
        lowered += [] if shape is None else [shape]
    return lowered


def _count_contained(shape: Array, expander: Expander) -> list[Array]:
    waiting, lowered = list(shape.contains), [replace(shape, contains=())]
    for contains in waiting:
        lowered = [
            kept
            for array in lowered
            for kept in _one_contained(array, contains.term, contains.low, contains.high, expander)
        ]
        if len(lowered) > MAX_ALTERNATIVES:
            raise SchemaRefusedError(f"'contains' with more than {MAX_ALTERNATIVES} arrangements is not supported")
    return lowered


def _one_contained(shape: Array, term: Term, low: int, high: int | None, expander: Expander) -> list[Array]:
    expander.budget.spend(costs.size(shape), "contains")
    kinds = [*shape.prefix, shape.items]
    if all(not expander.is_satisfiable(conjunction(kind, negation(term))) for kind in kinds):
        limits = [bound for bound in (shape.max_items, high) if bound is not None]
        bounded = replace(shape, min_items=max(low, shape.min_items), max_items=min(limits, default=None))
        return [array for array in [normalise(bounded)] if array is not None]
    if all(not expander.is_satisfiable(conjunction(kind, term)) for kind in kinds):
        return [shape] if low == 0 else []
    longest = len(shape.prefix) if shape.items == NEVER else shape.max_items
    if low != 1 or high is not None or longest is None or longest > MAX_PLACES:
        raise SchemaRefusedError("'contains' is not supported, unless 'maxItems' leaves few places")
    return [array for place in range(longest) if (array := normalise(_placed(shape, term, place))) is not None]


def _placed(shape: Array, term: Term, place: int) -> Array:
    items = [shape.item(index) for index in range(max(place + 1, len(shape.prefix)))]
    items[place] = conjunction(items[place], term)
    return replace(shape, prefix=tuple(items), min_items=max(shape.min_items, place + 1))


def _arrange(shape: Array, expander: Expander) -> Iterator[Array]:
    """Every array of different values, or at least those in the order of the schema, where there are few."""
    values = _values([*shape.prefix, shape.items], expander)
    longest = len(shape.prefix) if shape.items == NEVER else shape.max_items
    if values is None:
        raise SchemaRefusedError("'uniqueItems' is not supported, unless the items have few possible values")
    longest = len(values) if longest is None else min(len(values), longest)
    lengths = range(shape.min_items, longest + 1)
    arrange: Callable[[list[str], int], Iterable[tuple[str, ...]]] = permutations
    if sum(perm(len(values), length) for length in lengths) > MAX_ALTERNATIVES:
        arrange = combinations
    if sum(comb(len(values), length) for length in lengths) > MAX_ALTERNATIVES:
        raise SchemaRefusedError(f"'uniqueItems' with more than {MAX_ALTERNATIVES} sets of values is not supported")
    for length in lengths:
        for chosen in arrange(values, length):
            prefix = tuple(conjunction(Constant(text), shape.item(index)) for index, text in enumerate(chosen))
            if not shape.prefix:
                prefix = tuple(map(Constant, chosen))
            yield Array(prefix=prefix, items=NEVER, min_items=length)


def _values(terms: Iterable[Term], expander: Expander) -> list[str] | None:
    """The JSON texts of all values of the terms, or None when they are more than a few."""
    texts: dict[str, None] = {}
    for shape in (shape for term in terms for shape in expander.expand(term)):
        values = _values_of(shape)
        if values is None or len(texts) + len(values) > MAX_ALTERNATIVES:
            return None
        texts.update((json.dumps(value, ensure_ascii=False), None) for value in values)
    return list(texts)


def _values_of(shape: Shape) -> list[Any] | None:
    match shape:
        case Null():
            return [None]
        case Boolean(values):
            return sorted(values)
        case String(values=values) if values is not None:
            return list(values)
        case Number(integer=True, lower=(lower, _), upper=(upper, _)) if upper - lower <= MAX_ALTERNATIVES:
            return [*range(int(lower), int(upper) + 1, int(shape.multiple_of or 1))]
        case Number() if shape.point is not None:
            return [float(shape.point)]
    return None


def _choose_properties(shape: Object) -> Iterator[Object | None]:
    low, high = shape.min_properties, shape.max_properties
    missing = low - len(shape.required)
    if missing <= 0 and high is None:
        yield shape
    elif high is None:
        yield from _with_at_least(shape, missing)
    elif shape.is_closed and missing <= 0:
        yield from _with_at_most(shape, high - len(shape.required))
    else:
        yield from _with_exactly(shape)


def _with_at_least(shape: Object, missing: int) -> Iterator[Object | None]:
    """Tell apart which optional properties come first, in their order: so many of them, or fewer and unnamed ones."""
    optional = shape.optional
    _bound(sum(comb(len(optional), size) for size in range(missing + 1)))
    for chosen in combinations(range(len(optional)), missing):
        left_out = [optional[index] for index in range(chosen[-1]) if index not in chosen]
        yield _limited(shape, [optional[index] for index in chosen], left_out, shape.additional, 0)
    if shape.is_closed:
        return
    for size in range(missing):
        for names in combinations(optional, size):
            left_out = [name for name in optional if name not in names]
            yield _limited(shape, names, left_out, shape.additional, shape.min_properties)


def _with_at_most(shape: Object, room: int) -> Iterator[Object | None]:
    optional = shape.optional
    _bound(comb(len(optional), room))
    for names in combinations(optional, room):
        left_out = [name for name in optional if name not in names]
        yield replace(_excluding(shape, left_out), max_properties=None, min_properties=0)


def _with_exactly(shape: Object) -> Iterator[Object | None]:
    optional = shape.optional
    _bound(2 ** len(optional))
    for size in range(len(optional) + 1):
        for names in combinations(optional, size):
            left_out = [name for name in optional if name not in names]
            yield _limited(shape, names, left_out, shape.additional, shape.min_properties)


def _bound(alternatives: int) -> None:
    if alternatives > MAX_ALTERNATIVES:
        raise SchemaRefusedError("'minProperties' or 'maxProperties' over so many optional properties is not supported")


def _limited(shape: Object, names: Iterable[str], left_out: Iterable[str], additional: Term, low: int) -> Object | None:
    """The objects that have every one of ``names`` and none of ``left_out``."""
    required = (*shape.required, *names)
    limited = replace(_excluding(shape, left_out), required=required, additional=additional, min_properties=low)
    found = normalise(limited)
    if found is not None and found.min_properties > len(found.required) + 1:
        raise SchemaRefusedError("'minProperties' above the number of required properties is not supported")
    return found


def _excluding(shape: Object, names: Iterable[str]) -> Object:
    gone = set(names)
    kept = tuple((name, NEVER if name in gone else term) for name, term in shape.properties)
    return replace(shape, properties=kept)
