"""The schemas of the OpenAPI document: the Structs of requests and answers, with the notes of the field table.

A refused field is left out of the request, and so is an object that requires one (an image part). A refused field with
neutral values (``store: false``) keeps only these values.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from antiphon.protocol import responses
from antiphon.protocol.field import Field
from antiphon.protocol.fields import fields_of
from antiphon.protocol.refusals import outermost_refused
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletion, ChatCompletionChunk

Schema = dict[str, Any]

PREFIX: Final = "#/components/schemas/"
REQUEST: Final = CreateChatCompletion.__name__
ANSWERS: Final = (ChatCompletion.__name__, ChatCompletionChunk.__name__)

NOT_ECMA: Final = r"(?!\n)"
"""The end of our patterns, because Python's ``$`` also matches before a final newline; JSON Schema's does not."""


def reference(struct: type[Struct]) -> Schema:
    """Return the reference to the schema of ``struct``."""
    return {"$ref": PREFIX + struct.__name__}


def build_schemas(roots: Iterable[type[Struct]]) -> dict[str, Schema]:
    """Return the schemas of ``roots`` and of all schemas that they refer to, by name."""
    structs = list(roots)
    _, schemas = msgspec.json.schema_components(structs, ref_template=PREFIX + "{name}")
    for schema in schemas.values():
        _tidy(schema)
    for name, answer in _answers(structs).items():
        if name in schemas:
            schemas[name]["required"] = _always_present(answer, schemas[name])
    if REQUEST in schemas:
        _cut_refused(schemas)
        _open_messages(schemas)
    _describe(schemas)
    return _reachable([reference(struct) for struct in structs], schemas)


def _tidy(schema: Schema) -> None:
    """Replace Python's markup and patterns by those of JSON Schema, in place. Unknown members may be null."""
    if schema.get("additionalProperties") is False:
        schema["additionalProperties"] = {"type": "null"}
    if "description" in schema:
        text = inspect.cleandoc(schema["description"])
        schema["description"] = re.sub(r"(:\w+:)?(`+)([^`]*)\2", r"`\3`", text)
    if "propertyNames" in schema and "pattern" in schema["propertyNames"]:
        pattern = schema["propertyNames"]["pattern"]
        schema["propertyNames"]["pattern"] = pattern.removesuffix(NOT_ECMA)
    if "pattern" in schema:
        schema["pattern"] = schema["pattern"].removesuffix(NOT_ECMA)
    for inner in _inside(schema):
        _tidy(inner)


def _inside(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("properties", {}).values()
    yield from schema.get("anyOf", ())
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _answers(roots: list[type[Struct]]) -> dict[str, type[Struct]]:
    sent = [value for _, value in inspect.getmembers(responses, inspect.isclass) if issubclass(value, Struct)]
    return {struct.__name__: struct for struct in [*sent, *roots] if struct is not CreateChatCompletion}


def _always_present(struct: type[Struct], schema: Schema) -> list[str]:
    """Return the fields of an answer that are always written: all but those with the default ``UNSET``."""
    fields = [field.encode_name for field in msgspec.structs.fields(struct) if field.default is not UNSET]
    tag = struct.__struct_config__.tag_field
    return fields if tag is None or tag not in schema["properties"] else [tag, *fields]


def _options(schema: Schema, schemas: dict[str, Schema]) -> Iterator[Schema]:
    """Yield the alternatives of ``schema``, through references and unions."""
    if "$ref" in schema:
        yield from _options(schemas[schema["$ref"].removeprefix(PREFIX)], schemas)
    elif "anyOf" in schema:
        for option in schema["anyOf"]:
            yield from _options(option, schemas)
    else:
        yield schema


def _holders(path: str, root: str, schemas: dict[str, Schema]) -> Iterator[tuple[Schema, str]]:
    """Yield every object that has the field at ``path``, with the field's name."""
    *outer, last = path.split(".")
    objects = [schemas[root]]
    for name in outer:
        values = [each["properties"][name.removesuffix("[]")] for each in objects if _has(each, name)]
        objects = [option for value in values for option in _options(value, schemas)]
        if name.endswith("[]"):
            items = [option["items"] for option in objects if "items" in option]
            objects = [option for item in items for option in _options(item, schemas)]
    yield from ((each, last) for each in objects if _has(each, last))


def _has(schema: Schema, name: str) -> bool:
    return name.removesuffix("[]") in schema.get("properties", {})


def _cut_refused(schemas: dict[str, Schema]) -> None:
    impossible = set()
    for field in outermost_refused():
        for holder, name in _holders(field.path, REQUEST, schemas):
            if field.idle:
                # With the default, client generators make a better type.
                holder["properties"][name] = {"enum": [*field.idle, None], "default": None}
            elif name in holder.get("required", ()):
                impossible.add(PREFIX + holder["title"])
            elif field.path.startswith("messages[]."):
                holder["properties"][name] = {"type": "null"}  # unknown members may have any value there
            else:
                del holder["properties"][name]
    for schema in schemas.values():
        _cut_options(schema, impossible)


def _open_messages(schemas: dict[str, Schema]) -> None:
    """Let messages and their parts have unknown members, which are ignored by default."""
    for schema in _reachable([schemas[REQUEST]["properties"]["messages"]], schemas).values():
        schema["additionalProperties"] = True


def _cut_options(schema: Schema, impossible: set[str]) -> None:
    for inner in _inside(schema):
        _cut_options(inner, impossible)
    if "anyOf" not in schema:
        return
    schema["anyOf"] = [option for option in schema["anyOf"] if option.get("$ref") not in impossible]
    if "discriminator" in schema:
        mapping = schema["discriminator"]["mapping"]
        schema["discriminator"]["mapping"] = {key: ref for key, ref in mapping.items() if ref not in impossible}


def _describe(schemas: dict[str, Schema]) -> None:
    """Add the field table's note to every field: the first note if several paths reach the field."""
    tables = [(REQUEST, fields_of("request")), *((root, fields_of("response")) for root in ANSWERS)]
    for root, fields in tables:
        if root in schemas:
            for field in fields:
                _note(field, root, schemas)


def _note(field: Field, root: str, schemas: dict[str, Schema]) -> None:
    if field.status == "honoured" and field.note:
        note = f"Extension. {field.note}" if field.extension else field.note
        for holder, name in _holders(field.path, root, schemas):
            holder["properties"][name].setdefault("description", note)


def _reachable(roots: Iterable[Schema], schemas: dict[str, Schema]) -> dict[str, Schema]:
    names: set[str] = set()
    waiting = list(roots)
    while waiting:
        schema = waiting.pop()
        name = schema.get("$ref", "").removeprefix(PREFIX)
        if name and name not in names:
            names.add(name)
            waiting.append(schemas[name])
        waiting.extend(_inside(schema))
    return {name: schema for name, schema in schemas.items() if name in names}
