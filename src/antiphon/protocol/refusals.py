"""Refuses requests with a field that the table of fields lists as refused."""

from functools import cache

import msgspec

from antiphon.protocol.combined_errors import combined
from antiphon.protocol.field import Field
from antiphon.protocol.fields import fields_of
from antiphon.protocol.validation import unsupported_parameter


class _Name(msgspec.Struct, frozen=True):
    """One step of a field's path."""

    name: str
    is_array: bool
    """The name stands for the elements of an array. A value that is no array, such as text as content, has none."""


def refuse_unsupported(request: msgspec.Struct) -> None:
    """Raise InvalidRequestError for the refused fields without an accepted value, in the table's order.

    ``request`` is the decoded request: absent and null fields are None.
    """
    if not _has_refused_field(request, _refused_tree()):
        return
    found = ((_find(request, names, field), field.note) for field, names in _refused_paths())
    error = combined(unsupported_parameter(path.removeprefix("."), note) for path, note in found if path is not None)
    if error is not None:
        raise error


@cache
def outermost_refused() -> tuple[Field, ...]:
    """Return the refused request fields that are not nested in another refused field."""
    refused = [field for field in fields_of("request") if field.status == "refused"]
    return tuple(field for field in refused if not any(_is_inside(field.path, outer.path) for outer in refused))


def _is_inside(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))


@cache
def _refused_paths() -> tuple[tuple[Field, tuple[_Name, ...]], ...]:
    return tuple((field, tuple(map(_name, field.path.split(".")))) for field in outermost_refused())


class _Branch(msgspec.Struct, frozen=True):
    """A step of the paths of refused fields, and the steps after it; none if the path ends here."""

    name: _Name
    inner: "tuple[_Branch, ...]"


@cache
def _refused_tree() -> tuple[_Branch, ...]:
    return _tree([names for _, names in _refused_paths()])


def _tree(paths: list[tuple[_Name, ...]]) -> tuple[_Branch, ...]:
    following: dict[_Name, list[tuple[_Name, ...]]] = {}
    for first, *rest in paths:
        following.setdefault(first, []).extend([tuple(rest)] if rest else [])
    return tuple(_Branch(name, _tree(rests)) for name, rests in following.items())


def _has_refused_field(value: object, tree: tuple[_Branch, ...]) -> bool:
    """Return whether a refused field is set. One walk over the messages suffices for the usual request without any."""
    for branch in tree:
        member = getattr(value, branch.name.name, None)
        if member is None:
            continue
        if not branch.inner:
            return True
        members = [member] if not branch.name.is_array else member if isinstance(member, list) else ()
        for each in members:
            if _has_refused_field(each, branch.inner):
                return True
    return False


def _name(written: str) -> _Name:
    return _Name(name=written.removesuffix("[]"), is_array=written.endswith("[]"))


def _find(value: object, names: tuple[_Name, ...], field: Field) -> str | None:
    """Return the path, relative to ``value``, of the first refused value at ``names``; None without one."""
    if not names:
        return "" if _is_refused_value(value, field) else None
    attribute = names[0].name
    member = getattr(value, attribute, None)
    if member is None:
        return None
    if not names[0].is_array:
        rest = _find(member, names[1:], field)
        return None if rest is None else f".{attribute}{rest}"
    for index, item in enumerate(member if isinstance(member, list) else ()):
        rest = _find(item, names[1:], field)
        if rest is not None:
            return f".{attribute}[{index}]{rest}"
    return None


def _is_refused_value(value: object, field: Field) -> bool:
    return not field.idle or msgspec.to_builtins(value) not in field.idle
