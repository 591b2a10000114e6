"""Terms: what a place in an instance must satisfy, named by where the schema says so, not yet looked at.

A term is a subschema's place in the document, the conjunction of terms, or the negation of one. Terms are what makes
recursive schemas finite: the conjunction of two recursive trees refers to itself, as each of them does.
"""

import json
from typing import Any

from msgspec import Struct

Path = tuple[str | int, ...]


class Location(Struct, frozen=True):
    """The subschema at ``path`` of the document."""

    path: Path


class Constant(Struct, frozen=True):
    """Equal to one value, given as JSON text."""

    text: str


class Conjunction(Struct, frozen=True):
    """Every one of ``terms``; of none, anything. Made by :func:`conjunction`."""

    terms: tuple["Term", ...]


class Negation(Struct, frozen=True):
    """Anything that does not satisfy ``term``. Made by :func:`negation`."""

    term: "Term"


Term = Location | Constant | Conjunction | Negation

ANY = Conjunction(())
NEVER = Negation(ANY)


def compact_json(value: Any) -> str:  # noqa: ANN401 (JSON)
    """Return the JSON text of ``value`` without spaces, as in the text of a :class:`Constant`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def negation(term: Term) -> Term:
    """Negate a term."""
    return term.term if isinstance(term, Negation) else Negation(term)


def conjunction(*terms: Term) -> Term:
    """Join terms in order, each once."""
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
    """The first place in the document that a term names."""
    match term:
        case Location(path):
            return path
        case Negation(inner):
            return origin(inner)
        case Conjunction(terms):
            return next((found for inner in terms if (found := origin(inner)) is not None), None)
    return None
