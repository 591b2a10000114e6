"""Intersection and difference of unions of shapes: what allOf, not, oneOf and if are made of.

All are exact, or raise :class:`SchemaRefusedError` with the keyword that cannot be intersected or negated. Listed
values, as ``enum`` and ``const`` have them, are found by their keys; of other shapes, every pair is paid for.
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
"""Tells shapes that may have a value."""


class _Index:
    """The places of a union's shapes, by their types and by the values that they list."""

    def __init__(self, shapes: Union, budget: Budget) -> None:
        self._all: defaultdict[type[Shape], list[int]] = defaultdict(list)
        self._unlisted: defaultdict[type[Shape], list[int]] = defaultdict(list)
        self._listed: defaultdict[Hashable, list[int]] = defaultdict(list)
        for index, shape in enumerate(shapes):
            keys = _keys(shape, budget)
            self._all[type(shape)].append(index)
            if keys is None:
                self._unlisted[type(shape)].append(index)
            for key in keys or ():
                self._listed[key].append(index)

    def partners(self, shape: Shape, keys: Keys | None) -> list[int]:
        """Give the places of shapes that may share a value with ``shape``, in order."""
        if keys is None:
            return self._all[type(shape)]
        equal = {index for key in keys for index in self._listed.get(key, ())}
        return sorted(equal.union(self._unlisted[type(shape)]))


def intersect(left: Union, right: Union, budget: Budget) -> Union:
    """The values of both."""
    return union(_common(left, right, budget))


def _common(left: Union, right: Union, budget: Budget) -> Iterator[Shape]:
    index = _Index(right, budget)
    for shape in left:
        for place in index.partners(shape, _keys(shape, budget)):
            budget.spend(costs.intersection(shape, right[place]))
            common = intersect_shapes(shape, right[place])
            if common is not None:
                yield common


def subtract(left: Union, right: Union, is_possible: ShapePredicate, budget: Budget) -> Union:
    """The values of ``left`` that are not in ``right``; ``possible`` tells shapes that may have a value."""
    listed: list[Shape] = []
    unlisted: list[Shape] = []
    for shape in right:
        (unlisted if _keys(shape, budget) is None else listed).append(shape)
    left = _exclude_listed(left, listed, is_possible, budget) if listed else left
    for other in unlisted:
        left = union(piece for shape in left for piece in _difference(shape, other, is_possible, budget))
    return left


def exactly_one(narrowed: list[Union], options: list[Union], is_possible: ShapePredicate, budget: Budget) -> Union:
    """The values that one option has and no other; ``narrowed`` holds the part of each option that is asked for."""
    keys = [[_keys(shape, budget) for shape in option] for option in options]
    own = [frozenset(chain.from_iterable(found or () for found in of_option)) for of_option in keys]
    counts = Counter(chain.from_iterable(own))
    unlisted = {place for place, of_option in enumerate(keys) if None in of_option}
    kept: list[Shape] = []
    for place, shapes in enumerate(narrowed):
        left = tuple(_unrepeated(shapes, own[place], counts, budget))
        listed = [place for place, shape in enumerate(left) if _keys(shape, budget) is not None]
        others = unlisted if len(listed) == len(left) else range(len(options))
        budget.spend(len(others))
        rest = tuple(shape for other in others if other != place for shape in options[other])
        kept += subtract(left, rest, is_possible, budget)
    return union(kept)


def _unrepeated(shapes: Union, own: frozenset[Hashable], counts: Counter[Hashable], budget: Budget) -> Iterator[Shape]:
    """Drop the listed values that another option lists, too."""
    for shape in shapes:
        keys = _keys(shape, budget) or ()
        repeated = frozenset(key for key in keys if counts[key] > (key in own))
        kept = exclude_keys(shape, repeated)
        if kept is not None:
            yield kept


def _keys(shape: Shape, budget: Budget) -> Keys | None:
    budget.spend(costs.size(shape))
    return value_keys(shape)


def _exclude_listed(left: Union, listed: list[Shape], is_possible: ShapePredicate, budget: Budget) -> Union:
    """Subtract shapes that list their values, all at once where that is the same."""
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
            kept += _one_by_one(shape, listed, is_possible, budget)
    return union(kept)


def _exclude_texts(shape: String, texts: tuple[str, ...], budget: Budget) -> Iterable[Shape]:
    values = String(values=texts)
    budget.spend(costs.intersection(shape, values))
    common = intersect_shapes(shape, values) if texts else None
    if not isinstance(common, String):
        return (shape,)
    remaining = exclude_texts(shape, common.values or ())
    return () if remaining is None else (remaining,)


def _one_by_one(shape: Shape, listed: list[Shape], is_possible: ShapePredicate, budget: Budget) -> Union:
    pieces: Union = (shape,)
    for other in listed:
        if type(other) is type(shape):
            pieces = union(part for piece in pieces for part in _difference(piece, other, is_possible, budget))
    return pieces


def _difference(shape: Shape, other: Shape, is_possible: ShapePredicate, budget: Budget) -> Iterator[Shape]:
    budget.spend(costs.intersection(shape, other) if type(shape) is type(other) else 1)
    common = intersect_shapes(shape, other) if type(shape) is type(other) else None
    if common is None or not is_possible(common):
        yield shape
        return
    for piece in subtract_shape(shape, other):
        budget.spend(costs.intersection(shape, other))
        if piece is not None and is_possible(piece):
            yield piece
