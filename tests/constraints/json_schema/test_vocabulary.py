"""Malformed and oversized schemas are refused with the keyword and its path."""

from typing import Any, NoReturn

import pytest

from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.constraints.json_schema.vocabulary import (
    MAX_DEPTH,
    MAX_ENUM_CHARACTERS,
    MAX_ENUM_VALUES,
    MAX_SUBSCHEMAS,
    TYPES,
    subschemas,
)


def test_every_subschema_is_found_with_its_path() -> None:
    schema = {
        "properties": {"a": {"items": [{"not": {}}, True]}, "enum": {"const": {"not": 1}}},
        "dependencies": {"a": ["b"], "c": {"if": {}}},
        "default": {"type": 5},
    }
    assert [
        (),
        ("properties", "a"),
        ("properties", "a", "items", 0),
        ("properties", "a", "items", 0, "not"),
        ("properties", "enum"),
        ("dependencies", "c"),
        ("dependencies", "c", "if"),
    ] == [path for path, _ in subschemas(schema, ())]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"type": []},
        {"type": 1},
        {"enum": []},
        {"enum": "a"},
        {"minLength": -1},
        {"minLength": 1.5},
        {"maxItems": True},
        {"minimum": "1"},
        {"multipleOf": 0},
        {"pattern": 1},
        {"properties": []},
        {"properties": {"a": 1}},
        {"required": True},
        {"required": [1]},
        {"allOf": []},
        {"anyOf": {}},
        {"not": 1},
        {"items": "string"},
        {"uniqueItems": "yes"},
        {"$ref": 1},
        {"dependentRequired": {"a": "b"}},
        {"additionalProperties": "no"},
        {"type": ["strin"]},
        {"anyOf": 5},
        {"allOf": True},
    ],
)
def test_malformed_keyword_is_refused_with_its_path(schema: dict[str, Any]) -> None:
    keyword = next(iter(schema))
    with pytest.raises(SchemaRefusedError, match=f"'{keyword.replace('$', '[$]')}' must be ") as caught:
        list(subschemas({"properties": {"a": schema}}, ()))
    assert ("properties", "a") == caught.value.path


def test_unknown_keywords_are_ignored() -> None:
    assert [((), {"nullable": 5, "x-order": {"type": 1}})] == [*subschemas({"nullable": 5, "x-order": {"type": 1}}, ())]


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": 0, "maxItems": 0.0, "minProperties": 2.0},
        {"items": []},
        {"required": []},
        {"exclusiveMinimum": True, "exclusiveMaximum": 5},
        {"multipleOf": 0.5},
        {"type": [*TYPES]},
        {"enum": [{"type": 5}], "const": {"not": 5}},
        {"dependencies": {"a": []}, "dependentRequired": {"a": []}},
    ],
)
def test_well_formed_keywords_are_accepted(schema: dict[str, Any]) -> None:
    assert [((), schema)] == [*subschemas(schema, ())]


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        schema = {"items": schema}
    assert MAX_DEPTH + 1 == len([*subschemas(schema, ())])
    schema = {"items": schema}
    with pytest.raises(SchemaRefusedError, match="levels of nesting"):
        list(subschemas(schema, ()))


@pytest.mark.parametrize(
    "value", [[0] * MAX_ENUM_VALUES, {str(key): 0 for key in range(MAX_ENUM_VALUES // 2)}], ids=["array", "object"]
)
def test_nested_values_count_towards_the_limit(value: object) -> None:
    with pytest.raises(SchemaRefusedError, match="enum values"):
        list(subschemas({"const": value}, ()))


def test_the_texts_of_values_are_bounded_together() -> None:
    half = "x" * (MAX_ENUM_CHARACTERS // 2)
    assert 1 == len([*subschemas({"enum": [half], "const": {half: 0}}, ())])
    with pytest.raises(SchemaRefusedError, match="characters of enum values"):
        list(subschemas({"enum": [half, "x"], "const": {half: 0}}, ()))


def test_the_texts_of_several_enums_are_bounded_together() -> None:
    half = "x" * (MAX_ENUM_CHARACTERS // 2)
    with pytest.raises(SchemaRefusedError, match="characters of enum values"):
        list(subschemas({"anyOf": [{"enum": [half]}, {"enum": [f"{half}x"]}, {}]}, ()))


def test_number_of_subschemas_is_bounded() -> None:
    assert MAX_SUBSCHEMAS == len([*subschemas({"anyOf": [{}] * (MAX_SUBSCHEMAS - 1)}, ())])
    with pytest.raises(SchemaRefusedError, match="subschemas"):
        list(subschemas({"anyOf": [{}] * MAX_SUBSCHEMAS}, ()))


def test_values_up_to_the_limit_are_accepted() -> None:
    assert 1 == len([*subschemas({"enum": [0] * (MAX_ENUM_VALUES - 1), "const": 0}, ())])


def test_values_of_several_enums_are_bounded_together() -> None:
    half = {"enum": list(range(MAX_ENUM_VALUES // 2 + 1))}
    with pytest.raises(SchemaRefusedError, match="enum values"):
        list(subschemas({"anyOf": [half, half]}, ()))


def test_values_beyond_the_limit_are_not_visited() -> None:
    class Watched(list[int]):
        def __iter__(self) -> NoReturn:
            raise AssertionError

    with pytest.raises(SchemaRefusedError, match="enum values"):
        next(subschemas({"enum": [Watched(), *[[]] * (MAX_ENUM_VALUES + 1)]}, ()))
    half = [0] * (MAX_ENUM_VALUES // 2)
    with pytest.raises(SchemaRefusedError, match="enum values"):
        list(subschemas({"enum": half, "not": {"enum": [Watched(), *half, 0]}}, ()))
