"""The rows of the table of fields."""

from typing import Any, Literal

from msgspec import Struct

Side = Literal["request", "response"]
Status = Literal["honoured", "refused", "redundant"]
Owner = tuple[str, str]
"""A module that implements a field, and its test file."""


class Field(Struct, frozen=True, kw_only=True):
    """A field of the reference or an extension of it.

    A request with a refused field gets status 400. A refused response field is never sent, because every request that
    needs it is refused. A redundant field repeats another one: clients' libraries add it to an answer and send it back.
    """

    path: str
    """The names joined by dots; ``[]`` stands for every element of an array."""
    side: Side
    status: Status
    module: str
    test: str
    note: str = ""
    """For a refused request field: the missing capability, as the error's message names it."""
    extension: bool = False
    """Whether the reference lacks the field."""
    origin: str = ""
    """The servers whose documentation defines an extension; empty if this server does."""
    idle: tuple[Any, ...] = ()
    """JSON values of a refused request field that are accepted, because they request nothing."""


class Row(Struct, frozen=True, kw_only=True):
    """A field and its nested fields with the same status, module and test; other nested fields have their own rows."""

    field: Field
    nested: tuple[str, ...] = ()
    """Suffixes of the field's path, for example ``[].name``."""


_TOLERANCE: Owner = ("antiphon.protocol.tolerance", "tests/protocol/test_tolerance.py")
_REFUSALS: Owner = ("antiphon.protocol.refusals", "tests/protocol/test_refusals.py")


def honoured(
    path: str, owner: Owner, note: str = "", *, nested: tuple[str, ...] = (), extension: bool = False, origin: str = ""
) -> Row:
    """Make the row of a request field that does what the reference, or the server named as ``origin``, says."""
    module, test = owner
    field = Field(
        path=path,
        side="request",
        status="honoured",
        module=module,
        test=test,
        note=note,
        extension=extension or bool(origin),
        origin=origin,
    )
    return Row(field=field, nested=nested)


def refused(
    path: str, capability: str, *, nested: tuple[str, ...] = (), idle: tuple[Any, ...] = (), origin: str = ""
) -> Row:
    """Make the row of a request field that is answered with 400, unless its value is in ``idle``."""
    module, test = _REFUSALS
    field = Field(
        path=path,
        side="request",
        status="refused",
        module=module,
        test=test,
        note=capability,
        extension=bool(origin),
        origin=origin,
        idle=idle,
    )
    return Row(field=field, nested=nested)


def expand(rows: tuple[Row, ...]) -> tuple[Field, ...]:
    """Return each row's field, followed by its nested fields."""
    fields: list[Field] = []
    for row in rows:
        fields.append(row.field)
        fields += [_inside(row.field, suffix) for suffix in row.nested]
    return tuple(fields)


def _inside(field: Field, suffix: str) -> Field:
    return Field(
        path=field.path + suffix,
        side=field.side,
        status=field.status,
        module=field.module,
        test=field.test,
        extension=field.extension,
        origin=field.origin,
    )


def redundant(path: str, note: str) -> Row:
    """Make the row of an extension that says nothing new; the decoder removes it."""
    module, test = _TOLERANCE
    field = Field(path=path, side="request", status="redundant", module=module, test=test, note=note, extension=True)
    return Row(field=field)
