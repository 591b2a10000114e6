"""Finds the terms that have a finite value, from the leaves upwards; it visits each term and each need once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec import Struct

from antiphon.constraints.json_schema.shapes import Array, Object, Shape
from antiphon.constraints.json_schema.terms import ANY, Term


class _Alternative(Struct):
    """A shape of ``owner``; it has a finite value once ``missing`` is 0."""

    owner: Term
    missing: int


class _Need(Struct):
    """A finite value that an alternative needs; any one of several terms may provide it."""

    alternative: _Alternative
    satisfied: bool = False


def finite_terms(shapes: Mapping[Term, Iterable[Shape]]) -> set[Term]:
    """Return the terms with a finite value. A term that is neither a key of ``shapes`` nor :data:`ANY` has none."""
    finite: set[Term] = set()
    ready: list[Term] = [ANY]
    needs: defaultdict[Term, list[_Need]] = defaultdict(list)
    for owner, shape in ((owner, shape) for owner, alternatives in shapes.items() for shape in alternatives):
        groups = [terms for terms in required_groups(shape) if ANY not in terms]
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
            ready += _satisfy(needs[term])
    return finite


def _satisfy(needs: list[_Need]) -> Iterable[Term]:
    """Satisfy needs; yield the owners of the alternatives that this completes."""
    for need in needs:
        if not need.satisfied:
            need.satisfied = True
            need.alternative.missing -= 1
            if need.alternative.missing == 0:
                yield need.alternative.owner


def required_groups(shape: Shape) -> list[set[Term]]:
    """Return groups of terms: the shape has a finite value if one term of each group has one."""
    match shape:
        case Object():
            terms = dict(shape.properties)
            groups = [{terms[name]} for name in shape.required]
            if shape.min_properties > len(shape.required):
                groups.append({shape.additional, *(term for _, term in shape.patterns)})
            return groups
        case Array():
            return [{term} for term in shape.required_terms]
    return []
