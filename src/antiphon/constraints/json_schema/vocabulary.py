"""The keywords of JSON Schema, drafts 4 to 2020-12: the form of their values, and the places of subschemas.

As in the specification, a keyword that is not listed is an annotation and does not constrain values.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.terms import Path

MAX_DEPTH: Final = 100
"""Levels of nested subschemas."""
MAX_SUBSCHEMAS: Final = 20_000
MAX_ENUM_VALUES: Final = 10_000
"""Values of all ``enum`` and ``const`` of a schema, nested values included."""
MAX_ENUM_CHARACTERS: Final = 1 << 18
"""Characters of the texts among these values, keys included."""

TYPES: Final = ("null", "boolean", "number", "integer", "string", "array", "object")


def _is_schema(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, dict | bool)


def _is_number(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return _is_number(value) and value >= 0 and value == int(value)


def _is_strings(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_schemas(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_map_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _is_type(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return value in TYPES if isinstance(value, str) else _is_strings(value) and bool(value) and set(value) <= {*TYPES}


_SCHEMA: Final = ("a JSON Schema", _is_schema)
_SCHEMAS: Final = ("a non-empty array of JSON Schemas", _is_schemas)
_SCHEMA_MAP: Final = ("an object of JSON Schemas", _is_map_of(_is_schema))
_COUNT: Final = ("a non-negative integer", _is_count)
_NUMBER: Final = ("a number", _is_number)
_LIMIT: Final = ("a number", lambda value: isinstance(value, int | float))
_STRING: Final = ("a string", lambda value: isinstance(value, str))
_STRINGS: Final = ("an array of strings", _is_strings)

KEYWORDS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "type": (f"one of {', '.join(map(repr, TYPES))}, or an array of them", _is_type),
    "enum": ("a non-empty array", lambda value: isinstance(value, list) and bool(value)),
    **dict.fromkeys(("$ref", "$dynamicRef", "$schema", "$id", "$anchor", "$dynamicAnchor"), _STRING),
    **dict.fromkeys(("pattern", "format"), _STRING),
    **dict.fromkeys(("not", "if", "then", "else", "contains", "propertyNames"), _SCHEMA),
    **dict.fromkeys(("additionalProperties", "additionalItems"), _SCHEMA),
    **dict.fromkeys(("unevaluatedItems", "unevaluatedProperties"), _SCHEMA),
    "items": (
        "a JSON Schema or an array of them",
        lambda value: _is_schema(value) or value == [] or _is_schemas(value),
    ),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _SCHEMAS),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"), _SCHEMA_MAP),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNT),
    **dict.fromkeys(("minContains", "maxContains"), _COUNT),
    **dict.fromkeys(("minimum", "maximum"), _NUMBER),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), _LIMIT),  # true and false in draft 4
    "multipleOf": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "uniqueItems": ("a boolean", lambda value: isinstance(value, bool)),
    "required": _STRINGS,
    "dependentRequired": ("an object of arrays of strings", _is_map_of(_is_strings)),
    "dependencies": (
        "an object of JSON Schemas or arrays of strings",
        _is_map_of(lambda value: _is_schema(value) or _is_strings(value)),
    ),
}
"""For each keyword the form of its value: in words, and as a predicate."""


def subschemas(root: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:  # noqa: ANN401 (JSON)
    """Yield the subschemas from ``root`` at ``path`` down that are objects, each checked against :data:`KEYWORDS`.

    Raises :class:`SchemaRefusedError` for a malformed subschema, and beyond the limits on count, depth and values.
    """
    waiting: list[tuple[Path, Any, int]] = [(path, root, 0)]
    schemas = values = characters = 0
    while waiting:
        at, schema, depth = waiting.pop()
        if not isinstance(schema, dict):
            continue
        schemas += 1
        _check(schema, at)
        found = [*islice(_values(schema), MAX_ENUM_VALUES - values + 1)]
        values += len(found)
        characters += sum(len(text) for text in found if isinstance(text, str))
        if depth > MAX_DEPTH:
            raise SchemaRefusedError(f"the schema exceeds the limit of {MAX_DEPTH} levels of nesting", at[:8])
        if schemas > MAX_SUBSCHEMAS:
            raise SchemaRefusedError(f"the schema exceeds the limit of {MAX_SUBSCHEMAS} subschemas", ())
        if values > MAX_ENUM_VALUES:
            raise SchemaRefusedError(f"the schema exceeds the limit of {MAX_ENUM_VALUES} enum values", ())
        if characters > MAX_ENUM_CHARACTERS:
            raise SchemaRefusedError(
                f"the schema exceeds the limit of {MAX_ENUM_CHARACTERS} characters of enum values", ()
            )
        yield at, schema
        waiting += [(inner, child, depth + 1) for inner, child in reversed([*_children(schema, at)])]


def _values(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield every value of ``enum`` and ``const``, nested values and keys included."""
    waiting = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value


def _check(schema: dict[str, Any], path: Path) -> None:
    for keyword, value in schema.items():
        expected, holds = KEYWORDS.get(keyword, ("", None))
        if holds is not None and not holds(value):
            raise SchemaRefusedError(f"'{keyword}' must be {expected}", path)


def _children(schema: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for keyword, value in schema.items():
        kind = KEYWORDS.get(keyword)
        if kind is _SCHEMA:
            yield (*path, keyword), value
        elif kind is _SCHEMAS or (keyword == "items" and isinstance(value, list)):
            yield from (((*path, keyword, index), child) for index, child in enumerate(value))
        elif kind is _SCHEMA_MAP or keyword == "dependencies":
            yield from (((*path, keyword, name), child) for name, child in value.items())
        elif keyword == "items":
            yield (*path, keyword), value
