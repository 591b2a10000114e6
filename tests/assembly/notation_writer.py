"""A writer of calls in any notation, from its description, for tests of the parser."""

import json
from typing import Any

from antiphon.chat_formats.chat_format import ToolNotation

Call = tuple[str, dict[str, Any]]


def write(notation: ToolNotation, calls: list[Call]) -> str:
    """Return the section of calls as the family's template writes it."""
    texts = [_call(notation, *call) for call in calls]
    return notation.section_start + notation.separator.join(texts) + notation.section_end


def _call(notation: ToolNotation, name: str, arguments: dict[str, Any]) -> str:
    writers = {"object": _object, "named": _named, "xml": _xml, "pythonic": _pythonic}
    return notation.call_start + writers[notation.shape](notation, name, arguments) + notation.call_end


def _object(notation: ToolNotation, name: str, arguments: dict[str, Any]) -> str:
    call = {notation.name_key: name, notation.arguments_key: arguments}
    if notation.call_id:
        own = {notation.call_id.text: "123456789"}
        call = {**own, **call} if notation.call_id.before_name else {**call, **own}
    return json.dumps(call, ensure_ascii=False)


def _head(notation: ToolNotation, name: str) -> str:
    call_id = notation.call_id
    if call_id is None:
        return name + notation.name_end
    parts = ("123456789", call_id.text, name) if call_id.before_name else (name, call_id.text, "123456789")
    return "".join(parts) + notation.name_end


def _named(notation: ToolNotation, name: str, arguments: dict[str, Any]) -> str:
    return _head(notation, name) + json.dumps(arguments, ensure_ascii=False)


def _xml(notation: ToolNotation, name: str, arguments: dict[str, Any]) -> str:
    tags = notation.parameters
    assert tags is not None
    text = _head(notation, name)
    for key, value in arguments.items():
        name_end = tags.name_end if isinstance(value, str) or not tags.json_name_ends else tags.json_name_ends[0]
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text += tags.start + key + name_end + written + tags.end.replace("{key}", key)
    return text


def _pythonic(notation: ToolNotation, name: str, arguments: dict[str, Any]) -> str:
    values = [key + notation.key_end + _literal(notation, value) for key, value in arguments.items()]
    return _head(notation, name) + notation.value_separator.join(values)


def _literal(notation: ToolNotation, value: object) -> str:
    if isinstance(value, str):
        return notation.quote + value + notation.quote if notation.quote else repr(value)
    if isinstance(value, list):
        return "[" + notation.value_separator.join(_literal(notation, item) for item in value) + "]"
    if isinstance(value, dict):
        items = [f"{_literal(notation, key)}:{_literal(notation, item)}" for key, item in value.items()]
        return "{" + notation.value_separator.join(items) + "}"
    return repr(value) if not notation.quote else json.dumps(value)
