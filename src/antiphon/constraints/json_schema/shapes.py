"""Shapes: the values of one JSON type within bounds. A schema is a union of shapes.

:mod:`~antiphon.constraints.json_schema.normalise` brings shapes to their simplest form.
"""

from collections.abc import Iterable
from enum import IntEnum
from fractions import Fraction
from typing import Final

from msgspec import Struct

from antiphon.constraints.json_schema.pattern_queries import matches
from antiphon.constraints.json_schema.terms import ANY, NEVER, Term, conjunction


class Null(Struct, frozen=True):
    """The value null."""


class Boolean(Struct, frozen=True):
    """One of ``values``, of which there is at least one."""

    values: frozenset[bool] = frozenset({True, False})


class Number(Struct, frozen=True):
    """Numbers between bounds. A bound is a pair: the number, and whether it is excluded."""

    integer: bool = False
    lower: tuple[Fraction, bool] | None = None
    upper: tuple[Fraction, bool] | None = None
    multiple_of: Fraction | None = None

    @property
    def point(self) -> Fraction | None:
        """The only number between the bounds, or None."""
        return self.lower[0] if self.lower is not None and self.lower == self.upper else None


class String(Struct, frozen=True):
    """Texts; lengths are in code points. A normalised string with ``values`` has no other bound."""

    values: tuple[str, ...] | None = None
    excluded: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    """Unanchored regular expressions in llguidance's syntax; each must match."""
    min_length: int = 0
    max_length: int | None = None


class Contains(Struct, frozen=True):
    """Between ``low`` and ``high`` items satisfy ``term``. Without ``high``, ``low`` is at least 1."""

    term: Term
    low: int = 1
    high: int | None = None


class Array(Struct, frozen=True):
    """Arrays: a term for each of the first items (``prefix``) and one for the other items."""

    prefix: tuple[Term, ...] = ()
    items: Term = ANY
    min_items: int = 0
    max_items: int | None = None
    contains: tuple[Contains, ...] = ()
    unique: bool = False

    def item(self, index: int) -> Term:
        """Return the term of the item at ``index``."""
        return self.prefix[index] if index < len(self.prefix) else self.items

    @property
    def required_terms(self) -> list[Term]:
        """The terms of the required items; the term of the items after ``prefix`` occurs once."""
        return [self.item(index) for index in range(min(self.min_items, len(self.prefix) + 1))]


class Evaluated(Struct, frozen=True):
    """The properties that some keyword has evaluated, for ``unevaluatedProperties``."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    is_complete: bool = False


class Others(IntEnum):
    """The attitude of a schema to properties that it does not list. An intersection has the greater one of both."""

    FREE = 0
    """It lists no properties."""
    UNSPECIFIED = 1
    """It lists properties and says nothing about others."""
    SPECIFIED = 2
    """It says which others there may be, for example by ``additionalProperties``."""


class Object(Struct, frozen=True):
    """Objects. ``properties`` holds every required name; its terms include those of all matching patterns."""

    properties: tuple[tuple[str, Term], ...] = ()
    patterns: tuple[tuple[str, Term], ...] = ()
    additional: Term = ANY
    required: tuple[str, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None
    evaluated: Evaluated = Evaluated()
    others: Others = Others.FREE

    def member(self, name: str) -> Term:
        """Return the term of the member ``name``."""
        for known, term in self.properties:
            if known == name:
                return term
        return self.unnamed(name)

    def unnamed(self, name: str) -> Term:
        """Return the term of the member ``name``, which is not among ``properties``."""
        terms = [term for pattern, term in self.patterns if matches(pattern, name)]
        return conjunction(*terms) if terms else self.additional

    @property
    def optional(self) -> tuple[str, ...]:
        """The names of the properties that may be absent or present, in order."""
        required = set(self.required)
        return tuple(name for name, term in self.properties if name not in required and term != NEVER)

    @property
    def is_closed(self) -> bool:
        """Whether only the named properties may occur."""
        return self.additional == NEVER and all(term == NEVER for _, term in self.patterns)


Shape = Null | Boolean | Number | String | Array | Object
Union = tuple[Shape, ...]

EVERYTHING: Final[Union] = (Null(), Number(), String(), Array(), Object(), Boolean())


def union(shapes: Iterable[Shape]) -> Union:
    """Return each shape once, without shapes that an unbounded one includes, and with finite sets joined."""
    kept = dict.fromkeys(shapes)
    unbounded = {type(shape) for shape in kept if shape in EVERYTHING}
    result: list[Shape] = []
    booleans: set[bool] = set()
    texts: dict[str, None] = {}
    for shape in kept:
        match shape:
            case Boolean(values):
                booleans |= values
            case Object(evaluated=evaluated) if evaluated != Evaluated():
                result.append(shape)
            case _ if type(shape) in unbounded and shape not in EVERYTHING:
                continue
            case String(values=values) if values is not None:
                texts.update(dict.fromkeys(values))
            case _:
                result.append(shape)
    result += [Boolean(frozenset(booleans))] if booleans else []
    result += [String(values=tuple(texts))] if texts else []
    return tuple(result)
