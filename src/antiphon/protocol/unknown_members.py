"""Removes members that a type does not declare from decoded JSON, by a walk over both.

msgspec rejects the first unknown member of a body. This walk runs only after that.
"""

from collections.abc import Callable
from typing import Any

from msgspec import inspect

from antiphon.protocol import validation
from antiphon.protocol.diagnosis import type_of

Removes = Callable[[str, str, object], bool]
"""Returns whether an unknown member is to be removed: gets the path of its object, its key and its value."""


def is_null(_path: str, _key: str, member: object) -> bool:
    """Return whether the member is null: it asks for nothing."""
    return member is None


def remove_unknown(model: Any, value: object, removes: Removes) -> None:  # noqa: ANN401 (a type)
    """Remove the unknown members that ``removes`` accepts from ``value``, in place."""
    _remove(type_of(model), value, "", removes)


def _remove(node: inspect.Type, value: object, path: str, removes: Removes) -> None:
    match _matching(node, value), value:
        case inspect.StructType() as struct, dict():
            _remove_members(struct, value, path, removes)
        case inspect.ListType(item_type=item_type), list():
            for index, item in enumerate(value):
                _remove(item_type, item, f"{path}[{index}]", removes)


def _matching(node: inspect.Type, value: object) -> inspect.Type:
    """Return the member of a union that ``value`` belongs to by its JSON type and its tag."""
    members = node.types if isinstance(node, inspect.UnionType) else (node,)
    if not isinstance(value, dict):
        return next((member for member in members if isinstance(member, inspect.ListType)), node)
    structs = [member for member in members if isinstance(member, inspect.StructType)]
    return next((struct for struct in structs if _has_tag(struct, value)), node)


def _has_tag(struct: inspect.StructType, value: dict[str, object]) -> bool:
    return struct.tag_field is None or value.get(struct.tag_field) == struct.tag


def _remove_members(struct: inspect.StructType, value: dict[str, object], path: str, removes: Removes) -> None:
    fields = {field.encode_name: field.type for field in struct.fields}
    for key, member in list(value.items()):
        if key in fields:
            if isinstance(member, dict | list):
                _remove(fields[key], member, validation.join(path, key), removes)
        elif key != struct.tag_field and removes(path, key, member):
            del value[key]
