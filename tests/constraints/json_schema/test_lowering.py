"""Counts, positions and permutations become alternatives."""

import json
from itertools import combinations, product
from typing import Any

import pytest

from antiphon.constraints.json_schema import costs
from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.lowering import MAX_ALTERNATIVES, MAX_POSITIONS, lower_shape
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.shapes import Array, Number, Object, Shape
from antiphon.constraints.json_schema.terms import NEVER, Constant
from tests.constraints.json_schema.random_schemas import admitted, is_valid


def lowered(schema: dict[str, Any]) -> list[Shape]:
    expander = Expander(Document(schema))
    (shape,) = expander.expand(Document(schema).term(()))
    return lower_shape(shape, expander)


def prefixes(schema: dict[str, Any]) -> list[list[str]]:
    arrays = [shape for shape in lowered(schema) if isinstance(shape, Array)]
    return [[term.text for term in array.prefix if isinstance(term, Constant)] for array in arrays]


def required(schema: dict[str, Any]) -> list[tuple[str, ...]]:
    return [shape.required for shape in lowered(schema) if isinstance(shape, Object)]


def test_unique_items_of_few_values_become_permutations() -> None:
    schema = {"type": "array", "items": {"enum": ["a", None]}, "uniqueItems": True, "minItems": 1}
    assert [["null"], ['"a"'], ["null", '"a"'], ['"a"', "null"]] == prefixes(schema)
    booleans = {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2}
    assert [["false", "true"], ["true", "false"]] == prefixes(booleans)


def test_unique_items_of_more_values_become_combinations_in_schema_order() -> None:
    found = prefixes({"type": "array", "items": {"enum": list(range(8))}, "uniqueItems": True})
    assert 2**8 == len(found)
    assert all(texts == sorted(texts) for texts in found)


@pytest.mark.parametrize("items", [{}, {"type": "string"}, {"type": "integer"}, {"enum": list(range(20))}])
def test_unique_items_of_many_values_are_refused(items: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError, match="uniqueItems"):
        lowered({"type": "array", "items": items, "uniqueItems": True})


def test_contains_that_every_item_satisfies_becomes_bounds_on_length() -> None:
    schema = {
        "type": "array",
        "items": {"const": 5},
        "contains": {"type": "number"},
        "minContains": 2,
        "maxContains": 3,
    }
    (shape,) = lowered(schema)
    assert isinstance(shape, Array)
    assert (2, 3) == (shape.min_items, shape.max_items)


def test_contains_that_no_item_can_satisfy_admits_no_array() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "contains": {"type": "number"}}
    assert [] == lowered(schema)
    assert 1 == len(lowered({**schema, "minContains": 0, "maxContains": 1}))


def test_contained_item_has_an_alternative_for_each_position() -> None:
    assert 3 == len(lowered({"type": "array", "contains": {"const": 1}, "maxItems": 3}))
    with pytest.raises(SchemaRefusedError, match="contains"):
        lowered({"type": "array", "contains": {"const": 1}})


OPTIONAL: dict[str, Any] = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False}


def test_min_properties_becomes_choices_of_required_properties() -> None:
    assert [("a",), ("b",), ("c",)] == required({**OPTIONAL, "minProperties": 1})
    assert [("a", "b"), ("a", "c"), ("b", "c")] == required({**OPTIONAL, "minProperties": 2})
    assert [("a",), ("b",), ("c",), ()] == required({**OPTIONAL, "minProperties": 1, "additionalProperties": True})


def test_max_properties_becomes_choices_of_optional_properties() -> None:
    shapes = lowered({**OPTIONAL, "maxProperties": 2})
    assert [("a", "b"), ("a", "c"), ("b", "c")] == [shape.optional for shape in shapes if isinstance(shape, Object)]
    assert 8 == len(lowered({**OPTIONAL, "maxProperties": 5, "additionalProperties": True}))


def test_counts_of_too_many_or_unnamed_properties_are_refused() -> None:
    many = {"type": "object", "properties": {f"p{index}": {} for index in range(40)}}
    with pytest.raises(SchemaRefusedError, match="Properties"):
        lowered({**many, "minProperties": 20})
    with pytest.raises(SchemaRefusedError, match="minProperties"):
        lowered({"type": "object", "minProperties": 2})


def test_an_empty_object_needs_no_alternatives() -> None:
    assert [Object(additional=NEVER)] == lowered({"type": "object", "maxProperties": 0})


def test_few_multiples_between_bounds_are_listed() -> None:
    found = lowered({"type": "integer", "multipleOf": 99999989, "minimum": 1, "maximum": 200000000})
    assert [99999989, 199999978] == [shape.point for shape in found if isinstance(shape, Number)]


@pytest.mark.parametrize("bound", [{"minProperties": 1}, {"maxProperties": 1}])
def test_alternatives_of_large_objects_cost_budget(bound: dict[str, int]) -> None:
    properties = {f"p{number}": {"type": "string"} for number in range(300)}
    document = Document({"type": "object", "properties": properties, "additionalProperties": False, **bound})
    expander = Expander(document)
    (shape,) = expander.expand(document.term(()))
    before = document.budget.left
    found = lower_shape(shape, expander)
    assert 300 * costs.size(shape) <= len(found) * costs.size(shape) <= before - document.budget.left


ONE: dict[str, Any] = {"const": 1}
INTEGER: dict[str, Any] = {"type": "integer"}
FEW: dict[str, Any] = {"enum": [1, 2, "a"]}
ITEMS = [list(items) for length in range(4) for items in product([1, 2, "a"], repeat=length)]
MEMBERS = [dict.fromkeys(names, 1) for length in range(5) for names in combinations("abcd", length)]


def valid(schema: dict[str, Any], values: list[Any]) -> list[Any]:
    return [value for value in values if is_valid(schema, json.dumps(value))]


def written(schema: dict[str, Any], values: list[Any]) -> list[Any]:
    return admitted(compile_schema(schema, strict=False, param="p"), values)


@pytest.mark.parametrize(
    "bounds",
    [
        {"contains": ONE, "maxItems": 3},
        {"contains": ONE, "maxItems": 3, "minItems": 2},
        {"contains": ONE, "prefixItems": [{}, INTEGER], "items": False},
        {"contains": ONE, "prefixItems": [{"const": "a"}], "items": ONE, "maxItems": 3},
        {"contains": ONE, "prefixItems": [ONE], "items": FEW, "maxItems": 3},
        {"contains": INTEGER, "prefixItems": [ONE], "items": {"const": 2}, "minContains": 2, "maxItems": 3},
        {"contains": ONE, "items": ONE, "maxItems": 3, "maxContains": 2},
        {"contains": ONE, "items": ONE, "maxItems": 1, "maxContains": 2},
        {"contains": ONE, "items": ONE, "minItems": 2, "maxItems": 3},
        {"contains": {"const": 5}, "items": FEW, "minContains": 0, "maxContains": 1},
        {"contains": ONE, "allOf": [{"contains": {"const": "a"}}], "maxItems": 3},
        {"contains": ONE, "items": FEW, "maxItems": 3, "uniqueItems": True},
    ],
)
def test_exactly_the_arrays_that_contain_enough_are_admitted(bounds: dict[str, Any]) -> None:
    schema = {"type": "array", **bounds}
    assert valid(schema, ITEMS) == written(schema, ITEMS)


@pytest.mark.parametrize(
    "bounds",
    [
        {"items": FEW},
        {"items": FEW, "maxItems": 2},
        {"items": FEW, "minItems": 2, "maxItems": 9},
        {"items": {"minimum": 1, "maximum": 2, "type": "integer"}},
        {"items": {"minimum": 1, "maximum": 6, "multipleOf": 2, "type": "integer"}},
        {"items": {"enum": [1.5, 2]}},
        {"items": {"enum": [True, None, 2]}},
        {"prefixItems": [{"enum": [1, 2]}], "items": {"enum": [2, "a"]}, "maxItems": 3},
        {"prefixItems": [FEW, {"enum": [1, "a"]}], "items": False},
    ],
)
def test_exactly_the_arrays_of_different_items_are_admitted(bounds: dict[str, Any]) -> None:
    others: list[Any] = [
        [1.5, 2],
        [2, 1.5],
        [1.5, 1.5],
        [True, None],
        [None, True, 2],
        [True, True],
        [4, 2, 6],
        [6, 6],
        [3],
    ]
    schema, values = {"type": "array", "uniqueItems": True, **bounds}, ITEMS + others
    assert valid(schema, values) == written(schema, values)


@pytest.mark.parametrize("closed", [{"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}])
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"minProperties": 1},
        {"minProperties": 1, "maxProperties": 2},
        {"maxProperties": 1},
        {"maxProperties": 2},
        {"maxProperties": 2, "required": ["b"]},
        {"minProperties": 2, "required": ["b"]},
        {"minProperties": 2, "maxProperties": 2, "required": ["b"]},
        {"minProperties": 2, "maxProperties": 3, "required": ["a", "b", "c"]},
        {"minProperties": 2, "maxProperties": 2, "required": ["b"], "properties": {"a": ONE, "b": ONE, "c": False}},
    ],
)
def test_exactly_the_objects_of_a_valid_size_are_admitted(bounds: dict[str, Any], closed: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": dict.fromkeys("abc", ONE), **closed, **bounds}
    assert valid(schema, MEMBERS) == written(schema, MEMBERS)


@pytest.mark.parametrize("count", [2, 3])
def test_min_properties_above_the_named_ones_requires_unnamed_ones(count: int) -> None:
    schema = {"type": "object", "minProperties": 1, "maxProperties": count}
    assert valid(schema, MEMBERS) == written(schema, MEMBERS)
    more = {"type": "object", "properties": {"a": ONE}, "required": ["a"], "minProperties": 2}
    assert valid(more, MEMBERS) == written(more, MEMBERS)


def test_contained_item_beyond_the_limit_of_positions_is_refused() -> None:
    schema: dict[str, Any] = {"type": "array", "contains": ONE, "maxItems": MAX_POSITIONS}
    assert MAX_POSITIONS == len(lowered(schema))
    for bounds in ({"maxItems": MAX_POSITIONS + 1}, {"minContains": 2, "maxItems": MAX_POSITIONS + 1}):
        with pytest.raises(
            SchemaRefusedError, match="'contains' is not supported, unless 'maxItems' leaves few positions"
        ):
            lowered({**schema, **bounds})


def test_alternatives_of_several_contains_are_bounded() -> None:
    three = [{"contains": {"const": name}} for name in "abc"]
    with pytest.raises(SchemaRefusedError, match="'contains' with more than 1000 arrangements is not supported"):
        lowered({"type": "array", "allOf": three, "maxItems": 30})


@pytest.mark.parametrize(
    "items",
    [
        {"type": "integer", "minimum": 1, "maximum": MAX_ALTERNATIVES},
        {"enum": [*range(MAX_ALTERNATIVES // 2), *map(str, range(MAX_ALTERNATIVES // 2))]},
    ],
)
def test_unique_items_of_values_up_to_the_limit_are_enforced(items: dict[str, Any]) -> None:
    array: dict[str, Any] = {"type": "array", "items": items, "uniqueItems": True}
    assert 1 == len(lowered({**array, "minItems": MAX_ALTERNATIVES}))
    more = {"anyOf": [items, {"const": "x"}]}
    with pytest.raises(SchemaRefusedError, match="unless the items have few possible values"):
        lowered({**array, "items": more, "minItems": MAX_ALTERNATIVES + 1})


def test_too_many_sets_of_values_are_refused() -> None:
    array: dict[str, Any] = {"type": "array", "items": {"enum": list(range(10))}, "uniqueItems": True}
    with pytest.raises(SchemaRefusedError, match="'uniqueItems' with more than 1000 sets of values is not supported"):
        lowered(array)
    assert 10 * 9 * 8 == len(lowered({**array, "minItems": 3, "maxItems": 3}))
    assert 10 * 9 * 8 * 7 // 24 == len(lowered({**array, "minItems": 4, "maxItems": 4}))


@pytest.mark.parametrize(
    "bounds", [{"maxProperties": 20}, {"minProperties": 20}, {"minProperties": 19, "maxProperties": 20}]
)
def test_choices_of_many_properties_are_refused(bounds: dict[str, int]) -> None:
    properties = {f"p{number}": {"type": "null"} for number in range(40)}
    with pytest.raises(SchemaRefusedError, match="over so many optional properties is not supported"):
        lowered({"type": "object", "properties": properties, "additionalProperties": False, **bounds})


@pytest.mark.parametrize(
    ("made", "schema"),
    [
        ("'uniqueItems' makes ", {"type": "array", "items": FEW, "uniqueItems": True}),
        ("'contains' makes ", {"type": "array", "contains": ONE, "maxItems": 2}),
        ("", {"type": "array"}),
        ("'minProperties' makes ", {**OPTIONAL, "minProperties": 1, "maxProperties": 2}),
        ("'maxProperties' makes ", {**OPTIONAL, "maxProperties": 2}),
        ("", OPTIONAL),
        ("'multipleOf' makes ", {"type": "integer", "multipleOf": 1001, "minimum": 0, "maximum": 9999}),
    ],
)
def test_refusal_names_the_keyword_whose_alternatives_exceed_the_budget(made: str, schema: dict[str, Any]) -> None:
    document = Document(schema)
    expander = Expander(document)
    (shape,) = expander.expand(document.term(()))
    lower_shape(shape, expander)
    before = document.budget.left
    lower_shape(shape, expander)
    document.budget.left = before - document.budget.left - 1
    with pytest.raises(SchemaRefusedError) as caught:
        lower_shape(shape, expander)
    assert f"{made}too many combinations of alternatives" == caught.value.reason


def test_alternatives_without_a_value_are_dropped() -> None:
    schema = {**OPTIONAL, "minProperties": 2, "maxProperties": 2, "required": ["b"]}
    assert [("b", "a"), ("b", "c")] == required(schema)
    assert 2 == len(lowered(schema))


def test_choices_of_two_among_many_properties_are_refused() -> None:
    properties = {f"p{number}": {"type": "null"} for number in range(45)}
    with pytest.raises(SchemaRefusedError, match="over so many optional properties is not supported"):
        lowered({**OPTIONAL, "properties": properties, "minProperties": 2})


@pytest.mark.parametrize(
    "bounds",
    [
        {"minContains": 2},
        {"maxContains": 1},
        {"minContains": 0, "maxContains": 1},
        {"minContains": 2, "maxContains": 3, "minItems": 1},
        {"minContains": 2, "maxContains": 2, "prefixItems": [{"const": 1}]},
    ],
)
def test_counted_items_are_arranged_in_a_short_array(bounds: dict[str, Any]) -> None:
    schema = {"type": "array", "items": {"enum": [1, "a"]}, "contains": {"type": "integer"}, "maxItems": 4, **bounds}
    values = [list(items) for length in range(5) for items in product([1, "a"], repeat=length)]
    valid = [value for value in values if is_valid(schema, json.dumps(value))]
    assert valid == admitted(compile_schema(schema, strict=False, param="p"), values)


def test_counted_items_with_too_many_arrangements_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match=f"'contains' with more than {MAX_ALTERNATIVES} arrangements"):
        lowered({"type": "array", "contains": ONE, "minContains": 3, "maxItems": 20})
