"""Why a JSON value is not of a type: a walk over type and value together that stops at the first error.

msgspec's own messages leave out what clients need (the values of an enum, the key of a map, what was found) and quote
the client's text unescaped, so that they cannot be taken apart safely. Decoding stays msgspec's; this walk runs only
when it has failed. Members are visited in the order of the document; what is missing comes last, as in msgspec.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, singledispatch

from msgspec import inspect

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation

_TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


@cache
def _type_of(model: type) -> inspect.Type:
    return inspect.type_info(model)


def diagnose(model: type, value: object) -> InvalidRequestError | None:
    """Find the first reason why ``value`` (JSON as Python holds it) is no ``model``; None when there is none."""
    return _check(_type_of(model), value, "")


def _first(errors: Iterable[InvalidRequestError | None]) -> InvalidRequestError | None:
    return next((error for error in errors if error is not None), None)


@singledispatch
def _check(node: inspect.Type, value: object, path: str) -> InvalidRequestError | None:
    """Any other type of the inspection (in this protocol: Any) takes every value."""
    del node, value, path
    return None


def _wrong_type(node: inspect.Type, value: object, path: str) -> InvalidRequestError:
    return validation.invalid_type(path, _describe(node), _TYPE_NAMES[type(value)])


def _admits(node: inspect.Type, value: object) -> bool:
    """Whether ``value`` is of the JSON type of ``node``, whatever it holds."""
    match node:
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.StrType() | inspect.LiteralType():
            return isinstance(value, str)
        case inspect.ListType():
            return isinstance(value, list)
        case inspect.DictType() | inspect.StructType():
            return isinstance(value, dict)
        case _:
            return True


def _noun(node: inspect.Type) -> str:
    match node:
        case inspect.BoolType():
            return "boolean"
        case inspect.IntType():
            return "integer"
        case inspect.FloatType():
            return "decimal"
        case inspect.StrType() | inspect.LiteralType():
            return "string"
        case inspect.ListType(item_type=item):
            return f"array of {' or '.join(f'{noun}s' for noun in _nouns(item))}"
        case _:
            return "object"


def _nouns(node: inspect.Type) -> list[str]:
    """Name what ``node`` takes, each once; null goes without saying."""
    members = node.types if isinstance(node, inspect.UnionType) else (node,)
    return list(dict.fromkeys(_noun(member) for member in members if not isinstance(member, inspect.NoneType)))


def _describe(node: inspect.Type) -> str:
    first, *others = _nouns(node)
    article = "an" if first[0] in "aio" else "a"
    described = " or ".join([f"{article} {first}", *others])
    return f"one of {described}" if others else described


@_check.register
def _(node: inspect.UnionType, value: object, path: str) -> InvalidRequestError | None:
    members = [member for member in node.types if _admits(member, value)]
    structs = [member for member in members if isinstance(member, inspect.StructType)]
    if len(structs) > 1 and isinstance(value, dict):
        return _check_tagged(structs, value, path)
    if not members:
        return _wrong_type(node, value, path)
    return _check(members[0], value, path)


def _check_tagged(
    structs: list[inspect.StructType], value: dict[str, object], path: str
) -> InvalidRequestError | None:
    tag_field = structs[0].tag_field
    assert tag_field is not None, f"{path}: a union of Structs without a tag field"
    by_tag = {str(struct.tag): struct for struct in structs}
    tag_path = validation.join(path, tag_field)
    if tag_field not in value:
        return validation.missing_required_parameter(tag_path)
    tag = value[tag_field]
    if not isinstance(tag, str):
        return validation.invalid_type(tag_path, "a string", _TYPE_NAMES[type(tag)])
    if tag not in by_tag:
        return validation.unsupported_value(tag_path, tag, list(by_tag))
    return _check(by_tag[tag], value, path)


@_check.register
def _(node: inspect.StructType, value: object, path: str) -> InvalidRequestError | None:
    if not isinstance(value, dict):
        return _wrong_type(node, value, path)
    return _first(_check_members(node, value, path)) or _first(
        validation.missing_required_parameter(validation.join(path, field.encode_name))
        for field in node.fields
        if field.required and field.encode_name not in value
    )


def _check_members(
    node: inspect.StructType, value: dict[str, object], path: str
) -> Iterator[InvalidRequestError | None]:
    fields = {field.encode_name: field.type for field in node.fields}
    for key, member in value.items():
        member_path = validation.join(path, key)
        if key in fields:
            yield _check(fields[key], member, member_path)
        elif key == node.tag_field:
            yield _check_tag(node, member, member_path)
        elif node.forbid_unknown_fields:
            yield validation.unknown_parameter(member_path)


def _check_tag(node: inspect.StructType, tag: object, path: str) -> InvalidRequestError | None:
    if not isinstance(tag, str):
        return validation.invalid_type(path, "a string", _TYPE_NAMES[type(tag)])
    return None if tag == node.tag else validation.unsupported_value(path, tag, [str(node.tag)])


@_check.register
def _(node: inspect.ListType, value: object, path: str) -> InvalidRequestError | None:
    if not isinstance(value, list):
        return _wrong_type(node, value, path)
    if node.min_length and not value:
        return validation.empty(path, "array")
    if node.max_length is not None and len(value) > node.max_length:
        return validation.too_long(path, "array", node.max_length, len(value))
    return _first(_check(node.item_type, item, f"{path}[{index}]") for index, item in enumerate(value))


@_check.register
def _(node: inspect.DictType, value: object, path: str) -> InvalidRequestError | None:
    if not isinstance(value, dict):
        return _wrong_type(node, value, path)
    if node.max_length is not None and len(value) > node.max_length:
        return validation.too_many_properties(path, node.max_length, len(value))
    return _first(
        _check_key(node.key_type, key, path) or _check(node.value_type, member, validation.join(path, key))
        for key, member in value.items()
    )


def _check_key(node: inspect.Type, key: str, path: str) -> InvalidRequestError | None:
    error = _check(node, key, path)
    if error is None or not isinstance(node, inspect.StrType):
        return error
    limit = f"at most {node.max_length} characters" if node.max_length else f"a match of '{node.pattern}'"
    return validation.invalid_key(path, key, f"Expected {limit}.")


@_check.register
def _(node: inspect.StrType, value: object, path: str) -> InvalidRequestError | None:
    if not isinstance(value, str):
        return _wrong_type(node, value, path)
    if node.min_length and not value:
        return validation.empty(path, "string")
    if node.max_length is not None and len(value) > node.max_length:
        return validation.too_long(path, "string", node.max_length, len(value))
    if node.pattern is not None and re.search(node.pattern, value) is None:
        return validation.pattern_mismatch(path, node.pattern)
    return None


@_check.register
def _(node: inspect.LiteralType, value: object, path: str) -> InvalidRequestError | None:
    if not isinstance(value, str):
        return _wrong_type(node, value, path)
    values = [str(allowed) for allowed in node.values]
    return None if value in values else validation.unsupported_value(path, value, values)


@_check.register
def _(node: inspect.BoolType, value: object, path: str) -> InvalidRequestError | None:
    return None if isinstance(value, bool) else _wrong_type(node, value, path)


@_check.register
def _(node: inspect.NoneType, value: object, path: str) -> InvalidRequestError | None:
    return None if value is None else validation.invalid_type(path, "null", _TYPE_NAMES[type(value)])


@_check.register(inspect.IntType)
@_check.register(inspect.FloatType)
def _(node: inspect.IntType | inspect.FloatType, value: object, path: str) -> InvalidRequestError | None:
    if not _admits(node, value) or not isinstance(value, int | float):
        return _wrong_type(node, value, path)
    kind = "integer" if isinstance(node, inspect.IntType) else "decimal"
    bounds = (
        (node.le, "<=", lambda bound: value > bound),
        (node.lt, "<", lambda bound: value >= bound),
        (node.ge, ">=", lambda bound: value < bound),
        (node.gt, ">", lambda bound: value <= bound),
    )
    return _first(
        validation.out_of_range(path, kind, relation, bound, value)
        for bound, relation, broken in bounds
        if bound is not None and broken(bound)
    )
