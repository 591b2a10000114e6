"""The parameters of a function one by one, for notations that write each separately instead of one JSON object.

The schemas are compiled by :mod:`antiphon.constraints.json_schema`: few keywords, and alternatives instead of others.
"""

import json
import re
from typing import Any, Final

import llguidance
from msgspec import Struct

from antiphon.chat_formats.value_kinds import JSONType, parameter_types
from antiphon.constraints.lark import ANY, alternatives, excluding, quoted
from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation

JSONSchema = dict[str, Any]

_REGEX_ITEM: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|.", re.DOTALL)


class CallableFunction(Struct, frozen=True, kw_only=True):
    """A function that the answer may call."""

    name: str
    schema: str | None
    """Compiled JSON Schema of the arguments; None for no arguments."""
    parameters: JSONSchema
    """The client's schema, with which the answer is parsed."""
    param: str
    """The path of the schema in the request."""


class Property(Struct, frozen=True, kw_only=True):
    """One parameter of a function."""

    key: str
    required: bool
    document: str
    """The schema of the value, as a whole document."""
    texts: tuple[JSONSchema, ...]
    """The string schemas of the value; a string satisfies one of them."""
    types: frozenset[JSONType]
    """The JSON types that the client declares for the value."""
    param: str

    def check_key(self, *forbidden: str) -> None:
        """Refuse a name that a parser would misread. Raises InvalidRequestError."""
        if self.key != self.key.strip() or not self.key or any(text in self.key for text in forbidden):
            raise _unsupported(self.param, f"a property named '{validation.shorten(self.key)}'")


def parameter_lists(function: CallableFunction) -> list[list[Property]]:
    """Return the alternative lists of parameters, each in the schema's order, without unnamed parameters.

    Raises InvalidRequestError if every list requires unnamed parameters.
    """
    if function.schema is None:
        return [[]]
    root = json.loads(function.schema)
    lists = [_properties(function, root, schema) for schema in _options(root, root) if _is_writable(schema)]
    if not lists:
        raise _unsupported(function.param, "a number of properties")
    return lists


def raw_string(item: Property, end: str) -> str:
    """Return the terminal expression of a string parameter's text, which cannot contain ``end``."""
    expressions = [_text(schema, end, item.param) for schema in item.texts]
    known = [expression for expression in expressions if expression]
    if not known:
        raise _unsupported(item.param, f"the string '{validation.shorten(item.key)}'")
    return alternatives([f"({one})" for one in known] if len(known) > 1 else known)


def _properties(function: CallableFunction, root: JSONSchema, schema: JSONSchema) -> list[Property]:
    declared = {key: value for key, value in schema.get("properties", {}).items() if value is not False}
    required = schema.get("required", [])
    others = schema.get("additionalProperties", {})
    members = {**declared, **{key: others for key in required if key not in declared}}
    return [
        Property(
            key=key,
            required=key in required,
            document=_document(root, value),
            texts=tuple(option for option in _options(root, value) if _is_text(option)),
            types=parameter_types(function.parameters, key),
            param=function.param,
        )
        for key, value in members.items()
    ]


def _is_writable(schema: JSONSchema) -> bool:
    """Return whether the schema admits every choice of the optional named parameters."""
    named = sum(value is not False for value in schema.get("properties", {}).values())
    fewest, most = schema.get("minProperties", 0), schema.get("maxProperties", named)
    return schema.get("type") == "object" and fewest <= len(schema.get("required", [])) and named <= most


def _document(root: JSONSchema, schema: JSONSchema) -> str:
    shared = {"$defs": root["$defs"]} if '"$ref"' in json.dumps(schema) else {}
    body = {"x-guidance": root.get("x-guidance", {}), **schema, **shared}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _options(root: JSONSchema, schema: JSONSchema) -> list[JSONSchema]:
    """Return the alternatives of a schema, with references resolved."""
    if "$ref" in schema:
        return _options(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
    return [option for part in schema["anyOf"] for option in _options(root, part)] if "anyOf" in schema else [schema]


def _is_text(schema: JSONSchema) -> bool:
    values = schema.get("enum")
    return isinstance(values[0], str) if values else schema.get("type", "string") == "string" and "const" not in schema


def _text(schema: JSONSchema, end: str, param: str) -> str:
    """Return the terminal expression of one alternative, or an empty text if none of its texts can be written."""
    if "enum" in schema:
        usable = [value for value in schema["enum"] if end not in value]
        return alternatives([quoted(value) for value in usable]) if usable else ""
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    expressions = [f"/(?s:.{{{least},{most}}})/"] if least or most != "" else []
    patterns = [part["pattern"] for part in (schema, *schema.get("allOf", ())) if "pattern" in part]
    expressions += [_full_match(pattern, param) for pattern in patterns]
    return excluding(" & ".join(expressions or [ANY]), [end])


def _full_match(pattern: str, param: str) -> str:
    """Return the regular expression of the whole texts that an unanchored pattern matches.

    Raises InvalidRequestError for an anchor that is not at an end of an alternative.
    """
    branches: list[list[str]] = [[]]
    depth = 0
    for match in _REGEX_ITEM.finditer(pattern):
        item = match[0]
        depth += item in {"(", "(?:"}
        depth -= item == ")"
        if item == "|" and depth == 0:
            branches.append([])
        else:
            branches[-1].append(item)
    regex = "|".join(_full_branch(branch, param) for branch in branches)
    return f"/{llguidance.regex_to_lark(regex, '')}/"


def _full_branch(branch: list[str], param: str) -> str:
    before, after = ("" if branch[:1] == ["^"] else "(?s:.*)"), ("" if branch[-1:] == ["$"] else "(?s:.*)")
    inner = branch[0 if before else 1 : None if after else -1]
    if "^" in inner or "$" in inner:
        raise _unsupported(param, "'pattern' with an anchor inside")
    return before + "(?:" + "".join(inner) + ")" + after


def _unsupported(param: str, construct: str) -> InvalidRequestError:
    reason = f"{construct} cannot be enforced in the notation in which this model calls functions."
    return validation.invalid_value(param, reason)
