"""The reference's subset of JSON Schema, and its error messages."""

from typing import Any

import pytest
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.strict import check_strict
from antiphon.errors import InvalidRequestError

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
REQUIRED = "In context=(), 'required' is required to be supplied and to be an array including every key in properties."


def closed(**properties: Any) -> Schema:  # noqa: ANN401
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def nested(levels: int) -> Schema:
    return TEXT if levels == 0 else closed(a=nested(levels - 1))


def listed(levels: int) -> Schema:
    items = TEXT
    for _ in range(levels):
        items = {"type": "array", "items": items}
    return closed(a=items)


def complaint(schema: Schema | bool) -> str:  # noqa: FBT001 (a schema)
    with pytest.raises(InvalidRequestError) as caught:
        compile_schema(schema, strict=True, param="response_format", subject="response_format 'math'")
    return caught.value.message.removeprefix("Invalid schema for response_format 'math': ")


class Step(BaseModel):
    explanation: str
    output: float | None


class Answer(BaseModel):
    steps: list[Step] = Field(min_length=1)
    kind: str = Field(pattern="^[a-z]+$")
    parent: "Answer | None"


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a=TEXT, b={"type": ["integer", "null"], "minimum": 0}, c={"enum": ["x", 1]}),
        closed(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": closed(y={"anyOf": [{"type": "null"}, {"$ref": "#"}]})}},
        closed(a={"type": "array", "items": {**TEXT, "format": "date-time"}, "minItems": 1, "maxItems": 9}),
        closed(a={"const": 1, "description": "one", "title": "One", "default": 1}),
        nested(10),
        listed(9),
        {"$ref": "#/$defs/x", "$defs": {"x": closed()}},
        {"$ref": "#/definitions/x", "definitions": {"x": closed()}, "$schema": "x", "$id": "https://example.org/x"},
        to_strict_json_schema(Answer),
    ],
)
def test_schema_within_the_subset_is_accepted(schema: Schema) -> None:
    assert compile_schema(schema, strict=True, param="response_format")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"type": "array", "items": TEXT},
            "In context=(), schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
        ),
        (
            {"anyOf": [closed(), closed(a=TEXT)]},
            "In context=(), schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
        ),
        (
            True,
            "In context=(), schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
        ),
        (
            {},
            "In context=(), schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
        ),
        (
            {**closed(), "anyOf": [closed(), closed(a=TEXT)]},
            "In context=(), schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
        ),
        (
            {"type": "object", "properties": {}},
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            closed(a={"type": "object"}),
            "In context=('properties', 'a'), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            closed(a=TEXT) | {"required": []},
            f"{REQUIRED} Missing 'a'.",
        ),
        (
            closed(a=TEXT) | {"required": ["a", "b"]},
            f"{REQUIRED} Extra required key 'b' supplied.",
        ),
        (
            closed(a=TEXT) | {"required": ["a", "", "b"]},
            f"{REQUIRED} Extra required key '' supplied.",
        ),
        (
            closed(**{"x" * 65: TEXT}) | {"required": []},
            f"{REQUIRED} Missing '{'x' * 64}'.",
        ),
        (
            closed() | {"required": ["x" * 65]},
            f"{REQUIRED} Extra required key '{'x' * 64}' supplied.",
        ),
        (
            closed(a={"type": ["object", "null"]}),
            "In context=('properties', 'a'), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (closed(a={"type": ["null", "array"]}), "In context=('properties', 'a'), array schema missing items."),
        (
            closed(a={"type": "array", "items": [TEXT]}),
            "In context=('properties', 'a'), 'items' as an array is not permitted.",
        ),
        (
            closed(a={**TEXT, "format": "x" * 65}),
            f"In context=('properties', 'a'), '{'x' * 64}' is not a valid format.",
        ),
        (closed(a={}), "In context=('properties', 'a'), schema must have a 'type' key."),
        (closed(a={"type": "array"}), "In context=('properties', 'a'), array schema missing items."),
        (closed(a={"oneOf": [TEXT]}), "In context=('properties', 'a'), 'oneOf' is not permitted."),
        (closed(a={"allOf": [TEXT]}), "In context=('properties', 'a'), 'allOf' is not permitted."),
        (
            closed(a={"type": "array", "items": TEXT, "uniqueItems": True}),
            "In context=('properties', 'a'), 'uniqueItems' is not permitted.",
        ),
        (closed(a={**TEXT, "format": "uri"}), "In context=('properties', 'a'), 'uri' is not a valid format."),
        (closed(a={"$ref": "#", "title": "x"}), "In context=('properties', 'a'), $ref cannot have keywords {'title'}."),
    ],
)
def test_schema_outside_the_subset_is_refused_in_the_reference_s_words(schema: Schema | bool, message: str) -> None:  # noqa: FBT001 (a schema)
    assert message == complaint(schema)


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        (nested(11), "10 levels of nesting"),
        (listed(10), "10 levels of nesting"),
        (closed(**{f"p{index}": TEXT for index in range(5001)}), "5000 object properties"),
        (closed(a={"enum": list(range(1001))}), "1000 enum values"),
        (closed(a={"enum": ["x" * 60_001, "y" * 60_000]}), "120000 characters"),
        (closed(a={"enum": [f"{index:070}" for index in range(251)]}), "15000 characters"),
        (closed(a={"const": "x" * 120_000}), "120000 characters in names and values, it has 120001"),
        (closed(**{"x" * 120_001: TEXT}), "120000 characters in names and values, it has 120001"),
        ({**closed(), "$defs": {"x" * 120_001: TEXT}}, "120000 characters in names and values, it has 120001"),
        ({**closed(), "definitions": {"x" * 120_001: TEXT}}, "120000 characters in names and values, it has 120001"),
    ],
)
def test_schema_beyond_a_size_limit_is_refused(schema: Schema, limit: str) -> None:
    assert limit in complaint(schema)


def test_schema_within_the_subset_may_still_be_unsupported() -> None:
    assert "look-around" in complaint(closed(a={**TEXT, "pattern": "(?=a)"}))


@pytest.mark.parametrize(
    "schema",
    [
        closed(**{f"p{index}": TEXT for index in range(5000)}),
        closed(a={"enum": list(range(1000))}),
        closed(a={"enum": ["x" * 60_000, "y" * 59_999]}),
        closed(a={"enum": ["x" * 61] * 250}, b={"enum": ["x" * 60] * 249 + [1, 2]}),
        closed(a={"enum": ["x" * 59] * 250 + ["y" * 250]}),
        closed(properties=closed(items=nested(8))),
        {**closed(), "$defs": {"items": nested(10)}},
        {**closed(), "definitions": {"items": nested(10)}},
        closed(a={"anyOf": [nested(9), TEXT]}),
    ],
)
def test_schema_at_a_size_limit_is_accepted(schema: Schema) -> None:
    check_strict(Document(schema))
