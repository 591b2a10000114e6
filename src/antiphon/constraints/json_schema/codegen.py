r"""Generates the JSON Schema that llguidance reads, from terms and their lowered shapes.

llguidance 1.9.1 deviates from the specification; this module works around it:

- It admits escapes in keys under ``additionalProperties``, so ``"\u0061"`` bypasses the schema of ``"a"``. It admits
  none in keys under ``patternProperties``. So an open object gets a pattern that matches every key, or ``\u`` escapes
  are forbidden in the whole text.
- It reads some numbers inexactly: see :mod:`~antiphon.constraints.json_schema.numbers`.
- It recurses without end into definitions without a finite value. They are dropped.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.finite_terms import finite_terms, required_groups
from antiphon.constraints.json_schema.lowering import lower_shape, without_bound
from antiphon.constraints.json_schema.multiples import check_multiples
from antiphon.constraints.json_schema.numbers import number_schema
from antiphon.constraints.json_schema.pattern import any_text_except
from antiphon.constraints.json_schema.pattern_queries import can_begin, matches, string_schema
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError, UnenforceableError
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
"""One line with a space after each comma and colon: the form that models write unasked, and Python's ``json``."""

MAX_OPTIONAL_PROPERTIES: Final = 1000
"""Optional properties of one object; llguidance's work grows with the square."""
MAX_NEXT_ITEMS: Final = 1990
"""Items of one row of llguidance's parser, which holds 2000. Each optional property that may come next takes four. If a
row overflows, the answer ends."""
MAX_SQUARED_PROPERTIES: Final = 8_000_000
"""Sum, over all objects, of the squared number of optional properties; this much takes about two seconds."""
_ITEMS_PER_PROPERTY: Final = 4
FIRST_CHARACTERS_COST: Final = 60
"""Alternatives that cost as much as finding the first characters of a text with several bounds."""
CHARACTERS_PER_COMPARISON: Final = 4
"""Characters of excluded texts that cost as much as one comparison."""
_SHORT_ESCAPES: Final = 'nrbtf\\"'
_CONTROLS: Final = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""Characters that JSON can only write as an escaped code point."""
MAX_INLINE: Final = 16
"""Alternatives of a term, or texts of a string, up to which it is written in place instead of as a definition."""
MAX_INLINE_CHARACTERS: Final = 4096
"""Characters of these texts."""
_WITHOUT_CONTROLS: Final = "^[^\\x{0}-\\x{7}\\x{B}\\x{E}-\\x{1F}\\x{7F}]*$"


class CodeGenerator:
    """Generates the schema of one term, with a definition for each object and array within it."""

    def __init__(self, expander: Expander, *, each_key_once: bool = False) -> None:
        """With ``each_key_once``, patterns of unboundedly many names are not enforceable."""
        self._each_key_once = each_key_once
        self._expander = expander
        self._unenforced = expander.unenforced
        self._shapes: dict[Term, list[Shape]] = {}
        self._finite: set[Term] = set()
        self._squared_properties = 0
        self._checked_texts: set[tuple[tuple[str, ...], int, int | None]] = set()
        self._names: dict[Term, str] = {}
        self._term_schemas: dict[Term, Any] = {}
        self._definitions: dict[str, Any] = {}
        self._forbids_code_points = False
        """Whether ``\\u`` escapes are forbidden, because an escaped key could bypass the schema of a property."""
        self._term_with_controls: Term | None = None
        """A term with a text that needs escaped code points."""

    def generate(self, root: Term) -> dict[str, Any]:
        """Return the whole schema. Raises :class:`SchemaRefusedError`, also if there is no finite value."""
        self._lower_all(root)
        self._finite = finite_terms(self._shapes)
        if root not in self._finite:
            raise SchemaRefusedError("the schema admits no value", ())
        self._forbids_code_points = any(map(_can_be_bypassed, self._all_shapes())) and not self._needs_code_points()
        schema = self._term_schema(root)
        options: dict[str, Any] = {
            "item_separator": ITEM_SEPARATOR,
            "key_separator": KEY_SEPARATOR,
            "whitespace_flexible": False,
        }
        if self._forbids_code_points:
            options["json_allowed_escapes"] = _SHORT_ESCAPES
        definitions = {"$defs": self._definitions} if self._definitions else {}
        return {"x-guidance": options, **schema, **definitions}

    def _needs_code_points(self) -> bool:
        """Return whether the schema has control characters. Then an escaped key can bypass the schema of a property."""
        if self._term_with_controls is None:
            return False
        reason = "control characters beside properties that the schema does not name are not supported"
        self._give_up(UnenforceableError(reason), self._term_with_controls)
        return True

    def _all_shapes(self) -> Iterator[Shape]:
        return (shape for shapes in self._shapes.values() for shape in shapes)

    def _lower_all(self, root: Term) -> None:
        waiting = [root]
        while waiting:
            term = waiting.pop()
            if term in self._shapes or term in (ANY, NEVER):
                continue
            try:
                shapes = [lowered for shape in self._expander.expand(term) for lowered in self._lower(shape, term)]
            except SchemaRefusedError as error:
                error.path = origin(term) if error.path is None else error.path
                raise
            self._shapes[term] = shapes
            self._expander.budget.spend(sum(map(costs.size, shapes)))
            if any(_CONTROLS.search(text) for shape in shapes for text in _texts(shape)):
                self._term_with_controls = term
            waiting += [child for shape in shapes for child in _children(shape)]

    def _lower(self, shape: Shape, term: Term) -> list[Shape]:
        """Lower a shape. If a bound needs too many alternatives, give it up and lower the rest."""
        try:
            return lower_shape(shape, self._expander)
        except UnenforceableError as error:
            self._give_up(error, term)
            weaker = without_bound(shape, error.keyword)
            return [] if weaker is None else self._lower(weaker, term)

    def _give_up(self, error: UnenforceableError, term: Term) -> None:
        path = (origin(term) or ()) if error.path is None else error.path
        error.path = path
        self._unenforced.add(error, (*path, error.keyword) if error.keyword else path)

    def _is_finite(self, shape: Shape) -> bool:
        return not any(self._finite.isdisjoint(terms) for terms in required_groups(shape))

    def _term_schema(self, term: Term) -> Any:  # noqa: ANN401 (JSON)
        """Return the schema of a term, or a reference to its definition; each is generated once."""
        found = self._term_schemas.get(term)
        if found is None:
            found = self._term_schemas[term] = self._generate_term(term)
        return found

    def _generate_term(self, term: Term) -> Any:  # noqa: ANN401 (JSON)
        if term not in self._finite:
            return False
        if term == ANY:
            return {}
        if term in self._names:
            return {"$ref": f"#/$defs/{self._names[term]}"}
        shapes = [shape for shape in self._shapes[term] if self._is_finite(shape)]
        if set(shapes) == {*EVERYTHING}:
            return {}
        if len(shapes) <= MAX_INLINE and all(map(_is_inline, shapes)):
            return self._any_of(shapes, term)
        name = self._names[term] = f"d{len(self._names)}"
        self._definitions[name] = self._any_of(shapes, term)
        return {"$ref": f"#/$defs/{name}"}

    def _any_of(self, shapes: Union | list[Shape], term: Term) -> dict[str, Any]:
        try:
            check_multiples(shapes)
            _check_row(shapes)
        except UnenforceableError as error:
            self._give_up(error, term)
            shapes = [weaker for shape in shapes if (weaker := without_bound(shape, error.keyword)) is not None]
        options = [self._shape_or_weaker(shape, term) for shape in shapes]
        return options[0] if len(options) == 1 else {"anyOf": options}

    def _shape_or_weaker(self, shape: Shape, term: Term) -> dict[str, Any]:
        """Return the schema of a shape, or of its whole type if it cannot be enforced."""
        try:
            if isinstance(shape, Object) and self._each_key_once:
                self._check_keys(shape, term)
            return self._shape_schema(shape)
        except UnenforceableError as error:
            self._give_up(error, term)
            if isinstance(shape, String):
                return string_schema((), shape.min_length, shape.max_length)
            return {"type": type(shape).__name__.lower()}

    def _check_keys(self, shape: Object, term: Term) -> None:
        """Give up that each key occurs once: llguidance does not remember the keys that match a pattern."""
        if any(known in self._finite for _, known in shape.patterns):
            reason = "'patternProperties' without a bound on names is not supported: a key could occur twice"
            self._give_up(UnenforceableError(reason), term)

    def _shape_schema(self, shape: Shape) -> dict[str, Any]:
        match shape:
            case Null():
                return {"type": "null"}
            case Boolean(values):
                return {"type": "boolean"} if len(values) > 1 else {"const": next(iter(values))}
            case Number():
                return number_schema(shape)
            case String():
                return self._string_schema(shape)
            case Array():
                return self._array_schema(shape)
            case Object():
                return self._object_schema(shape)

    def _string_schema(self, shape: String) -> dict[str, Any]:
        if shape.values is not None:
            return {"enum": list(shape.values)}
        self._check_patterns(shape)
        self._expander.budget.spend(sum(map(len, shape.excluded)) // CHARACTERS_PER_COMPARISON, "not")
        excluded = (any_text_except(sorted(shape.excluded)),) if shape.excluded else ()
        patterns = shape.patterns + excluded
        if patterns and self._forbids_code_points:
            patterns += (_WITHOUT_CONTROLS,)
        return string_schema(patterns, shape.min_length, shape.max_length)

    def _check_patterns(self, shape: String) -> None:
        """Refuse a pattern if the engine cannot begin its text beside the other patterns and bounds."""
        bounds = (shape.patterns, shape.min_length, shape.max_length)
        together = len(shape.patterns) + (shape.min_length > 0) + (shape.max_length is not None)
        if shape.patterns and together > 1 and bounds not in self._checked_texts:
            self._checked_texts.add(bounds)
            self._expander.budget.spend_alternatives(FIRST_CHARACTERS_COST, "pattern")
            if not can_begin(*bounds):
                raise UnenforceableError("'pattern' is too complex to be enforced beside other bounds")

    def _array_schema(self, shape: Array) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array"}
        if shape.prefix:
            schema["prefixItems"] = [self._term_schema(term) for term in shape.prefix]
        if shape.items != ANY:
            schema["items"] = self._term_schema(shape.items)
        if shape.min_items:
            schema["minItems"] = shape.min_items
        if shape.max_items is not None:
            schema["maxItems"] = shape.max_items
        return schema

    def _object_schema(self, shape: Object) -> dict[str, Any]:
        optional = len(shape.optional)
        self._squared_properties += optional**2
        if optional > MAX_OPTIONAL_PROPERTIES or self._squared_properties > MAX_SQUARED_PROPERTIES:
            raise UnenforceableError(f"more than {MAX_OPTIONAL_PROPERTIES} optional properties are not supported")
        schema: dict[str, Any] = {"type": "object"}
        if shape.properties:
            schema["properties"] = {name: self._term_schema(term) for name, term in shape.properties}
        if shape.required:
            schema["required"] = list(shape.required)
        additional = self._term_schema(shape.additional)
        patterns = {pattern: self._term_schema(term) for pattern, term in shape.patterns}
        if additional is False:
            patterns = {pattern: written for pattern, written in patterns.items() if written is not False}
        self._check_names_and_patterns(shape, patterns)
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

    def _check_names_and_patterns(self, shape: Object, patterns: Iterable[str]) -> None:
        """Refuse a pattern that matches a named property and would change its schema; llguidance applies both."""
        names = sum(len(name) for name, _ in shape.properties)
        self._expander.budget.spend(
            costs.matching(len(shape.patterns), len(shape.properties), names), "patternProperties"
        )
        for pattern, others in shape.patterns:
            if pattern in patterns and any(
                term in self._finite and conjunction(term, others) != term and matches(pattern, name)
                for name, term in shape.properties
            ):
                raise UnenforceableError("'patternProperties' beside such 'additionalProperties' is not supported")


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
    """Refuse alternatives whose optional properties together do not fit in a row of llguidance's parser."""
    at_start, properties = 0, MAX_NEXT_ITEMS // _ITEMS_PER_PROPERTY
    for shape in shapes:
        if isinstance(shape, Object):
            rows = _row_items(shape)
            at_start += rows[0]
            if max(at_start, *rows) > MAX_NEXT_ITEMS:
                raise UnenforceableError(
                    f"more than {MAX_NEXT_ITEMS} objects or {properties} optional properties in one place"
                )


def _row_items(shape: Object) -> list[int]:
    """Return the parser's items at the start of an object and after each required property, in order."""
    required, rows = set(shape.required), [1]
    for name, term in shape.properties:
        if name in required:
            rows.append(1)
        elif term != NEVER:
            rows[-1] += _ITEMS_PER_PROPERTY
    rows[-1] += 0 if shape.is_closed else 2 * _ITEMS_PER_PROPERTY
    return rows


def _is_inline(shape: Shape) -> bool:
    """Return whether a shape is written in place instead of as a definition."""
    if isinstance(shape, String):
        texts = (*(shape.values or ()), *shape.excluded, *shape.patterns)
        return len(texts) <= MAX_INLINE and sum(map(len, texts)) <= MAX_INLINE_CHARACTERS
    return isinstance(shape, Null | Boolean | Number)


def _can_be_bypassed(shape: Shape) -> bool:
    """Return whether an escaped key could bypass the schema of a property or pattern."""
    if not isinstance(shape, Object) or shape.is_closed:
        return False
    if any(character < " " or character == "\x7f" for name, _ in shape.properties for character in name):
        return True
    if shape.additional == NEVER:
        return False
    return bool(shape.patterns) or (shape.additional != ANY and bool(shape.properties))
