"""Which terms have a finite value: found from the leaves upwards, each term and each need once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec import Struct

from antiphon.constraints.json_schema.shapes import Array, Object, Shape
from antiphon.constraints.json_schema.terms import ANY, Term


class _Alternative(Struct):
    """A shape of ``owner`` that has a finite value when nothing is missing any more."""

    owner: Term
    missing: int


class _Need(Struct):
    """A value that an alternative cannot do without; one of several terms may give it."""

    alternative: _Alternative
    met: bool = False


def finite_terms(shapes: Mapping[Term, Iterable[Shape]]) -> set[Term]:
    """Give the terms with a finite value; every term that a shape names is a key, :data:`ANY` or has none."""
    finite: set[Term] = set()
    ready: list[Term] = [ANY]
    needs: defaultdict[Term, list[_Need]] = defaultdict(list)
    for owner, shape in ((owner, shape) for owner, alternatives in shapes.items() for shape in alternatives):
        groups = [terms for terms in needed(shape) if ANY not in terms]
        alternative = _Alternative(owner, len(groups))
        ready += [owner] if not groups else []
        for terms in groups:
            need = _Need(alternative)
            for term in terms:
                needs[term].append(need)
    while ready:
        term = ready.pop()
        if term not in finite:
            finite.add(term)
            ready += _met(needs[term])
    return finite


def _met(needs: list[_Need]) -> Iterable[Term]:
    """Meet needs, and give the owners of the alternatives that were complete with that."""
    for need in needs:
        if not need.met:
            need.met = True
            need.alternative.missing -= 1
            if need.alternative.missing == 0:
                yield need.alternative.owner


def needed(shape: Shape) -> list[set[Term]]:
    """Give sets of terms of each of which one must have a finite value, for the shape to have one."""
    match shape:
        case Object():
            terms = dict(shape.properties)
            groups = [{terms[name]} for name in shape.required]
            if shape.min_properties > len(shape.required):
                groups.append({shape.additional, *(term for _, term in shape.patterns)})
            return groups
        case Array():
            return [{shape.item(index)} for index in range(min(shape.min_items, len(shape.prefix) + 1))]
    return []
