"""The intersection of two shapes of one type."""

from collections.abc import Iterator

from antiphon.constraints.json_schema.normalise import least_common_multiple, normalise
from antiphon.constraints.json_schema.pattern_queries import is_empty
from antiphon.constraints.json_schema.schema_errors import UnenforceableError
from antiphon.constraints.json_schema.shapes import Array, Boolean, Evaluated, Number, Object, Shape, String
from antiphon.constraints.json_schema.terms import Term, conjunction


def intersect_shapes(left: Shape, right: Shape) -> Shape | None:
    """Return the values that two shapes of one type share, or None. Raises :class:`SchemaRefusedError`."""
    match left, right:
        case Boolean(), Boolean():
            values = left.values & right.values
            return Boolean(values) if values else None
        case Number(), Number():
            return normalise(_intersect_numbers(left, right))
        case String(), String():
            return normalise(_intersect_strings(left, right))
        case Array(), Array():
            return normalise(_intersect_arrays(left, right))
        case Object(), Object():
            return normalise(_intersect_objects(left, right))
    return left


def _intersect_numbers(left: Number, right: Number) -> Number:
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


def _smaller(left: int | None, right: int | None) -> int | None:
    return min((bound for bound in (left, right) if bound is not None), default=None)


def _intersect_strings(left: String, right: String) -> String:
    values = left.values if right.values is None else right.values
    if left.values is not None and right.values is not None:
        shared = set(right.values)
        values = tuple(text for text in left.values if text in shared)
    return String(
        values=values,
        excluded=left.excluded | right.excluded,
        patterns=tuple(dict.fromkeys(left.patterns + right.patterns)),
        min_length=max(left.min_length, right.min_length),
        max_length=_smaller(left.max_length, right.max_length),
    )


def _intersect_arrays(left: Array, right: Array) -> Array:
    length = max(len(left.prefix), len(right.prefix))
    return Array(
        prefix=tuple(conjunction(left.item(index), right.item(index)) for index in range(length)),
        items=conjunction(left.items, right.items),
        min_items=max(left.min_items, right.min_items),
        max_items=_smaller(left.max_items, right.max_items),
        contains=tuple(dict.fromkeys(left.contains + right.contains)),
        unique=left.unique or right.unique,
    )


def _intersect_objects(left: Object, right: Object) -> Object:
    names = dict.fromkeys(name for shape in (left, right) for name, _ in shape.properties)
    known, other = dict(left.properties), dict(right.properties)
    return Object(
        properties=tuple(
            (
                name,
                conjunction(
                    known[name] if name in known else left.unnamed(name),
                    other[name] if name in other else right.unnamed(name),
                ),
            )
            for name in names
        ),
        patterns=tuple(_intersect_patterns(left, right)),
        additional=conjunction(left.additional, right.additional),
        required=tuple(dict.fromkeys(left.required + right.required)),
        min_properties=max(left.min_properties, right.min_properties),
        max_properties=_smaller(left.max_properties, right.max_properties),
        evaluated=join_evaluated(left.evaluated, right.evaluated),
        others=max(left.others, right.others),
    )


def _intersect_patterns(left: Object, right: Object) -> Iterator[tuple[str, Term]]:
    left_terms, right_terms = dict(left.patterns), dict(right.patterns)
    for pattern in dict.fromkeys((*left_terms, *right_terms)):
        if pattern in left_terms and pattern in right_terms:
            yield pattern, conjunction(left_terms[pattern], right_terms[pattern])
            continue
        term, other = (left_terms[pattern], right) if pattern in left_terms else (right_terms[pattern], left)
        if any(beside != other.additional and not is_empty((known, pattern)) for known, beside in other.patterns):
            raise UnenforceableError("'patternProperties' with overlapping patterns is not supported")
        yield pattern, conjunction(term, other.additional)


def join_evaluated(left: Evaluated, right: Evaluated) -> Evaluated:
    """Return the properties that either of the two has evaluated."""
    return Evaluated(left.names | right.names, left.patterns | right.patterns, left.is_complete or right.is_complete)
