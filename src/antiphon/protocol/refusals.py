"""Refuses by name what the table of fields says this server does not honour yet."""

from functools import cache

import msgspec

from antiphon.protocol.field import Field
from antiphon.protocol.fields import fields_of
from antiphon.protocol.validation import unsupported_parameter


def refuse_unsupported(request: msgspec.Struct) -> None:
    """Raise InvalidRequestError for the first refused field, in the table's order, whose value asks for something.

    ``request`` is the decoded request: absent and null fields are None.
    """
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
def _searches() -> tuple[tuple[Field, tuple[str, ...]], ...]:
    return tuple((field, tuple(field.path.split("."))) for field in outermost_refused())


def _find(value: object, names: tuple[str, ...], field: Field) -> str | None:
    """Give the path, from ``value`` on, of the first value behind ``names`` that asks for something.

    A name that ends in ``[]`` stands for the elements of an array; what is no array (text as content) has none.
    """
    if not names:
        return "" if _asks(value, field) else None
    attribute = names[0].removesuffix("[]")
    member = getattr(value, attribute, None)
    if member is None:
        return None
    if attribute == names[0]:
        rest = _find(member, names[1:], field)
        return None if rest is None else f".{attribute}{rest}"
    for index, item in enumerate(member if isinstance(member, list) else ()):
        rest = _find(item, names[1:], field)
        if rest is not None:
            return f".{attribute}[{index}]{rest}"
    return None


def _asks(value: object, field: Field) -> bool:
    return not field.idle or msgspec.to_builtins(value) not in field.idle
