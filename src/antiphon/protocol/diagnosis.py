"""Finds the errors of a JSON value against a type, by a walk over both.

msgspec's messages lack facts that clients need: the values of an enum, the key of a map, the type that was found. They
also quote the client's text unescaped, so they cannot be parsed safely. msgspec decodes; this walk runs only after
msgspec has failed. It visits members in the order of the document, then missing fields, as msgspec does.
"""

import operator
import re
from collections.abc import Iterator
from functools import cache, singledispatch
from typing import Any

from msgspec import inspect

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.combined_errors import combined

_Errors = Iterator[InvalidRequestError]

_TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_ADMITTED: dict[type[inspect.Type], tuple[type, ...]] = {
    inspect.NoneType: (type(None),),
    inspect.BoolType: (bool,),
    inspect.IntType: (int,),
    inspect.FloatType: (float, int),
    inspect.StrType: (str,),
    inspect.LiteralType: (str,),
    inspect.ListType: (list,),
    inspect.DictType: (dict,),
    inspect.StructType: (dict,),
}
"""The exact Python types of JSON values: a bool is no int. All literals of requests are strings."""

_NOUNS: dict[type[inspect.Type], str] = {
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
    inspect.FloatType: "decimal",
    inspect.StrType: "string",
    inspect.LiteralType: "string",
    inspect.DictType: "object",
    inspect.StructType: "object",
}
_BOUNDS = (("le", "<=", operator.le), ("lt", "<", operator.lt), ("ge", ">=", operator.ge), ("gt", ">", operator.gt))


@cache
def type_of(model: Any) -> inspect.Type:  # noqa: ANN401 (a type, or a union of them)
    """Return the description of a type."""
    return inspect.type_info(model)


def diagnose(model: Any, value: object, path: str = "") -> InvalidRequestError | None:  # noqa: ANN401
    """Return the errors of ``value``, decoded JSON, against the type ``model``, as one; None if it is valid.

    ``path`` is the value's position in the body.
    """
    return combined(_check(type_of(model), value, path))


def _check(node: inspect.Type, value: object, path: str) -> _Errors:
    members = node.types if isinstance(node, inspect.UnionType) else (node,)
    admitting = [member for member in members if _admits(member, value)]
    structs = tuple(member for member in admitting if isinstance(member, inspect.StructType))
    if not admitting:
        yield validation.invalid_type(path, _describe(node), _TYPE_NAMES[type(value)])
    elif structs and structs[0].tag_field is not None:
        yield from _check_tagged(structs, structs[0].tag_field, value, path)
    else:
        yield from _check_content(admitting[0], value, path)


def _admits(node: inspect.Type, value: object) -> bool:
    """Return whether the JSON type of ``value`` is that of ``node``; the contents are not checked."""
    return isinstance(node, inspect.AnyType) or type(value) in _ADMITTED[type(node)]


def _nouns(node: inspect.Type) -> list[str]:
    """Return the names of the types that ``node`` accepts, each once and without null."""
    if isinstance(node, inspect.UnionType):
        members = [noun for member in node.types for noun in _nouns(member)]
        return list(dict.fromkeys(members))
    if isinstance(node, inspect.ListType):
        return [f"array of {' or '.join(f'{noun}s' for noun in _nouns(node.item_type))}"]
    return [] if isinstance(node, inspect.NoneType) else [_NOUNS[type(node)]]


def _describe(node: inspect.Type) -> str:
    first, *others = _nouns(node)
    article = "an" if first[0] in "aio" else "a"
    described = " or ".join([f"{article} {first}", *others])
    return f"one of {described}" if others else described


def _check_tagged(structs: tuple[inspect.StructType, ...], tag_field: str, value: object, path: str) -> _Errors:
    assert isinstance(value, dict), f"{path}: {type(value)} is no object"
    by_tag = {str(struct.tag): struct for struct in structs}
    tag_path = validation.join(path, tag_field)
    tag = value.get(tag_field)
    if tag_field not in value:
        yield validation.missing_required_parameter(tag_path)
    elif not isinstance(tag, str):
        yield validation.invalid_type(tag_path, "a string", _TYPE_NAMES[type(tag)])
    elif tag not in by_tag:
        yield validation.unsupported_value(tag_path, tag, list(by_tag))
    else:
        yield from _check_content(by_tag[tag], value, path)


@singledispatch
def _check_content(node: inspect.Type, value: object, path: str) -> _Errors:
    """Check the contents of a value of the right JSON type. Booleans, null and Any are always valid."""
    del node, value, path
    return iter(())


@_check_content.register
def _(node: inspect.StructType, value: dict[str, object], path: str) -> _Errors:
    fields = {field.encode_name: field.type for field in node.fields}
    for key, member in value.items():
        if key in fields:
            yield from _check(fields[key], member, validation.join(path, key))
        elif key != node.tag_field and node.forbid_unknown_fields:
            yield validation.unknown_parameter(validation.join(path, key))
    for field in node.fields:
        if field.required and field.encode_name not in value:
            yield validation.missing_required_parameter(validation.join(path, field.encode_name))


@_check_content.register
def _(node: inspect.ListType, value: list[object], path: str) -> _Errors:
    if node.min_length and not value:
        yield validation.empty(path, "array")
    if node.max_length is not None and len(value) > node.max_length:
        yield validation.too_long(path, "array", node.max_length, len(value))
        return
    for index, item in enumerate(value):
        yield from _check(node.item_type, item, f"{path}[{index}]")


@_check_content.register
def _(node: inspect.DictType, value: dict[str, object], path: str) -> _Errors:
    if node.max_length is not None and len(value) > node.max_length:
        yield validation.too_many_properties(path, node.max_length, len(value))
        return
    for key, member in value.items():
        yield from _check_key(node.key_type, key, path)
        yield from _check(node.value_type, member, validation.join(path, key))


def _check_key(node: inspect.Type, key: str, path: str) -> _Errors:
    if not isinstance(node, inspect.StrType) or next(_check(node, key, path), None) is None:
        return
    if node.max_length is not None and len(key) > node.max_length:
        yield validation.invalid_key(path, key, f"at most {node.max_length} characters", "string_above_max_length")
    else:
        pattern = validation.spell_pattern(node.pattern or "")
        yield validation.invalid_key(path, key, f"a string that matches the pattern '{pattern}'", "invalid_value")


@_check_content.register
def _(node: inspect.StrType, value: str, path: str) -> _Errors:
    if node.min_length and not value:
        yield validation.empty(path, "string")
    elif node.max_length is not None and len(value) > node.max_length:
        yield validation.too_long(path, "string", node.max_length, len(value))
    elif node.pattern is not None and re.search(node.pattern, value) is None:
        yield validation.pattern_mismatch(path, node.pattern)


@_check_content.register
def _(node: inspect.LiteralType, value: str, path: str) -> _Errors:
    values = [str(allowed) for allowed in node.values]
    if value not in values:
        yield validation.unsupported_value(path, value, values)


@_check_content.register(inspect.IntType)
@_check_content.register(inspect.FloatType)
def _(node: inspect.IntType | inspect.FloatType, value: float, path: str) -> _Errors:
    kind = "integer" if isinstance(node, inspect.IntType) else "decimal"
    for name, relation, holds in _BOUNDS:
        bound = getattr(node, name)
        if bound is not None and not holds(value, bound):
            yield validation.out_of_range(path, kind, relation, bound, value)
