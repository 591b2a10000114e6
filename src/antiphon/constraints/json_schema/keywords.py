"""Turns the keywords that bound values of one type, in one subschema, into shapes."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any, Final

from msgspec.structs import replace

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.document import NEWEST_DRAFT, Document
from antiphon.constraints.json_schema.formats import FORMATS
from antiphon.constraints.json_schema.look_ahead import split_look_aheads
from antiphon.constraints.json_schema.normalise import normalise
from antiphon.constraints.json_schema.numbers import exact
from antiphon.constraints.json_schema.pattern import translate
from antiphon.constraints.json_schema.pattern_queries import few_texts, is_empty, matches
from antiphon.constraints.json_schema.schema_errors import COMPILED_PATTERN, UnenforceableError
from antiphon.constraints.json_schema.shapes import (
    Array,
    Boolean,
    Contains,
    Evaluated,
    Null,
    Number,
    Object,
    Others,
    Shape,
    String,
    Union,
    union,
)
from antiphon.constraints.json_schema.terms import ANY, NEVER, Constant, Path, Term, compact_json, conjunction

_APPLICATORS: Final = {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "contains"}


def constant(value: Any) -> Shape:  # noqa: ANN401 (JSON)
    """Return the shape of one value."""
    if value is None:
        return Null()
    if isinstance(value, bool):
        return Boolean(frozenset({value}))
    if isinstance(value, int | float):
        bound = (exact(value), False)
        return Number(integer=bound[0].denominator == 1, lower=bound, upper=bound)
    if isinstance(value, str):
        return String(values=(value,))
    if isinstance(value, list):
        return Array(prefix=tuple(map(_constant_term, value)), items=NEVER, min_items=len(value))
    members = tuple((name, _constant_term(member)) for name, member in value.items())
    return Object(properties=members, additional=NEVER, required=tuple(value))


def _constant_term(value: Any) -> Term:  # noqa: ANN401 (JSON)
    return Constant(compact_json(value))


def bounds(document: Document, path: Path) -> Union:
    """Return the values that satisfy the keywords at ``path`` that apply no subschema to the value itself."""
    schema = document.at(path)
    types = schema.get("type", ("null", "boolean", "number", "string", "array", "object"))
    shapes: list[Shape | None] = []
    for name in dict.fromkeys([types] if isinstance(types, str) else types):
        match name:
            case "null":
                shapes.append(Null())
            case "boolean":
                shapes.append(Boolean())
            case "number":
                shapes.append(normalise(_number(schema)))
            case "integer" if "number" not in types:
                shapes.append(normalise(_number(schema, integer=True)))
            case "string":
                document.budget.spend_alternatives(COMPILED_PATTERN * ("pattern" in schema), "pattern")
                shapes.append(_normalised_string(document, path, schema))
            case "array":
                shapes.append(normalise(_array(document, path, schema)))
            case "object":
                shapes.append(normalise(_object_or_weaker(document, path, schema)))
    return union(shape for shape in shapes if shape is not None)


def _number(schema: dict[str, Any], *, integer: bool = False) -> Number:
    return Number(
        integer=integer,
        lower=max(_limits(schema, "minimum", "exclusiveMinimum"), default=None),
        upper=min(
            _limits(schema, "maximum", "exclusiveMaximum"), key=lambda bound: (bound[0], not bound[1]), default=None
        ),
        multiple_of=exact(schema["multipleOf"]) if "multipleOf" in schema else None,
    )


def _limits(schema: dict[str, Any], inclusive: str, exclusive: str) -> list[tuple[Fraction, bool]]:
    limit, extreme = schema.get(inclusive), schema.get(exclusive, False)
    found = [] if limit is None else [(exact(limit), extreme is True)]
    if not isinstance(extreme, bool):
        found.append((exact(extreme), True))
    return found


def _normalised_string(document: Document, path: Path, schema: dict[str, Any]) -> String | None:
    try:
        return normalise(_string(schema))
    except UnenforceableError as error:
        document.unenforced.add(error, (*path, "pattern"))
        return normalise(_string({keyword: value for keyword, value in schema.items() if keyword != "pattern"}))


def _string(schema: dict[str, Any]) -> String:
    form = FORMATS.get(schema.get("format", ""))
    lengths = [int(schema["maxLength"])] if "maxLength" in schema else []
    patterns = [*map(translate, split_look_aheads(schema["pattern"]))] if "pattern" in schema else []
    if form is not None:
        patterns.append(form.pattern)
        lengths += [] if form.max_length is None else [form.max_length]
    return String(
        patterns=tuple(pattern for pattern in patterns if pattern not in {"", "^", "$"}),
        min_length=int(schema.get("minLength", 0)),
        max_length=min(lengths, default=None),
    )


def _array(document: Document, path: Path, schema: dict[str, Any]) -> Array:
    prefix, items = "prefixItems", "items"
    if isinstance(schema.get("items"), list):
        prefix, items = "items", "additionalItems"
    length = len(schema.get(prefix, ())) if prefix == "items" or document.draft >= NEWEST_DRAFT else 0
    if items not in schema and "unevaluatedItems" in schema:
        items = _unevaluated_items(document, path, schema)
    return Array(
        prefix=tuple(document.term((*path, prefix, index)) for index in range(length)),
        items=document.term((*path, items)) if items in schema else ANY,
        min_items=int(schema.get("minItems", 0)),
        max_items=int(schema["maxItems"]) if "maxItems" in schema else None,
        contains=tuple(_contains(document, path, schema)),
        unique=schema.get("uniqueItems", False),
    )


def _unevaluated_items(document: Document, path: Path, schema: dict[str, Any]) -> str:
    """Return the keyword of the items that no other keyword evaluates; ``items``, which is absent, if they are free."""
    if not _APPLICATORS & schema.keys():
        return "unevaluatedItems"
    reason = "'unevaluatedItems' beside other applicators is not supported"
    document.unenforced.add(UnenforceableError(reason, path), (*path, "unevaluatedItems"))
    return "items"


def _contains(document: Document, path: Path, schema: dict[str, Any]) -> Iterator[Contains]:
    low, high = schema.get("minContains", 1), schema.get("maxContains")
    if "contains" in schema and (low > 0 or high is not None):
        yield Contains(document.term((*path, "contains")), int(low), None if high is None else int(high))


def _object_or_weaker(document: Document, path: Path, schema: dict[str, Any]) -> Object:
    try:
        return _object(document, path, schema)
    except UnenforceableError as error:
        document.unenforced.add(error, (*path, "patternProperties"))
        others = {"patternProperties", "additionalProperties"}
        weaker = {keyword: value for keyword, value in schema.items() if keyword not in others}
        return replace(_object(document, path, weaker), others=Others.SPECIFIED)


def _object(document: Document, path: Path, schema: dict[str, Any]) -> Object:
    patterns = _patterns(document, path, schema)
    names = (*schema.get("properties", ()), *schema.get("required", ()))
    document.budget.spend_alternatives(COMPILED_PATTERN * len(patterns) ** 2, "patternProperties")
    document.budget.spend(costs.matching(len(patterns), len(names), sum(map(len, names))), "patternProperties")
    universal = [patterns.pop(pattern) for pattern in [*patterns] if _is_universal(pattern)]
    additional = document.term((*path, "additionalProperties")) if "additionalProperties" in schema else ANY
    if universal:
        additional = conjunction(*universal)
    _check_disjoint(patterns, path)
    named = {name: document.term((*path, "properties", name)) for name in schema.get("properties", {})}
    required = tuple(dict.fromkeys(name for name in schema.get("required", ())))
    listed = {pattern: texts for pattern in patterns if (texts := few_texts(pattern)) is not None}
    properties = []
    for name in dict.fromkeys((*named, *required, *(text for texts in listed.values() for text in texts))):
        terms = [term for pattern, term in patterns.items() if matches(pattern, name)]
        if name in named or terms:
            properties.append((name, conjunction(*([named[name]] if name in named else []), *terms, *universal)))
        else:
            properties.append((name, additional))
    evaluated = Evaluated(frozenset(named), frozenset(patterns), bool(universal) or "additionalProperties" in schema)
    return Object(
        properties=tuple(properties),
        patterns=tuple(
            (pattern, conjunction(term, *universal)) for pattern, term in patterns.items() if pattern not in listed
        ),
        additional=additional,
        required=required,
        min_properties=int(schema.get("minProperties", 0)),
        max_properties=int(schema["maxProperties"]) if "maxProperties" in schema else None,
        evaluated=evaluated if document.tracks_evaluation else Evaluated(),
        others=_others(schema, is_specified=evaluated.is_complete),
    )


def _others(schema: dict[str, Any], *, is_specified: bool) -> Others:
    if is_specified:
        return Others.SPECIFIED
    return Others.UNSPECIFIED if "properties" in schema else Others.FREE


def _is_universal(pattern: str) -> bool:
    """Return whether the pattern matches every text: it matches the empty text and has no ``$``."""
    return "$" not in pattern and matches(pattern, "")


def _patterns(document: Document, path: Path, schema: dict[str, Any]) -> dict[str, Term]:
    """Return the patterns with their terms; patterns with equal schemas are joined into one."""
    paths: dict[str, dict[str, Path]] = {}
    for pattern, subschema in schema.get("patternProperties", {}).items():
        equal = paths.setdefault(compact_json(subschema), {})
        equal[translate(pattern)] = (*path, "patternProperties", pattern)
    return {"|".join(equal): document.term(next(iter(equal.values()))) for equal in paths.values()}


def _check_disjoint(patterns: Iterable[str], path: Path) -> None:
    for pattern, other in combinations(patterns, 2):
        if not is_empty((pattern, other)):
            raise UnenforceableError("'patternProperties' with overlapping patterns is not supported", path)
