"""Terms: constraints on a value, named by their place in the schema and not yet expanded.

A term is the place of a subschema, a constant, the conjunction of terms, or the negation of a term. Terms keep
recursive schemas finite: the conjunction of two recursive trees refers to itself, as each tree does.
"""

import json
from typing import Any

from msgspec import Struct

Path = tuple[str | int, ...]


class Location(Struct, frozen=True):
    """The subschema at ``path`` of the document."""

    path: Path


class Constant(Struct, frozen=True):
    """Equality to one value, given as JSON text."""

    text: str


class Conjunction(Struct, frozen=True):
    """All of ``terms``; any value satisfies an empty conjunction. Made by :func:`conjunction`."""

    terms: tuple["Term", ...]


class Negation(Struct, frozen=True):
    """The values that do not satisfy ``term``. Made by :func:`negation`."""

    term: "Term"


Term = Location | Constant | Conjunction | Negation

ANY = Conjunction(())
NEVER = Negation(ANY)


def compact_json(value: Any) -> str:  # noqa: ANN401 (JSON)
    """Return the JSON text of ``value`` without spaces, as in the text of a :class:`Constant`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def negation(term: Term) -> Term:
    """Return the negation of a term."""
    return term.term if isinstance(term, Negation) else Negation(term)


def conjunction(*terms: Term) -> Term:
    """Return the conjunction of terms, in order and each once."""
    some = [term for term in terms if term is not ANY]
    if len(some) == 1:
        return some[0]
    flat: dict[Term, None] = {}
    for term in some:
        flat.update(dict.fromkeys(term.terms if isinstance(term, Conjunction) else (term,)))
    if NEVER in flat or any(negation(term) in flat for term in flat):
        return NEVER
    if len(flat) > 1:
        return Conjunction(tuple(flat))
    return next(iter(flat), ANY)


def origin(term: Term) -> Path | None:
    """Return the first place in the document that a term names, or None."""
    match term:
        case Location(path):
            return path
        case Negation(inner):
            return origin(inner)
        case Conjunction(terms):
            return next((found for inner in terms if (found := origin(inner)) is not None), None)
    return None
