"""The table of fields: the status of every field of the reference and of every extension.

It is the source of the refusals, of the documentation and of the tests against the official SDK's types and against the
effects of the honoured fields.
"""

from typing import Final

import msgspec

from antiphon.protocol.field import Field, Side, expand
from antiphon.protocol.request_fields import REQUEST_ROWS
from antiphon.protocol.response_fields import RESPONSE_ROWS

FIELDS: Final[tuple[Field, ...]] = expand(REQUEST_ROWS + RESPONSE_ROWS)

_INTRODUCTION = """\
# Fields of `POST /v1/chat/completions`

Generated from `antiphon.protocol.fields`; a test compares the table with the types of the official SDK, and
`tests/conformance/test_honoured_fields.py` shows the effect of every honoured field. `[]` stands for every element of
an array. Optional fields may be null, which means absent; an unknown field that is null is accepted, too. A refused
request field is answered with 400, `code` `unsupported_parameter` and the field as `param`, unless its value asks for
nothing.

An unknown field of the request is a 400 by name, unless `serve --ignore-field` names it. Unknown members of messages,
their parts and their calls are ignored, unless `serve --strict-messages` refuses them. Whatever is ignored is named:
the answer's header `x-antiphon-ignored` and the field `ignored` of the log line hold the paths, such as
`messages[1].sender`, separated by commas. Accepted fields repeat what another field says.
"""

_REQUEST_STATUS = {"honoured": "honoured", "refused": "**refused**", "redundant": "accepted"}
_RESPONSE_STATUS = {"honoured": "sent", "refused": "**not sent**"}


def fields_of(side: Side) -> tuple[Field, ...]:
    """Return the fields of one side, in the order of the table."""
    return tuple(field for field in FIELDS if field.side == side)


def fields_markdown() -> str:
    """Return the page about fields, in Markdown."""
    request = "\n".join(_row(field, _REQUEST_STATUS[field.status]) for field in fields_of("request"))
    response = "\n".join(_row(field, _RESPONSE_STATUS[field.status]) for field in fields_of("response"))
    return f"{_INTRODUCTION}\n{_section('Request', request)}\n{_section('Response and chunk', response)}"


def _section(title: str, rows: str) -> str:
    return f"## {title}\n\n| Field | Status | Note | Module | Test |\n| --- | --- | --- | --- | --- |\n{rows}\n"


def _row(field: Field, status: str) -> str:
    cells = (f"`{field.path}`", status, _note(field), f"`{field.module}`", f"`{field.test}`")
    return f"| {' | '.join(cells)} |"


def _note(field: Field) -> str:
    note = field.note
    if field.side == "request" and field.status == "refused" and note:
        note = f"Asks for {note}."
    if field.idle:
        note += f" Passes: {', '.join(f'`{_json(value)}`' for value in field.idle)}."
    if not field.extension:
        return note
    origin = f" ({field.origin})" if field.origin else ""
    return f"Extension{origin}. {note}".strip()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
