"""The reference's subset, in its words."""

from typing import Any

import pytest
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.errors import InvalidRequestError

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
REQUIRED = "In context=(), 'required' is required to be supplied and to be an array including every key in properties."


def closed(**properties: Any) -> Schema:  # noqa: ANN401
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def nested(levels: int) -> Schema:
    return TEXT if levels == 0 else closed(a=nested(levels - 1))


def complaint(schema: Schema) -> str:
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
        to_strict_json_schema(Answer),
    ],
)
def test_schemas_within_the_subset(schema: Schema) -> None:
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
def test_schemas_outside_the_subset(schema: Schema, message: str) -> None:
    assert message == complaint(schema)


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        (nested(11), "10 levels of nesting"),
        (closed(**{f"p{index}": TEXT for index in range(5001)}), "5000 object properties"),
        (closed(a={"enum": list(range(1001))}), "1000 enum values"),
        (closed(a={"enum": ["x" * 60_001, "y" * 60_000]}), "120000 characters"),
        (closed(a={"enum": [f"{index:070}" for index in range(251)]}), "15000 characters"),
    ],
)
def test_sizes(schema: Schema, limit: str) -> None:
    assert limit in complaint(schema)


def test_a_schema_within_the_subset_may_still_be_impossible() -> None:
    assert "look-around" in complaint(closed(a={**TEXT, "pattern": "(?=a)"}))
