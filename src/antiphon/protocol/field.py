"""One row of the table of fields."""

from typing import Any, Literal

from msgspec import Struct

Side = Literal["request", "response"]
Status = Literal["honoured", "refused"]
Owner = tuple[str, str]
"""A module and the test file that proves what it does."""


class Field(Struct, frozen=True, kw_only=True):
    """A field of the reference or an extension of it.

    A refused request field is answered with 400; a refused response field is never sent, as nothing that asks for it
    is accepted.
    """

    path: str
    """Dotted; ``[]`` stands for every element of an array."""
    side: Side
    status: Status
    module: str
    test: str
    note: str = ""
    """For a refused request field: the capability that it asks for, as the error's message names it."""
    extension: bool = False
    """Not in the reference."""
    idle: tuple[Any, ...] = ()
    """JSON values of a refused request field that ask for nothing and pass."""


class Row(Struct, frozen=True, kw_only=True):
    """A field and the fields inside it, which share its status, module and test unless they have a row of their own."""

    field: Field
    nested: tuple[str, ...] = ()
    """What follows the field's path, as in ``[].name``."""


def expand(rows: tuple[Row, ...]) -> tuple[Field, ...]:
    """Give every row's field followed by the fields inside it."""
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
    )
