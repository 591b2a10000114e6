"""The paths of all fields in the official SDK's types and in this server's Structs."""

import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin

import typing_extensions
from msgspec import Struct, inspect
from pydantic import BaseModel

_WRAPPERS = (Annotated, typing_extensions.Required, typing_extensions.NotRequired)


def sdk_paths(*roots: Any) -> set[str]:  # noqa: ANN401 (type expressions)
    return {path for root in roots for path in _walk(root, "")}


def _walk(node: Any, path: str) -> Iterable[str]:  # noqa: ANN401
    while get_origin(node) in _WRAPPERS:
        node = get_args(node)[0]
    origin = get_origin(node)
    if origin in {Union, types.UnionType}:
        for member in get_args(node):
            yield from _walk(member, path)
    elif origin is not None and origin is not dict and get_args(node) and _is_sequence(origin):
        yield from _walk(get_args(node)[0], f"{path}[]")
    else:
        for name, member in _members(node).items():
            inner = f"{path}.{name}" if path else name
            yield inner
            yield from _walk(member, inner)


def _is_sequence(origin: Any) -> bool:  # noqa: ANN401
    return getattr(origin, "__name__", "") in {"list", "Iterable", "Sequence", "SequenceNotStr"}


def _members(node: Any) -> dict[str, Any]:  # noqa: ANN401
    if typing_extensions.is_typeddict(node):
        return typing_extensions.get_type_hints(node, include_extras=True)
    if isinstance(node, type) and issubclass(node, BaseModel):
        return {name: field.annotation for name, field in node.model_fields.items()}
    return {}


def struct_paths(*roots: type[Struct]) -> set[str]:
    return {path for root in roots for path in _walk_struct(inspect.type_info(root), "")}


def _walk_struct(node: inspect.Type, path: str) -> Iterable[str]:
    match node:
        case inspect.UnionType(types=members):
            for member in members:
                yield from _walk_struct(member, path)
        case inspect.ListType(item_type=item):
            yield from _walk_struct(item, f"{path}[]")
        case inspect.StructType(fields=fields, tag_field=tag):
            names = {field.encode_name: field.type for field in fields}
            if tag is not None:
                yield f"{path}.{tag}"
            for name, member in names.items():
                inner = f"{path}.{name}" if path else name
                yield inner
                yield from _walk_struct(member, inner)
