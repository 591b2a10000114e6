"""Lowers bounds that llguidance does not follow, or follows for some schemas only, to alternatives that it follows.

- ``contains`` becomes bounds on length, or an alternative for each position of the item.
- ``uniqueItems`` becomes the permutations of few values, or, if they are too many, the combinations in the schema's
  order.
- ``minProperties`` and ``maxProperties`` become alternatives with different properties.
- An object whose schema lists properties and says nothing about others gets no others, unless ``minProperties`` needs
  them. Models invent properties otherwise.

A bound that needs too many alternatives is refused.
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
from antiphon.constraints.json_schema.schema_errors import UnenforceableError
from antiphon.constraints.json_schema.shapes import (
    Array,
    Boolean,
    Contains,
    Null,
    Number,
    Object,
    Others,
    Shape,
    String,
)
from antiphon.constraints.json_schema.terms import NEVER, Constant, Term, conjunction, negation

MAX_ALTERNATIVES: Final = 1000
MAX_POSITIONS: Final = 32
"""Positions at which the item of ``contains`` may be."""


def lower_shape(shape: Shape, expander: Expander) -> list[Shape]:
    """Return the shapes to write: without ``contains`` and ``unique``, and with counts that llguidance follows."""
    match shape:
        case Array():
            keyword = "uniqueItems" if shape.unique else "contains" if shape.contains else ""
            return _charged(_lower_array(shape, expander), expander, keyword)
        case Object():
            shape = _closed(shape)
            counted = "minProperties" if shape.min_properties else "maxProperties"
            keyword = counted if shape.min_properties or shape.max_properties is not None else ""
            return _charged(_lower_property_counts(shape), expander, keyword)
        case Number():
            return _charged(listed_multiples(shape), expander, "multipleOf")
    return [shape]


def without_bound(shape: Shape, keyword: str) -> Shape | None:
    """Return the shape without the bound that ``keyword`` names; the whole type if it names none of them."""
    match shape:
        case Array() if keyword == "uniqueItems":
            return replace(shape, unique=False)
        case Array() if keyword == "contains":
            least = max(contains.low for contains in shape.contains)
            return normalise(replace(shape, contains=(), min_items=max(shape.min_items, least)))
        case Object() if keyword in {"minProperties", "maxProperties"} and _is_counted(shape):
            return normalise(replace(shape, min_properties=0, max_properties=None))
        case Number() if keyword == "multipleOf":
            return normalise(replace(shape, multiple_of=None))
        case Object():
            return Object()
    return shape


def _is_counted(shape: Object) -> bool:
    return shape.min_properties > 0 or shape.max_properties is not None


def _closed(shape: Object) -> Object:
    """Return the object without the properties about which its schema says nothing."""
    if shape.others is not Others.UNSPECIFIED:
        return shape
    return normalise(replace(shape, additional=NEVER)) or shape


def _charged(alternatives: Iterable[Shape | None], expander: Expander, keyword: str) -> list[Shape]:
    """Return the alternatives that a keyword makes; each costs budget before the next one is made."""
    lowered: list[Shape] = []
    for shape in alternatives:
        expander.budget.spend(1 if shape is None else costs.size(shape), keyword)
        lowered += [] if shape is None else [shape]
    return lowered


def _lower_array(shape: Array, expander: Expander) -> Iterator[Array]:
    for array in _lower_contains(shape, expander):
        if array.unique:
            yield from _lower_unique_items(array, expander)
        else:
            yield array


def _lower_contains(shape: Array, expander: Expander) -> list[Array]:
    lowered = [replace(shape, contains=())]
    for contains in shape.contains:
        lowered = [kept for array in lowered for kept in _lower_one_contains(array, contains, expander)]
        if len(lowered) > MAX_ALTERNATIVES:
            raise UnenforceableError(f"'contains' with more than {MAX_ALTERNATIVES} arrangements is not supported")
    return lowered


def _lower_one_contains(shape: Array, contains: Contains, expander: Expander) -> list[Array]:
    term, low, high = contains.term, contains.low, contains.high
    expander.budget.spend(costs.size(shape), "contains")
    kinds = [*shape.prefix, shape.items]
    if all(not expander.is_satisfiable(conjunction(kind, negation(term))) for kind in kinds):
        limits = [bound for bound in (shape.max_items, high) if bound is not None]
        bounded = replace(shape, min_items=max(low, shape.min_items), max_items=min(limits, default=None))
        return [array for array in [normalise(bounded)] if array is not None]
    if all(not expander.is_satisfiable(conjunction(kind, term)) for kind in kinds):
        return [shape] if low == 0 else []
    longest = len(shape.prefix) if shape.items == NEVER else shape.max_items
    if longest is None or longest > MAX_POSITIONS:
        raise UnenforceableError("'contains' is not supported, unless 'maxItems' leaves few positions")
    arrays = _with_items(shape, term, low, longest) if high is None else _with_counted(shape, contains, longest)
    return [array for array in map(normalise, arrays) if array is not None]


def _with_items(shape: Array, term: Term, low: int, longest: int) -> Iterator[Array]:
    """Yield the arrays with ``low`` items of a term, for each choice of their positions; more may follow."""
    _check_arrangements(comb(longest, low))
    for chosen in combinations(range(longest), low):
        items = [shape.item(index) for index in range(max(chosen[-1] + 1, len(shape.prefix)))]
        for index in chosen:
            items[index] = conjunction(items[index], term)
        yield replace(shape, prefix=tuple(items), min_items=max(shape.min_items, chosen[-1] + 1))


def _with_counted(shape: Array, contains: Contains, longest: int) -> Iterator[Array]:
    """Yield the arrays of each length, and for each count of items the choices of their positions."""
    high = longest if contains.high is None else contains.high
    sizes = [
        (length, count)
        for length in range(shape.min_items, longest + 1)
        for count in range(contains.low, min(high, length) + 1)
    ]
    _check_arrangements(sum(comb(length, count) for length, count in sizes))
    other = negation(contains.term)
    for length, count in sizes:
        for chosen in map(frozenset, combinations(range(length), count)):
            kinds = (contains.term if index in chosen else other for index in range(length))
            items = tuple(conjunction(shape.item(index), kind) for index, kind in enumerate(kinds))
            yield replace(shape, prefix=items, items=NEVER, min_items=length)


def _check_arrangements(count: int) -> None:
    if count > MAX_ALTERNATIVES:
        raise UnenforceableError(f"'contains' with more than {MAX_ALTERNATIVES} arrangements is not supported")


def _lower_unique_items(shape: Array, expander: Expander) -> Iterator[Array]:
    """Yield an array for each permutation of the values, or for each combination if permutations are too many."""
    values = _possible_values([*shape.prefix, shape.items], expander)
    longest = len(shape.prefix) if shape.items == NEVER else shape.max_items
    if values is None:
        raise UnenforceableError("'uniqueItems' is not supported, unless the items have few possible values")
    longest = len(values) if longest is None else min(len(values), longest)
    lengths = range(shape.min_items, longest + 1)
    arrange: Callable[[list[str], int], Iterable[tuple[str, ...]]] = permutations
    if sum(perm(len(values), length) for length in lengths) > MAX_ALTERNATIVES:
        arrange = combinations
    if sum(comb(len(values), length) for length in lengths) > MAX_ALTERNATIVES:
        raise UnenforceableError(f"'uniqueItems' with more than {MAX_ALTERNATIVES} sets of values is not supported")
    for length in lengths:
        for chosen in arrange(values, length):
            prefix = tuple(conjunction(Constant(text), shape.item(index)) for index, text in enumerate(chosen))
            if not shape.prefix:
                prefix = tuple(map(Constant, chosen))
            yield Array(prefix=prefix, items=NEVER, min_items=length)


def _possible_values(terms: Iterable[Term], expander: Expander) -> list[str] | None:
    """Return the JSON texts of all values of the terms, or None for more than :data:`MAX_ALTERNATIVES`."""
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


def _lower_property_counts(shape: Object) -> Iterator[Object | None]:
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
    """Yield an object for each choice of the first ``missing`` optional properties, or of fewer and unnamed ones."""
    optional = shape.optional
    _check_alternatives(sum(comb(len(optional), size) for size in range(missing + 1)))
    for chosen in combinations(range(len(optional)), missing):
        left_out = [optional[index] for index in range(chosen[-1]) if index not in chosen]
        yield _with_properties(shape, [optional[index] for index in chosen], left_out, shape.additional, 0)
    if shape.is_closed:
        return
    for size in range(missing):
        for names in combinations(optional, size):
            left_out = [name for name in optional if name not in names]
            yield _with_properties(shape, names, left_out, shape.additional, shape.min_properties)


def _with_at_most(shape: Object, allowed: int) -> Iterator[Object | None]:
    optional = shape.optional
    _check_alternatives(comb(len(optional), allowed))
    for names in combinations(optional, allowed):
        left_out = [name for name in optional if name not in names]
        yield replace(_without_properties(shape, left_out), max_properties=None, min_properties=0)


def _with_exactly(shape: Object) -> Iterator[Object | None]:
    optional = shape.optional
    _check_alternatives(2 ** len(optional))
    for size in range(len(optional) + 1):
        for names in combinations(optional, size):
            left_out = [name for name in optional if name not in names]
            yield _with_properties(shape, names, left_out, shape.additional, shape.min_properties)


def _check_alternatives(alternatives: int) -> None:
    if alternatives > MAX_ALTERNATIVES:
        raise UnenforceableError("'minProperties' or 'maxProperties' over so many optional properties is not supported")


def _with_properties(
    shape: Object, names: Iterable[str], left_out: Iterable[str], additional: Term, low: int
) -> Object | None:
    """Return the objects that have all ``names`` and none of ``left_out``, or None if there are none."""
    required = (*shape.required, *names)
    closed = _without_properties(shape, left_out)
    lowered = normalise(replace(closed, required=required, additional=additional, min_properties=low))
    if lowered is not None and lowered.min_properties > len(lowered.required) + 1:
        raise UnenforceableError("'minProperties' above the number of required properties is not supported")
    return lowered


def _without_properties(shape: Object, names: Iterable[str]) -> Object:
    excluded = set(names)
    properties = tuple((name, NEVER if name in excluded else term) for name, term in shape.properties)
    return replace(shape, properties=properties)
