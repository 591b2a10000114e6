"""Reads schemas from bytes, of the kinds that once had unbounded compile times.

They have many constants, large multiples, many optional properties, and nested ``not``, ``oneOf``, ``anyOf``, ``if``.
"""

from collections.abc import Callable
from typing import Any, Final

MAX_DEPTH: Final = 5
"""Levels of nested schemas."""
_PATTERNS: Final = ("^a", "b{2,9}", "(a|b)*c", "^[^x]{0,99}$", "(a|b){9999}", "^(a{7})*$", "^(a{11})*$")
_TYPES: Final = ("null", "boolean", "integer", "number", "string", "array", "object")

Schema = dict[str, Any] | bool


def schema_of(data: bytes) -> Schema:
    """Read a schema from any bytes."""
    reader = _Reader(data)
    root = reader.schema(0)
    definitions = {name: reader.schema(1) for name in "ab"}
    return {**root, "$defs": definitions} if isinstance(root, dict) else root


class _Reader:
    """Reads choices from bytes, with zeros after their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def _number(self, size: int) -> int:
        return int.from_bytes(bytes(self._byte() for _ in range(size)), "big")

    def schema(self, depth: int) -> Schema:
        """Read a schema at this level of nesting."""
        leaves: tuple[Callable[[], Schema], ...] = (
            self._anything,
            self._constants,
            self._whole,
            self._decimal,
            self._string,
            self._reference,
        )
        nests: tuple[Callable[[int], Schema], ...] = (
            self._negation,
            self._alternatives,
            self._condition,
            self._object,
            self._array,
            self._constant_options,
        )
        choice = self._byte() % (len(leaves) + len(nests))
        if choice < len(leaves) or depth >= MAX_DEPTH:
            return leaves[choice % len(leaves)]()
        return nests[choice - len(leaves)](depth + 1)

    def _anything(self) -> Schema:
        choice = self._byte()
        return bool(choice & 1) if choice < len(_TYPES) else {"type": _TYPES[choice % len(_TYPES)]}

    def _value(self, kind: int, index: int) -> Any:  # noqa: ANN401 (JSON)
        values = (index, f"w{index}", index / 4, {"a": index}, [index], None, index % 2 == 0, {"a": [index], "b": "x"})
        return values[kind % len(values)] if kind < len(values) else values[index % len(values)]

    def _values(self) -> list[Any]:
        kind, first, count = self._byte() % 10, self._byte(), 1 + 4 * self._byte()
        return [self._value(kind, first + index) for index in range(count)]

    def _constants(self) -> Schema:
        return {"enum": self._values()}

    def _constant_options(self, _: int) -> Schema:
        keyword = ("anyOf", "oneOf", "allOf")[self._byte() % 3]
        return {keyword: [{"const": value} for value in self._values()]}

    def _whole(self) -> Schema:
        schema: dict[str, Any] = {"type": "integer"}
        flags = self._byte()
        if flags & 1:
            schema["multipleOf"] = 1 + self._number(1 + flags // 64)
        if flags & 2:
            schema["minimum"] = self._number(2) - 9
        if flags & 4:
            schema["exclusiveMaximum"] = self._number(3)
        return schema

    def _decimal(self) -> Schema:
        digits = self._byte() % 12
        return {"type": "number", "multipleOf": (1 + self._number(2)) / 10**digits, "maximum": self._byte() / 8}

    def _string(self) -> Schema:
        schema: dict[str, Any] = {"type": "string"}
        flags = self._byte()
        if flags & 1:
            schema["pattern"] = _PATTERNS[self._byte() % len(_PATTERNS)]
        if flags & 2:
            schema["minLength"] = self._number(2)
        if flags & 4:
            schema["maxLength"] = self._number(2)
        return schema

    def _reference(self) -> Schema:
        return {"$ref": ("#", "#/$defs/a", "#/$defs/b")[self._byte() % 3]}

    def _negation(self, depth: int) -> Schema:
        rest = self.schema(depth)
        return {**(rest if isinstance(rest, dict) else {}), "not": self.schema(depth)}

    def _alternatives(self, depth: int) -> Schema:
        choice = self._byte()
        return {("anyOf", "oneOf", "allOf")[choice % 3]: [self.schema(depth) for _ in range(1 + choice // 48)]}

    def _condition(self, depth: int) -> Schema:
        return {keyword: self.schema(depth) for keyword in ("if", "then", "else")}

    def _object(self, depth: int) -> Schema:
        flags, count = self._byte(), 2 * self._byte()
        names = [f"{'pq'[flags // 128]}{index}" for index in range(count)]
        kinds = [self.schema(MAX_DEPTH) for _ in range(2)]
        schema: dict[str, Any] = {"type": "object", "properties": {n: kinds[i % 2] for i, n in enumerate(names)}}
        if flags & 1:
            schema["required"] = names[:: 1 + self._byte()]
        if flags & 2:
            schema["additionalProperties"] = self.schema(depth)
        if flags & 4:
            schema["minProperties"] = self._byte()
        if flags & 8:
            schema["maxProperties"] = self._byte()
        if flags & 16:
            schema["patternProperties"] = {_PATTERNS[self._byte() % len(_PATTERNS)]: self.schema(depth)}
        return schema

    def _array(self, depth: int) -> Schema:
        flags = self._byte()
        schema: dict[str, Any] = {"type": "array", "items": self.schema(depth)}
        if flags & 1:
            schema["prefixItems"] = [self.schema(MAX_DEPTH)] * (1 + self._byte())
        if flags & 2:
            schema["contains"] = self.schema(depth)
        if flags & 4:
            schema["maxItems"] = self._byte()
        schema["uniqueItems"] = bool(flags & 8)
        return schema
