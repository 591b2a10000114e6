"""The subset of JSON Schema of the reference's strict mode (Structured Outputs, "Supported schemas")."""

from itertools import chain
from typing import Any, Final

from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.terms import Path
from antiphon.constraints.json_schema.vocabulary import KEYWORDS, subschemas

MAX_PROPERTIES: Final = 5000
MAX_NESTING: Final = 10
"""Levels of nested objects and arrays."""
MAX_ENUM_VALUES: Final = 1000
MAX_CHARACTERS: Final = 120_000
"""Characters of property names, definition names, enum values and const values together."""
MAX_LARGE_ENUM: Final = 250
MAX_LARGE_ENUM_CHARACTERS: Final = 15_000
"""Characters of the values of an enum that has more than :data:`MAX_LARGE_ENUM` texts."""

_NOT_PERMITTED: Final = KEYWORDS.keys() - {
    *("type", "enum", "const", "anyOf", "$ref", "$defs", "definitions", "$schema", "$id", "$anchor"),
    *("properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_ANNOTATIONS: Final = frozenset(
    ("title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly")
)
_FORMATS: Final = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
)


def check_strict(document: Document) -> None:
    """Raise :class:`SchemaRefusedError`, in the reference's words, for a schema outside the subset."""
    root = document.root if isinstance(document.root, dict) else {}
    kind = root.get("type")
    if (kind != "object" and "$ref" not in root) or "anyOf" in root:
        got = None if "anyOf" in root else kind
        raise SchemaRefusedError(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'", ())
    found = [*subschemas(root, ())]
    for path, schema in found:
        _check_keywords(schema, path)
        if _admits(schema, "object"):
            _check_object(schema, path)
        if _admits(schema, "array") and "items" not in schema:
            raise SchemaRefusedError("array schema missing items", path)
    _check_sizes(found)


def _admits(schema: dict[str, Any], kind: str) -> bool:
    return kind in schema.get("type", ())  # for one name as well: no type's name contains another's


def _check_keywords(schema: dict[str, Any], path: Path) -> None:
    for keyword in schema:
        if keyword in _NOT_PERMITTED:
            raise SchemaRefusedError(f"'{keyword}' is not permitted", path)
    if "$ref" in schema:
        others = schema.keys() - {"$ref", "$defs", "definitions", "$schema", "$id"}
        if others:
            raise SchemaRefusedError(f"$ref cannot have keywords {{{', '.join(map(repr, sorted(others)))}}}", path)
        return
    form = schema.get("format")
    if form is not None and form not in _FORMATS:
        raise SchemaRefusedError(f"'{form[:64]}' is not a valid format", path)
    if isinstance(schema.get("items"), list):
        raise SchemaRefusedError("'items' as an array is not permitted", path)
    if not schema.keys() & {"type", "anyOf", "enum", "const"}:
        raise SchemaRefusedError("schema must have a 'type' key", path)


def _check_object(schema: dict[str, Any], path: Path) -> None:
    if schema.get("additionalProperties") is not False:
        raise SchemaRefusedError("'additionalProperties' is required to be supplied and to be false", path)
    required = dict.fromkeys(schema.get("required", ()))
    properties = schema.get("properties", {})
    missing = (f"Missing '{name[:64]}'" for name in properties if name not in required)
    extra = (f"Extra required key '{name[:64]}' supplied" for name in required if name not in properties)
    reason = next(chain(missing, extra), None)
    if reason is not None:
        raise SchemaRefusedError(
            f"'required' is required to be supplied and to be an array including every key in properties. {reason}",
            path,
        )


def _check_sizes(found: list[tuple[Path, dict[str, Any]]]) -> None:
    properties = values = characters = 0
    for path, schema in found:
        nesting = sum(key in {"properties", "items"} for key in _levels(path))
        if nesting > MAX_NESTING:
            raise SchemaRefusedError(f"the schema exceeds the limit of {MAX_NESTING} levels of nesting", path)
        names = [name for keyword in ("properties", "$defs", "definitions") for name in schema.get(keyword, ())]
        texts = [value for value in (*schema.get("enum", ()), schema.get("const")) if isinstance(value, str)]
        properties += len(schema.get("properties", ()))
        values += len(schema.get("enum", ()))
        characters += sum(map(len, names)) + sum(map(len, texts))
        if len(texts) > MAX_LARGE_ENUM and sum(map(len, texts)) > MAX_LARGE_ENUM_CHARACTERS:
            raise SchemaRefusedError(
                f"an enum of more than {MAX_LARGE_ENUM} values exceeds {MAX_LARGE_ENUM_CHARACTERS} characters", path
            )
    for count, limit, counted in (
        (properties, MAX_PROPERTIES, "object properties"),
        (values, MAX_ENUM_VALUES, "enum values"),
        (characters, MAX_CHARACTERS, "characters in names and values"),
    ):
        if count > limit:
            raise SchemaRefusedError(f"the schema exceeds the limit of {limit} {counted}, it has {count}", ())


def _levels(path: Path) -> list[str | int]:
    """Return the keywords of a path, without the names after ``properties`` and definitions."""
    levels: list[str | int] = []
    keys = iter(path)
    for key in keys:
        levels.append(key)
        if key in {"properties", "$defs", "definitions"}:
            next(keys, None)
    return levels
