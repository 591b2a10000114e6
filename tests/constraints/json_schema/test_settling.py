"""Counts, places and arrangements become alternatives."""

from typing import Any

import pytest

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.settling import settle
from antiphon.constraints.json_schema.shapes import Array, Number, Object, Shape
from antiphon.constraints.json_schema.terms import NEVER, Constant


def settled(schema: dict[str, Any]) -> list[Shape]:
    expander = Expander(Document(schema))
    (shape,) = expander.expand(Document(schema).term(()))
    return settle(shape, expander)


def prefixes(schema: dict[str, Any]) -> list[list[str]]:
    arrays = [shape for shape in settled(schema) if isinstance(shape, Array)]
    return [[term.text for term in array.prefix if isinstance(term, Constant)] for array in arrays]


def required(schema: dict[str, Any]) -> list[tuple[str, ...]]:
    return [shape.required for shape in settled(schema) if isinstance(shape, Object)]


def test_unique_items_of_few_values_are_arranged() -> None:
    schema = {"type": "array", "items": {"enum": ["a", None]}, "uniqueItems": True, "minItems": 1}
    assert [["null"], ['"a"'], ["null", '"a"'], ['"a"', "null"]] == prefixes(schema)
    booleans = {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2}
    assert [["false", "true"], ["true", "false"]] == prefixes(booleans)


def test_more_values_come_in_the_order_of_the_schema() -> None:
    found = prefixes({"type": "array", "items": {"enum": list(range(8))}, "uniqueItems": True})
    assert 2**8 == len(found)
    assert all(texts == sorted(texts) for texts in found)


@pytest.mark.parametrize("items", [{}, {"type": "string"}, {"type": "integer"}, {"enum": list(range(20))}])
def test_unique_items_of_many_values_are_refused(items: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError, match="uniqueItems"):
        settled({"type": "array", "items": items, "uniqueItems": True})


def test_what_every_item_is_it_contains() -> None:
    schema = {
        "type": "array",
        "items": {"const": 5},
        "contains": {"type": "number"},
        "minContains": 2,
        "maxContains": 3,
    }
    (shape,) = settled(schema)
    assert isinstance(shape, Array)
    assert (2, 3) == (shape.min_items, shape.max_items)


def test_what_no_item_can_be_it_does_not_contain() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "contains": {"type": "number"}}
    assert [] == settled(schema)
    assert 1 == len(settled({**schema, "minContains": 0, "maxContains": 1}))


def test_a_contained_item_may_be_in_any_of_few_places() -> None:
    assert 3 == len(settled({"type": "array", "contains": {"const": 1}, "maxItems": 3}))
    with pytest.raises(SchemaRefusedError, match="contains"):
        settled({"type": "array", "contains": {"const": 1}})


OPTIONAL: dict[str, Any] = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False}


def test_at_least_so_many_optional_properties() -> None:
    assert [("a",), ("b",), ("c",)] == required({**OPTIONAL, "minProperties": 1})
    assert [("a", "b"), ("a", "c"), ("b", "c")] == required({**OPTIONAL, "minProperties": 2})
    assert [("a",), ("b",), ("c",), ()] == required({**OPTIONAL, "minProperties": 1, "additionalProperties": True})


def test_at_most_so_many_optional_properties() -> None:
    shapes = settled({**OPTIONAL, "maxProperties": 2})
    assert [("a", "b"), ("a", "c"), ("b", "c")] == [shape.optional for shape in shapes if isinstance(shape, Object)]
    assert 8 == len(settled({**OPTIONAL, "maxProperties": 5, "additionalProperties": True}))


def test_counts_that_nothing_can_follow_are_refused() -> None:
    many = {"type": "object", "properties": {f"p{index}": {} for index in range(40)}}
    with pytest.raises(SchemaRefusedError, match="Properties"):
        settled({**many, "minProperties": 20})
    with pytest.raises(SchemaRefusedError, match="minProperties"):
        settled({"type": "object", "minProperties": 2})


def test_an_empty_object_needs_no_alternatives() -> None:
    assert [Object(additional=NEVER)] == settled({"type": "object", "maxProperties": 0})


def test_few_multiples_between_bounds_are_written_out() -> None:
    found = settled({"type": "integer", "multipleOf": 99999989, "minimum": 1, "maximum": 200000000})
    assert [99999989, 199999978] == [shape.point for shape in found if isinstance(shape, Number)]


@pytest.mark.parametrize("bound", [{"minProperties": 1}, {"maxProperties": 1}])
def test_alternatives_of_large_objects_are_paid_for(bound: dict[str, int]) -> None:
    properties = {f"p{number}": {"type": "string"} for number in range(300)}
    document = Document({"type": "object", "properties": properties, "additionalProperties": False, **bound})
    expander = Expander(document)
    (shape,) = expander.expand(document.term(()))
    before = document.budget.left
    found = settle(shape, expander)
    assert 300 * costs.size(shape) <= len(found) * costs.size(shape) <= before - document.budget.left
