"""The parameters of functions one by one, for notations that write each of them apart instead of one JSON object."""

import json
from typing import Any, Final

from msgspec import Struct

from antiphon.chat_formats.value_kinds import JSONType, parameter_types
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.rendering.lark import ANY, alternatives, excluding, quoted

JSONSchema = dict[str, Any]

_ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
     "readOnly", "writeOnly", "x-guidance"}
)  # fmt: skip
_OBJECT_KEYWORDS: Final = _ANNOTATIONS | {"type", "properties", "required", "additionalProperties"}
_STRING_KEYWORDS: Final = _ANNOTATIONS | {"type", "enum", "const", "minLength", "maxLength", "pattern", "format"}
_ROOT: Final = "root"
_MAX_REFERENCES: Final = 32


class CallableFunction(Struct, frozen=True, kw_only=True):
    """A function that the answer may call."""

    name: str
    schema: str | None
    """JSON Schema of the arguments as the grammar's compiler takes it; None: no arguments."""
    parameters: JSONSchema
    """The schema as the client gave it, by which the answer is parsed."""
    param: str
    """Where the schema stands in the request."""


class Property(Struct, frozen=True, kw_only=True):
    """One parameter."""

    key: str
    required: bool
    schema: JSONSchema
    """Of the value, references at its top followed."""
    document: str
    """The same as a JSON Schema of its own."""
    types: frozenset[JSONType]
    """JSON types of the value as far as they are declared."""
    param: str

    def check_key(self, *forbidden: str) -> None:
        """Refuse a name that would end early in this notation."""
        if not self.key or any(text in self.key for text in forbidden if text):
            reason = f"this model cannot call functions with a property named '{validation.shorten(self.key)}'."
            raise validation.invalid_value(self.param, reason)


def properties(function: CallableFunction) -> list[Property]:
    """Return the parameters in the schema's order. Raises InvalidRequestError for rules between parameters."""
    if function.schema is None:
        return []
    root = json.loads(function.schema)
    schema = _referenced(root, root)
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise _unsupported(function.param, "a schema that is no plain object")
    _check_keywords(schema, _OBJECT_KEYWORDS, function.param)
    declared = {key: value for key, value in schema.get("properties", {}).items() if value is not False}
    required = list(dict.fromkeys(schema.get("required", [])))
    others = schema.get("additionalProperties", True)
    for key in required:
        if key not in declared and others is False:
            raise _unsupported(f"{function.param}.required", f"'{validation.shorten(key)}', which 'properties' lacks,")
    members = {**declared, **{key: others for key in required if key not in declared}}
    return [_property(function, root, key, value, required=key in required) for key, value in members.items()]


def raw_string(item: Property, end: str) -> str:
    """Write the terminal expression for the text of a string parameter that cannot hold ``end``.

    ``format`` is an annotation here, as JSON Schema has it.
    """
    schema, param = item.schema, f"{item.param}.properties.{validation.shorten(item.key)}"
    _check_keywords(schema, _STRING_KEYWORDS, param)
    if "pattern" in schema:
        raise _unsupported(param, "'pattern' of a string that is written without quotes")
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return _choice([value for value in values if _fits(value, schema)], end, param)
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    body = ANY if not least and most == "" else f"/(?s:.{{{least},{most}}})/"
    return excluding(body, [end])


def _choice(values: list[str], end: str, param: str) -> str:
    usable = [value for value in values if end not in value]
    if not usable:
        raise _unsupported(param, "a string without a value that can be written")
    return alternatives([quoted(value) for value in usable])


def _fits(value: object, schema: JSONSchema) -> bool:
    return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))


def _property(
    function: CallableFunction, root: JSONSchema, key: str, schema: object, *, required: bool
) -> Property:
    found = _referenced(root, schema)
    return Property(
        key=key,
        required=required,
        schema=found if isinstance(found, dict) else {},
        document=_document(root, schema),
        types=parameter_types(function.parameters, key),
        param=function.param,
    )


def _document(root: JSONSchema, schema: object) -> str:
    """Return the value's schema as a document; what it refers to is the whole root, moved into its definitions."""
    body = schema if isinstance(schema, dict) else {}
    if '"$ref"' in json.dumps(body):
        body = {**_moved(body), "$defs": {_ROOT: _moved(root)}}
    if "x-guidance" in root:
        body = {**body, "x-guidance": root["x-guidance"]}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _moved(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return a schema whose references point into the moved root."""
    if isinstance(value, list):
        return [_moved(member) for member in value]
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(member) for key, member in value.items()}
    if isinstance(value.get("$ref"), str) and value["$ref"].startswith("#"):
        moved["$ref"] = f"#/$defs/{_ROOT}{value['$ref'][1:]}"
    return moved


def _referenced(root: JSONSchema, schema: object) -> object:
    """Follow references at the top of ``schema``."""
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, dict) or not isinstance(reference := schema.get("$ref"), str):
            return schema
        target: Any = root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if isinstance(target, dict) else None
        others = {key: value for key, value in schema.items() if key not in _ANNOTATIONS | {"$ref"}}
        schema = {**target, **others} if isinstance(target, dict) else target
    return schema


def _check_keywords(schema: JSONSchema, known: frozenset[str], param: str) -> None:
    for keyword in schema:
        if keyword not in known:
            raise _unsupported(param, f"'{validation.shorten(keyword)}' at this place")


def _unsupported(param: str, what: str) -> InvalidRequestError:
    reason = f"{what} cannot be enforced in the notation in which this model calls functions."
    return validation.invalid_value(param, reason)
