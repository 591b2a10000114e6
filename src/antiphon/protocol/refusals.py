"""Refuses by name what the table of fields says this server does not honour yet."""

from functools import cache

import msgspec

from antiphon.protocol.field import Field
from antiphon.protocol.fields import fields_of
from antiphon.protocol.validation import unsupported_parameter


class _Name(msgspec.Struct, frozen=True):
    """One step of a field's path."""

    name: str
    each: bool
    """It stands for the elements of an array, of which what is no array (text as content) has none."""


def refuse_unsupported(request: msgspec.Struct) -> None:
    """Raise InvalidRequestError for the first refused field, in the table's order, whose value asks for something.

    ``request`` is the decoded request: absent and null fields are None.
    """
    if not _mentions(request, _branches()):
        return
    for field, names in _searches():
        path = _find(request, names, field)
        if path is not None:
            raise unsupported_parameter(path.removeprefix("."), field.note)


@cache
def outermost_refused() -> tuple[Field, ...]:
    """Give the refused request fields that are not inside another one: the inner ones need no look."""
    refused = [field for field in fields_of("request") if field.status == "refused"]
    return tuple(field for field in refused if not any(_is_inside(field.path, outer.path) for outer in refused))


def _is_inside(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))


@cache
def _searches() -> tuple[tuple[Field, tuple[_Name, ...]], ...]:
    return tuple((field, tuple(map(_name, field.path.split(".")))) for field in outermost_refused())


class _Branch(msgspec.Struct, frozen=True):
    """A step that refused fields share, and what follows it; nothing where it is a field itself."""

    name: _Name
    inner: "tuple[_Branch, ...]"


@cache
def _branches() -> tuple[_Branch, ...]:
    return _grown([names for _, names in _searches()])


def _grown(paths: list[tuple[_Name, ...]]) -> tuple[_Branch, ...]:
    following: dict[_Name, list[tuple[_Name, ...]]] = {}
    for first, *rest in paths:
        following.setdefault(first, []).extend([tuple(rest)] if rest else [])
    return tuple(_Branch(name, _grown(rests)) for name, rests in following.items())


def _mentions(value: object, branches: tuple[_Branch, ...]) -> bool:
    """Whether any refused field is there: nearly every request has none, and goes through its messages once."""
    for branch in branches:
        member = getattr(value, branch.name.name, None)
        if member is None:
            continue
        if not branch.inner:
            return True
        members = [member] if not branch.name.each else member if isinstance(member, list) else ()
        for each in members:
            if _mentions(each, branch.inner):
                return True
    return False


def _name(written: str) -> _Name:
    return _Name(name=written.removesuffix("[]"), each=written.endswith("[]"))


def _find(value: object, names: tuple[_Name, ...], field: Field) -> str | None:
    """Give the path, from ``value`` on, of the first value behind ``names`` that asks for something."""
    if not names:
        return "" if _asks(value, field) else None
    attribute = names[0].name
    member = getattr(value, attribute, None)
    if member is None:
        return None
    if not names[0].each:
        rest = _find(member, names[1:], field)
        return None if rest is None else f".{attribute}{rest}"
    for index, item in enumerate(member if isinstance(member, list) else ()):
        rest = _find(item, names[1:], field)
        if rest is not None:
            return f".{attribute}[{index}]{rest}"
    return None


def _asks(value: object, field: Field) -> bool:
    return not field.idle or msgspec.to_builtins(value) not in field.idle
