r"""From shapes to the JSON Schema that llguidance is given, written so that it means to llguidance what it should.

llguidance 1.9.1 deviates from the specification in ways that this module writes around:

- Keys that fall under ``additionalProperties`` may be spelled with escapes, so that ``"\u0061"`` passes by what the
  schema says of ``"a"``. Keys under ``patternProperties`` may not. An open object is therefore written with a pattern
  that matches every key, or else without any ``\u`` escape.
- Numbers: see :mod:`~antiphon.constraints.json_schema.numbers`.
- Recursive definitions without a finite value send it round in circles. They are dropped here.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.finite_terms import finite_terms, needed
from antiphon.constraints.json_schema.lowering import lower_shape
from antiphon.constraints.json_schema.multiples import check_multiples
from antiphon.constraints.json_schema.numbers import number_schema
from antiphon.constraints.json_schema.pattern import any_but
from antiphon.constraints.json_schema.pattern_queries import can_begin, matches, string_schema
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import (
    EVERYTHING,
    Array,
    Boolean,
    Null,
    Number,
    Object,
    Shape,
    String,
    Union,
)
from antiphon.constraints.json_schema.terms import ANY, NEVER, Term, conjunction, origin

ITEM_SEPARATOR: Final = ", "
KEY_SEPARATOR: Final = ": "
"""What models write of themselves: one line, a space after each comma and colon, as Python's ``json`` does."""

MAX_OPTIONAL_PROPERTIES: Final = 1000
"""Of one object; llguidance's work grows with the square."""
MAX_NEXT: Final = 1990
"""Items of one row of llguidance's parser, which holds 2000: what may come next in one place, four for each optional
property that may; beyond, the answer would end there."""
MAX_WORK: Final = 8_000_000
"""The squares of all objects together: about two seconds."""
_ITEMS: Final = 4
BEGUN_TEXT: Final = 60
"""Alternatives that cost as much as to find the first characters of a text with several bounds."""
EXCLUDED_CHARACTERS: Final = 4
"""Characters of excluded texts that are written for the cost of one comparison."""
_SHORT_ESCAPES: Final = 'nrbtf\\"'
_CONTROLS: Final = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""Characters that JSON can only spell by their code points."""
MAX_INLINE: Final = 16
"""Alternatives, and values of an enum, that are not worth a definition."""
MAX_INLINE_CHARACTERS: Final = 4096
"""Of the texts of a string that is not worth one."""
_WITHOUT_CONTROLS: Final = "^[^\\x{0}-\\x{7}\\x{B}\\x{E}-\\x{1F}\\x{7F}]*$"


class CodeGenerator:
    """Writes the schema of one term, with a definition for each object and array that it leads to."""

    def __init__(self, expander: Expander) -> None:
        self._expander = expander
        self._shapes: dict[Term, list[Shape]] = {}
        self._finite: set[Term] = set()
        self._work = 0
        self._begun: set[tuple[tuple[str, ...], int, int | None]] = set()
        self._names: dict[Term, str] = {}
        self._written: dict[Term, Any] = {}
        self._definitions: dict[str, Any] = {}
        self._aliases = False
        """Whether a key spelled with its code points could pass by the schema of a property."""
        self._controls: Term | None = None
        """A term whose text can only be spelled with code points."""

    def generate(self, root: Term) -> dict[str, Any]:
        """The whole schema. Raises :class:`SchemaRefusedError`, also when there is no finite value."""
        self._explore(root)
        self._finite = finite_terms(self._shapes)
        if root not in self._finite:
            raise SchemaRefusedError("the schema admits no value", ())
        self._aliases = any(map(_can_be_passed_by, self._all_shapes()))
        schema = self._term(root)
        options: dict[str, Any] = {
            "item_separator": ITEM_SEPARATOR,
            "key_separator": KEY_SEPARATOR,
            "whitespace_flexible": False,
        }
        if self._aliases:
            options["json_allowed_escapes"] = _SHORT_ESCAPES
            if self._controls is not None:
                raise SchemaRefusedError(
                    "control characters beside properties that the schema does not name are not supported",
                    origin(self._controls) or (),
                )
        definitions = {"$defs": self._definitions} if self._definitions else {}
        return {"x-guidance": options, **schema, **definitions}

    def _all_shapes(self) -> Iterator[Shape]:
        return (shape for shapes in self._shapes.values() for shape in shapes)

    def _explore(self, root: Term) -> None:
        waiting = [root]
        while waiting:
            term = waiting.pop()
            if term in self._shapes or term in (ANY, NEVER):
                continue
            try:
                shapes = [
                    lowered for shape in self._expander.expand(term) for lowered in lower_shape(shape, self._expander)
                ]
            except SchemaRefusedError as error:
                error.path = origin(term) if error.path is None else error.path
                raise
            self._shapes[term] = shapes
            self._expander.budget.spend(sum(map(costs.size, shapes)))
            if any(_CONTROLS.search(text) for shape in shapes for text in _texts(shape)):
                self._controls = term
            waiting += [child for shape in shapes for child in _children(shape)]

    def _is_finite(self, shape: Shape) -> bool:
        return not any(self._finite.isdisjoint(terms) for terms in needed(shape))

    def _term(self, term: Term) -> Any:  # noqa: ANN401 (JSON)
        """The schema of a term, or a reference to its definition."""
        found = self._written.get(term)
        if found is None:
            found = self._written[term] = self._write(term)
        return found

    def _write(self, term: Term) -> Any:  # noqa: ANN401 (JSON)
        if term not in self._finite:
            return False
        if term == ANY:
            return {}
        if term in self._names:
            return {"$ref": f"#/$defs/{self._names[term]}"}
        shapes = [shape for shape in self._shapes[term] if self._is_finite(shape)]
        if set(shapes) == {*EVERYTHING}:
            return {}
        if len(shapes) <= MAX_INLINE and all(map(_is_short, shapes)):
            return self._any_of(shapes, term)
        name = self._names[term] = f"d{len(self._names)}"
        self._definitions[name] = self._any_of(shapes, term)
        return {"$ref": f"#/$defs/{name}"}

    def _any_of(self, shapes: Union | list[Shape], term: Term) -> dict[str, Any]:
        try:
            check_multiples(shapes)
            _check_row(shapes)
            options = [schema for shape in shapes for schema in self._shape(shape)]
        except SchemaRefusedError as error:
            error.path = (origin(term) or ()) if error.path is None else error.path
            raise
        return options[0] if len(options) == 1 else {"anyOf": options}

    def _shape(self, shape: Shape) -> Iterator[dict[str, Any]]:
        match shape:
            case Null():
                yield {"type": "null"}
            case Boolean(values):
                yield {"type": "boolean"} if len(values) > 1 else {"const": next(iter(values))}
            case Number():
                yield number_schema(shape)
            case String():
                yield self._string(shape)
            case Array():
                yield self._array(shape)
            case Object():
                yield self._object(shape)

    def _string(self, shape: String) -> dict[str, Any]:
        if shape.values is not None:
            return {"enum": list(shape.values)}
        self._check_patterns(shape)
        self._expander.budget.spend(sum(map(len, shape.excluded)) // EXCLUDED_CHARACTERS, "not")
        excluded = (any_but(sorted(shape.excluded)),) if shape.excluded else ()
        patterns = shape.patterns + excluded
        if patterns and self._aliases:
            patterns += (_WITHOUT_CONTROLS,)
        return string_schema(patterns, shape.min_length, shape.max_length)

    def _check_patterns(self, shape: String) -> None:
        """Refuse patterns that bounds or other patterns make so hard that the engine could not begin with the text."""
        bounds = (shape.patterns, shape.min_length, shape.max_length)
        together = len(shape.patterns) + (shape.min_length > 0) + (shape.max_length is not None)
        if shape.patterns and together > 1 and bounds not in self._begun:
            self._begun.add(bounds)
            self._expander.budget.spend_alternatives(BEGUN_TEXT, "pattern")
            if not can_begin(*bounds):
                raise SchemaRefusedError("'pattern' is too complex to be enforced beside other bounds")

    def _array(self, shape: Array) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array"}
        if shape.prefix:
            schema["prefixItems"] = [self._term(term) for term in shape.prefix]
        if shape.items != ANY:
            schema["items"] = self._term(shape.items)
        if shape.min_items:
            schema["minItems"] = shape.min_items
        if shape.max_items is not None:
            schema["maxItems"] = shape.max_items
        return schema

    def _object(self, shape: Object) -> dict[str, Any]:
        optional = len(shape.optional)
        self._work += optional**2
        if optional > MAX_OPTIONAL_PROPERTIES or self._work > MAX_WORK:
            raise SchemaRefusedError(f"more than {MAX_OPTIONAL_PROPERTIES} optional properties are not supported")
        schema: dict[str, Any] = {"type": "object"}
        if shape.properties:
            schema["properties"] = {name: self._term(term) for name, term in shape.properties}
        if shape.required:
            schema["required"] = list(shape.required)
        additional = self._term(shape.additional)
        patterns = {pattern: self._term(term) for pattern, term in shape.patterns}
        if additional is False:
            patterns = {pattern: written for pattern, written in patterns.items() if written is not False}
        self._check_named(shape, patterns)
        if additional == {} and shape.properties and not patterns:
            patterns, additional = {"": {}}, False
        if patterns:
            schema["patternProperties"] = patterns
        if additional != {}:
            schema["additionalProperties"] = additional
        if shape.min_properties:
            schema["minProperties"] = shape.min_properties
        if shape.max_properties is not None:
            schema["maxProperties"] = shape.max_properties
        return schema

    def _check_named(self, shape: Object, patterns: Iterable[str]) -> None:
        """Refuse a pattern whose schema llguidance would join to that of a name it matches, and change it."""
        names = sum(len(name) for name, _ in shape.properties)
        self._expander.budget.spend(
            costs.matching(len(shape.patterns), len(shape.properties), names), "patternProperties"
        )
        for pattern, others in shape.patterns:
            if pattern in patterns and any(
                term in self._finite and conjunction(term, others) != term and matches(pattern, name)
                for name, term in shape.properties
            ):
                raise SchemaRefusedError("'patternProperties' beside such 'additionalProperties' is not supported")


def _children(shape: Shape) -> Iterable[Term]:
    match shape:
        case Object():
            return (*(term for _, term in shape.properties), *(term for _, term in shape.patterns), shape.additional)
        case Array():
            return (*shape.prefix, shape.items)
    return ()


def _texts(shape: Shape) -> Iterable[str]:
    match shape:
        case Object():
            return [name for name, _ in shape.properties]
        case String(values=values) if values is not None:
            return values
    return ()


def _check_row(shapes: Iterable[Shape]) -> None:
    """Refuse optional properties of all alternatives that would not fit in a row of llguidance's parser."""
    first = 0
    for shape in shapes:
        if isinstance(shape, Object):
            runs = _optional_runs(shape)
            first += runs[0]
            if max(first, *runs) > MAX_NEXT:
                raise SchemaRefusedError(
                    f"more than {MAX_NEXT} objects or {MAX_NEXT // _ITEMS} optional properties in one place"
                )


def _optional_runs(shape: Object) -> list[int]:
    """Give the parser's items where an object begins and after each of its required properties, in order."""
    required, runs = set(shape.required), [1]
    for name, term in shape.properties:
        if name in required:
            runs.append(1)
        elif term != NEVER:
            runs[-1] += _ITEMS
    runs[-1] += 0 if shape.is_closed else 2 * _ITEMS
    return runs


def _is_short(shape: Shape) -> bool:
    """Whether a shape is written in place, and not as a definition."""
    if isinstance(shape, String):
        texts = (*(shape.values or ()), *shape.excluded, *shape.patterns)
        return len(texts) <= MAX_INLINE and sum(map(len, texts)) <= MAX_INLINE_CHARACTERS
    return isinstance(shape, Null | Boolean | Number)


def _can_be_passed_by(shape: Shape) -> bool:
    """Whether a key spelled with its code points would pass by the schema of a property or of a pattern."""
    if not isinstance(shape, Object) or shape.is_closed:
        return False
    if any(character < " " or character == "\x7f" for name, _ in shape.properties for character in name):
        return True
    if shape.additional == NEVER:
        return False
    return bool(shape.patterns) or (shape.additional != ANY and bool(shape.properties))
