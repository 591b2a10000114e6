"""Decides by the tool's schema whether the text of a parameter is JSON, for notations that do not mark it (``xml``).

- ``string``: the text itself is the value.
- ``json``: the text is JSON.
- ``either``: the schema admits strings and other values. JSON of an admitted type, also a quoted string, is JSON; any
  other text is a string. So the parser reads a value that a grammar wrote as JSON with the right type.
"""

from collections.abc import Callable
from typing import Any, Literal

ValueKind = Literal["string", "json", "either"]
JSONType = Literal["string", "number", "boolean", "null", "array", "object"]

_TYPES: dict[str, JSONType] = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
    "array": "array",
    "object": "object",
}
_MAX_DEPTH = 32
"""Levels of references and combinations that are followed; deeper schemas do not limit the type."""


def json_type(value: object) -> JSONType:
    """Return the JSON type of a decoded value; an integer is a ``number``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def parameter_types(parameters: dict[str, Any], name: str) -> frozenset[JSONType]:
    """Return the JSON types that a tool's schema admits for one parameter; empty if the schema does not limit it."""
    return _Reader(parameters, name).of_parameter(parameters, 0) or frozenset()


def value_kind(types: frozenset[JSONType]) -> ValueKind:
    """Return the kind of a value of these types; a value without a declared type is a string."""
    if types <= {"string"}:
        return "string"
    return "either" if "string" in types else "json"


_Types = frozenset[JSONType] | None
"""None: the schema does not limit the type."""


class _Reader:
    """Finds the types of one parameter. Every subschema is read once, so the work is linear in the schema."""

    def __init__(self, root: dict[str, Any], name: str) -> None:
        self._root = root
        self._name = name
        self._known: dict[tuple[str, int], _Types] = {}

    def of_parameter(self, schema: object, depth: int) -> _Types:
        """Return the types that an object schema admits for the parameter."""
        return self._once("parameter", schema, depth, self._of_parameter)

    def of_value(self, schema: object, depth: int) -> _Types:
        """Return the types that a value's schema admits."""
        return self._once("value", schema, depth, self._of_value)

    def _once(self, kind: str, schema: object, depth: int, read: Callable[[dict[str, Any], int], _Types]) -> _Types:
        key = (kind, id(schema))
        if depth > _MAX_DEPTH or not isinstance(schema, dict):
            return None
        if key not in self._known:
            self._known[key] = None  # the result for a reference to itself
            self._known[key] = read(schema, depth + 1)
        return self._known[key]

    def _of_parameter(self, schema: dict[str, Any], depth: int) -> _Types:
        properties = schema.get("properties")
        value = schema.get("additionalProperties")
        if isinstance(properties, dict) and self._name in properties:
            value = properties[self._name]
        found = [self.of_value(value, depth), self.of_parameter(self._referenced(schema), depth)]
        found += [self.of_parameter(part, depth) for part in _parts(schema, "allOf")]
        found += [
            _union([self.of_parameter(part, depth) for part in _parts(schema, word)]) for word in ("anyOf", "oneOf")
        ]
        return _intersection(found)

    def _of_value(self, schema: dict[str, Any], depth: int) -> _Types:
        found = [_declared(schema), self.of_value(self._referenced(schema), depth)]
        found += [self.of_value(part, depth) for part in _parts(schema, "allOf")]
        for word in ("anyOf", "oneOf"):
            every = [self.of_value(part, depth) for part in _parts(schema, word)]
            found.append(None if None in every else _union(every))
        return _intersection(found)

    def _referenced(self, schema: dict[str, Any]) -> object:
        """Return the target of a reference within the document; None without one."""
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        target: object = self._root
        for step in reference[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or key not in target:
                return None
            target = target[key]
        return target


def _declared(schema: dict[str, Any]) -> _Types:
    found: list[_Types] = []
    declared = schema.get("type")
    names = [declared] if isinstance(declared, str) else declared
    if isinstance(names, list):
        found.append(frozenset(_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES))
    if isinstance(schema.get("enum"), list):
        found.append(frozenset(map(json_type, schema["enum"])))
    if "const" in schema:
        found.append(frozenset({json_type(schema["const"])}))
    return _intersection(found)


def _parts(schema: dict[str, Any], word: str) -> list[object]:
    parts = schema.get(word)
    return parts if isinstance(parts, list) else []


def _union(found: list[_Types]) -> _Types:
    known = [types for types in found if types is not None]
    return frozenset().union(*known) if known else None


def _intersection(found: list[_Types]) -> _Types:
    known = [types for types in found if types is not None]
    return frozenset.intersection(*known) if known else None
