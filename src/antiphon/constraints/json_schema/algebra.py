"""Intersection and difference of unions of shapes, for ``allOf``, ``not``, ``oneOf`` and ``if``.

The results are exact. :class:`SchemaRefusedError` names a keyword that cannot be intersected or negated. Keys find the
shapes that list their values, as ``enum`` and ``const`` do. Other shapes are compared in pairs; each pair costs budget.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.difference import subtract_shape
from antiphon.constraints.json_schema.enumeration import Keys, exclude_keys, exclude_points, exclude_texts, value_keys
from antiphon.constraints.json_schema.intersection import intersect_shapes
from antiphon.constraints.json_schema.schema_errors import Budget
from antiphon.constraints.json_schema.shapes import Number, Shape, String, Union, union

ShapePredicate = Callable[[Shape], bool]
"""True for a shape that may have a value."""


class _Index:
    """The positions of a union's shapes, by type and by the values that they list."""

    def __init__(self, shapes: Union, budget: Budget) -> None:
        self._all: defaultdict[type[Shape], list[int]] = defaultdict(list)
        self._unlisted: defaultdict[type[Shape], list[int]] = defaultdict(list)
        self._listed: defaultdict[Hashable, list[int]] = defaultdict(list)
        for position, shape in enumerate(shapes):
            keys = _keys(shape, budget)
            self._all[type(shape)].append(position)
            if keys is None:
                self._unlisted[type(shape)].append(position)
            for key in keys or ():
                self._listed[key].append(position)

    def candidates(self, shape: Shape, keys: Keys | None) -> list[int]:
        """Return the positions of the shapes that may share a value with ``shape``, in order."""
        if keys is None:
            return self._all[type(shape)]
        equal = {position for key in keys for position in self._listed.get(key, ())}
        return sorted(equal.union(self._unlisted[type(shape)]))


def intersect(left: Union, right: Union, budget: Budget) -> Union:
    """Return the values that both unions have."""
    return union(_intersections(left, right, budget))


def _intersections(left: Union, right: Union, budget: Budget) -> Iterator[Shape]:
    index = _Index(right, budget)
    for shape in left:
        for position in index.candidates(shape, _keys(shape, budget)):
            budget.spend(costs.intersection(shape, right[position]))
            common = intersect_shapes(shape, right[position])
            if common is not None:
                yield common


def subtract(left: Union, right: Union, is_possible: ShapePredicate, budget: Budget) -> Union:
    """Return the values of ``left`` that are not in ``right``, without shapes that have no value."""
    listed: list[Shape] = []
    unlisted: list[Shape] = []
    for shape in right:
        (unlisted if _keys(shape, budget) is None else listed).append(shape)
    left = _subtract_listed(left, listed, is_possible, budget) if listed else left
    for other in unlisted:
        left = union(piece for shape in left for piece in _subtract_one(shape, other, is_possible, budget))
    return left


def exactly_one(narrowed: list[Union], options: list[Union], is_possible: ShapePredicate, budget: Budget) -> Union:
    """Return the values that exactly one option has; ``narrowed`` holds each option within the other keywords."""
    keys = [[_keys(shape, budget) for shape in option] for option in options]
    keys_of_options = [frozenset(chain.from_iterable(found or () for found in of_option)) for of_option in keys]
    counts = Counter(chain.from_iterable(keys_of_options))
    unlisted = {number for number, of_option in enumerate(keys) if None in of_option}
    kept: list[Shape] = []
    for number, shapes in enumerate(narrowed):
        left = tuple(_exclude_repeated(shapes, keys_of_options[number], counts, budget))
        is_listed = all(_keys(shape, budget) is not None for shape in left)
        others = unlisted if is_listed else range(len(options))
        budget.spend(len(others))
        rest = tuple(shape for other in others if other != number for shape in options[other])
        kept += subtract(left, rest, is_possible, budget)
    return union(kept)


def _exclude_repeated(
    shapes: Union, option: frozenset[Hashable], counts: Counter[Hashable], budget: Budget
) -> Iterator[Shape]:
    """Yield the shapes of an option without values that another one lists; ``option`` holds the option's own keys."""
    for shape in shapes:
        keys = _keys(shape, budget) or ()
        repeated = frozenset(key for key in keys if counts[key] > (key in option))
        kept = exclude_keys(shape, repeated)
        if kept is not None:
            yield kept


def _keys(shape: Shape, budget: Budget) -> Keys | None:
    budget.spend(costs.size(shape))
    return value_keys(shape)


def _subtract_listed(left: Union, listed: list[Shape], is_possible: ShapePredicate, budget: Budget) -> Union:
    """Subtract shapes that list their values, all together where ``left`` allows it."""
    numbers = [shape for shape in listed if isinstance(shape, Number)]
    points = sorted(shape.point for shape in numbers if shape.point is not None)
    texts = tuple(text for shape in listed if isinstance(shape, String) for text in shape.values or ())
    keys = frozenset(chain.from_iterable(value_keys(shape) or () for shape in listed))
    kept: list[Shape] = []
    for shape in left:
        if _keys(shape, budget) is not None:
            kept += [remaining] if (remaining := exclude_keys(shape, keys)) is not None else []
        elif isinstance(shape, Number):
            kept += exclude_points(shape, points)
            budget.spend(len(kept))
        elif isinstance(shape, String):
            kept += _exclude_texts(shape, texts, budget)
        else:
            kept += _subtract_each(shape, listed, is_possible, budget)
    return union(kept)


def _exclude_texts(shape: String, texts: tuple[str, ...], budget: Budget) -> Iterable[Shape]:
    values = String(values=texts)
    budget.spend(costs.intersection(shape, values))
    common = intersect_shapes(shape, values) if texts else None
    if not isinstance(common, String):
        return (shape,)
    remaining = exclude_texts(shape, common.values or ())
    return () if remaining is None else (remaining,)


def _subtract_each(shape: Shape, listed: list[Shape], is_possible: ShapePredicate, budget: Budget) -> Union:
    pieces: Union = (shape,)
    for other in listed:
        if type(other) is type(shape):
            pieces = union(part for piece in pieces for part in _subtract_one(piece, other, is_possible, budget))
    return pieces


def _subtract_one(shape: Shape, other: Shape, is_possible: ShapePredicate, budget: Budget) -> Iterator[Shape]:
    budget.spend(costs.intersection(shape, other) if type(shape) is type(other) else 1)
    common = intersect_shapes(shape, other) if type(shape) is type(other) else None
    if common is None or not is_possible(common):
        yield shape
        return
    for piece in subtract_shape(shape, other):
        budget.spend(costs.intersection(shape, other))
        if piece is not None and is_possible(piece):
            yield piece
