"""Shapes: the values of one JSON type that keep to a list of bounds. A schema is a union of shapes.

Shapes are plain values; :mod:`~antiphon.constraints.json_schema.normalise` brings them to their simplest form.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from msgspec import Struct

from antiphon.constraints.json_schema.pattern_queries import matches
from antiphon.constraints.json_schema.terms import ANY, NEVER, Term, conjunction


class Null(Struct, frozen=True):
    """The value null."""


class Boolean(Struct, frozen=True):
    """One of ``values``, never none."""

    values: frozenset[bool] = frozenset({True, False})


class Number(Struct, frozen=True):
    """Numbers between bounds; each bound comes with whether it is itself excluded."""

    integer: bool = False
    lower: tuple[Fraction, bool] | None = None
    upper: tuple[Fraction, bool] | None = None
    multiple_of: Fraction | None = None

    @property
    def point(self) -> Fraction | None:
        """The only number, where there is but one."""
        return self.lower[0] if self.lower is not None and self.lower == self.upper else None


class String(Struct, frozen=True):
    """Texts, lengths in code points. With ``values``, the other bounds have been applied to them."""

    values: tuple[str, ...] | None = None
    excluded: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    """Searches in llguidance's syntax, each of which must find something."""
    min_length: int = 0
    max_length: int | None = None


class Contains(Struct, frozen=True):
    """Between ``low`` and ``high`` items satisfy ``term``. Without ``high``, ``low`` is 1 at least."""

    term: Term
    low: int = 1
    high: int | None = None


class Array(Struct, frozen=True):
    """``prefix`` for the first items, ``items`` for the rest."""

    prefix: tuple[Term, ...] = ()
    items: Term = ANY
    min_items: int = 0
    max_items: int | None = None
    contains: tuple[Contains, ...] = ()
    unique: bool = False

    def item(self, index: int) -> Term:
        """What the item at ``index`` must satisfy."""
        return self.prefix[index] if index < len(self.prefix) else self.items


class Evaluated(Struct, frozen=True):
    """Which properties some keyword has looked at, for ``unevaluatedProperties``."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    everything: bool = False


class Object(Struct, frozen=True):
    """Every required name is among ``properties``, whose terms include those of the patterns that match the name."""

    properties: tuple[tuple[str, Term], ...] = ()
    patterns: tuple[tuple[str, Term], ...] = ()
    additional: Term = ANY
    required: tuple[str, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None
    evaluated: Evaluated = Evaluated()

    def member(self, name: str) -> Term:
        """What the value under ``name`` must satisfy, should it be there."""
        for known, term in self.properties:
            if known == name:
                return term
        return self.unnamed(name)

    def unnamed(self, name: str) -> Term:
        """Give what the value under ``name`` must satisfy, where ``properties`` has no such name."""
        terms = [term for pattern, term in self.patterns if matches(pattern, name)]
        return conjunction(*terms) if terms else self.additional

    @property
    def optional(self) -> tuple[str, ...]:
        """Named properties that may be there or not, in order."""
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
    """Each shape once; an unbounded shape makes the others of its type superfluous; finite sets are joined."""
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
