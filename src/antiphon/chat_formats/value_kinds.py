"""How the text of a parameter is to be read where a notation does not say it (shape ``xml``): by the tool's schema.

- ``string``: the text itself is the value.
- ``json``: the text is JSON.
- ``either``: the schema admits strings and other values. JSON is read as JSON, a quoted string as well; what is no JSON
  of an admitted type is a string. So a grammar that writes such a value as JSON is always read as it meant it.
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
"""Of references and combinations that are followed; a schema that goes deeper says nothing about the type."""


def json_type(value: object) -> JSONType:
    """Return the JSON type of a decoded value; an integer is a number."""
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
    """Return the JSON types that the schema of a tool's parameters admits for one of them; empty: it does not say."""
    return _Reader(parameters, name).of_parameter(parameters, 0) or frozenset()


def value_kind(types: frozenset[JSONType]) -> ValueKind:
    """Return how a value of one of these types is read. A type that nobody declared is a string."""
    if types <= {"string"}:
        return "string"
    return "either" if "string" in types else "json"


_Types = frozenset[JSONType] | None
"""None: a schema does not say."""


class _Reader:
    """Reads one schema for one name. Every subschema is read once, so that the work is linear in the schema."""

    def __init__(self, root: dict[str, Any], name: str) -> None:
        self._root = root
        self._name = name
        self._known: dict[tuple[str, int], _Types] = {}

    def of_parameter(self, schema: object, depth: int) -> _Types:
        """Return what the object's schema says of the property."""
        return self._once("parameter", schema, depth, self._of_parameter)

    def of_value(self, schema: object, depth: int) -> _Types:
        """Return what a value's schema says of it."""
        return self._once("value", schema, depth, self._of_value)

    def _once(self, what: str, schema: object, depth: int, read: Callable[[dict[str, Any], int], _Types]) -> _Types:
        key = (what, id(schema))
        if depth > _MAX_DEPTH or not isinstance(schema, dict):
            return None
        if key not in self._known:
            self._known[key] = None  # what a schema says of itself through a reference to itself
            self._known[key] = read(schema, depth + 1)
        return self._known[key]

    def _of_parameter(self, schema: dict[str, Any], depth: int) -> _Types:
        properties = schema.get("properties")
        own = schema.get("additionalProperties")
        if isinstance(properties, dict) and self._name in properties:
            own = properties[self._name]
        found = [self.of_value(own, depth), self.of_parameter(self._referenced(schema), depth)]
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
        """Return what a reference within the document names; None for any other, and for none."""
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
