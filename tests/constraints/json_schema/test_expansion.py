"""Keywords that combine subschemas, checked on instances of the compiled schema."""

import json
from itertools import combinations
from typing import Any

import pytest

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.costs import matching
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.expansion import CONSTANT_CHARACTERS, Expander
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, CircularReferenceError, SchemaRefusedError
from antiphon.constraints.json_schema.shapes import EVERYTHING, Array, Object, Shape, String
from antiphon.constraints.json_schema.terms import ANY, NEVER, Constant, Location, conjunction, negation
from antiphon.errors import InvalidRequestError
from tests.constraints.json_schema.random_schemas import admits, admitted, is_valid, opened, tracks_evaluation

Schema = dict[str, Any]
HAS_A: Schema = {"required": ["a"]}
KIND: Schema = {"type": "object", "properties": {"kind": {"enum": ["x", "y"]}}}
TREE: Schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}

CASES: list[tuple[Schema, list[Any], list[Any]]] = [
    ({"enum": [1, "a", {"b": [None]}, 1.0]}, [1, "a", {"b": [None]}], [2, "b", {}, {"b": []}]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], [1, "b"]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2, "a"], [0, 3]),
    ({"allOf": [{"pattern": "^a"}, {"pattern": "b$"}, {"maxLength": 3}]}, ["ab", "acb"], ["a", "accb"]),
    ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, ["a", 5, None], [4]),
    ({"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}], "type": "integer", "enum": [3, 5, 15, 7]}, [3, 5], [15, 7]),
    ({"oneOf": [HAS_A, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}], [{}, {"a": 1, "b": 2}, 1]),
    ({"oneOf": [{"type": "number"}, {"type": "string"}, {"minimum": 2}]}, [1, None], [3, "a"]),
    ({"not": {"type": ["object", "array"]}}, [1, "a", None], [{}, []]),
    ({"not": HAS_A}, [{}, {"b": 1}], [{"a": 1}, 1]),
    (
        {"type": "array", "oneOf": [{"contains": {"type": "string"}, "minContains": 0}, {"maxItems": 1}]},
        [[1, 2], ["a", 2]],
        [[], [1], ["a"]],
    ),
    ({"not": {"minLength": 2}}, ["a", ""], ["ab", 1]),
    ({"type": "string", "not": {"enum": ["a", ""]}}, ["b", "aa"], ["a", ""]),
    ({"not": {"items": {"type": "string"}}, "maxItems": 2}, [[1], ["a", 1]], [[], ["a"], 1]),
    (
        {**KIND, "if": {"properties": {"kind": {"const": "x"}}, "required": ["kind"]}, "then": HAS_A},
        [{"kind": "x", "a": 1}, {"kind": "y"}, {}],
        [{"kind": "x"}],
    ),
    ({"if": {"type": "string"}, "else": {"const": 1}}, ["a", 1], [2, None]),
    ({"if": {"maximum": 0}, "then": {"const": -1}}, [-1, 5], [0, -2]),
    ({"dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}, 1], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"maxProperties": 1}}}, [{"a": 1}, {"b": 1, "c": 1}], [{"a": 1, "b": 1}]),
    ({"dependencies": {"a": ["b"], "b": False}}, [{}, {"c": 1}], [{"a": 1}, {"b": 1}, {"a": 1, "b": 1}]),
    ({"propertyNames": {"pattern": "^a"}}, [{}, {"a": 1, "ab": 2}, 1], [{"b": 1}]),
    (
        {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
        [{"a": None}],
        [{"a": 1}, {"c": None}],
    ),
    ({"propertyNames": {"maxLength": 1}, "properties": {"ab": {}}}, [{"a": 1}], [{"ab": 1}]),
    ({"propertyNames": False}, [{}], [{"a": 1}]),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, [{"a": 1}], [{"b": 1}]),
    (
        {
            "allOf": [{"properties": {"a": {}}}],
            "anyOf": [{"properties": {"b": {"const": 1}}}, {"properties": {"c": {}}}],
            "unevaluatedProperties": False,
        },
        [{"a": 1, "b": 1, "c": 1}, {"c": 1}],
        [{"b": 2, "a": 1}, {"d": 1}],
    ),
    ({"$ref": "#/$defs/a", "maximum": 5, "$defs": {"a": {"minimum": 2}}}, [2, 5], [1, 6]),
    (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {"x": {"$ref": "#/definitions/a", "maximum": 5}},
            "definitions": {"a": {"minimum": 2}},
        },
        [{"x": 6}],
        [{"x": 1}],
    ),
    (
        {"allOf": [TREE, {"properties": {"next": {"maxProperties": 0}}}]},
        [{}, {"next": {}}],
        [{"next": {"next": {}}}, {"x": 1}],
    ),
    (
        {
            "$dynamicRef": "#node",
            "$defs": {"n": {"$dynamicAnchor": "node", "type": "array", "items": {"$dynamicRef": "#node"}}},
        },
        [[], [[], [[]]]],
        [1, [1]],
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES, ids=[str(case[0])[:60] for case in CASES])
def test_keyword_admits_valid_values_and_no_others(schema: Schema, valid: list[Any], invalid: list[Any]) -> None:
    compiled = compile_schema(schema, strict=False, param="p")
    assert [] == [value for value in valid if not admits(compiled, value)]
    assert [] == [value for value in invalid if admits(compiled, value)]


def test_each_kind_of_term_expands_once() -> None:
    expander = Expander(Document({"$defs": {"a": {"minLength": 2}, "b": {"type": "string"}}}))
    a, b = Location(("$defs", "a")), Location(("$defs", "b"))
    assert EVERYTHING == expander.expand(ANY)
    assert () == expander.expand(NEVER)
    assert (String(min_length=2),) == expander.expand(conjunction(a, b))
    assert (String(max_length=1),) == expander.expand(conjunction(b, negation(a)))
    assert expander.expand(a) is expander.expand(a)


def test_reference_cycle_on_the_same_value_is_refused() -> None:
    with pytest.raises(CircularReferenceError):
        Expander(Document({"anyOf": [{"$ref": "#"}, {"type": "null"}]})).expand(Location(()))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"not": {"pattern": "a"}}, "'not' is not supported here: 'pattern' and 'format' cannot be negated"),
        ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "'oneOf' is not supported here"),
        ({"propertyNames": {"pattern": "a", "minLength": 2}}, "'propertyNames' is not supported here: several bounds"),
        ({"unevaluatedItems": False, "allOf": [{}]}, "'unevaluatedItems' beside other applicators"),
        (
            {"anyOf": [{"title": str(n), "type": "null"} for n in range(6)], "unevaluatedProperties": False},
            "'anyOf' is not",
        ),
    ],
)
def test_refusal_names_the_keyword(schema: Schema, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        compile_schema(schema, strict=False, param="p")


def test_exploding_alternatives_are_refused() -> None:
    options = [{"properties": {f"p{i}{j}": {"const": j} for i in range(12)}} for j in range(12)]
    with pytest.raises(InvalidRequestError, match="too many combinations"):
        compile_schema({"oneOf": options}, strict=False, param="p")


SCALARS: list[Any] = [None, True, 0, 1, 2, 5, 1.5, "", "a", "ab", "b", "abc"]
NAMES = [names for length in range(4) for names in combinations(("a", "b", "c", "ab"), length)]
VALUES: list[Any] = [
    *SCALARS,
    *([item] for item in SCALARS),
    *([1, item] for item in SCALARS),
    *({"a": value} for value in SCALARS),
    *(dict.fromkeys(names, value) for names in NAMES for value in (1, "x")),
    *({"a": {"a": 1, "b": value}} for value in (1, "x")),
    {"a": 1, "b": "x"},
    {"a": "x", "b": 1, "c": None},
]
ENDED: Schema = {"if": {"type": "string"}, "then": {"maxLength": 1}, "else": {"maximum": 1}}
DRAFT_7: Schema = {"$schema": "http://json-schema.org/draft-07/schema#"}
OPEN: Schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "unevaluatedProperties": False}


def within(schema: Schema) -> Schema:
    """Return a schema with ``schema`` one level further down."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


@pytest.mark.parametrize(
    "schema",
    [
        ENDED,
        within(ENDED),
        {"if": {"type": "string"}, "then": {"maxLength": 1}},
        within({"if": {"type": "string"}, "else": {"maximum": 1}}),
        {"if": {"type": "string"}},
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"properties": {"b": False}}},
        {"const": {"a": {"a": 1, "b": 1}}},
        within({"const": 1}),
        within({"enum": [1, "x", None]}),
        {"enum": [[1, 1], [1, "a"], {"a": 1}]},
        within({"allOf": [{"type": ["integer", "string"]}, {"type": ["string", "null"]}]}),
        within({"anyOf": [{"minimum": 2}, {"maxLength": 1}], "type": ["number", "string"]}),
        within({"oneOf": [{"minimum": 2}, {"maximum": 2}], "type": "number"}),
        within({"not": {"type": ["string", "null"]}}),
        within({"not": {"const": 1}}),
        {"not": {"anyOf": [{"type": "object"}, {"minimum": 1}, {"type": "string"}]}},
        {"dependentRequired": {"a": ["b", "c"], "c": []}},
        {"dependentSchemas": {"a": {"required": ["b"]}, "b": {"properties": {"a": {"type": "integer"}}}}},
        {**DRAFT_7, "dependencies": {"a": ["b"], "b": {"properties": {"a": {"type": "integer"}}}}},
        within({"dependentRequired": {"a": ["c"]}}),
        {"propertyNames": True},
        {"propertyNames": {"enum": ["a", "ab"]}},
        {"propertyNames": {"const": "a"}, "required": ["a"]},
        {"propertyNames": {"minLength": 2}},
        {"propertyNames": {"maxLength": 1}, "properties": {"ab": {}, "a": {"type": "integer"}}},
        {"propertyNames": {"anyOf": [{"const": "c"}, {"pattern": "^a"}]}, "additionalProperties": {"type": "integer"}},
        {"propertyNames": {"pattern": "^a"}, "properties": {"b": {}}, "required": ["b"], "type": ["object", "null"]},
        {"propertyNames": {"type": "integer"}},
        {
            "propertyNames": {"pattern": "^a"},
            "properties": {"a": {}, "b": {}},
            "patternProperties": {"^c": False},
            "additionalProperties": False,
        },
        OPEN,
        {**OPEN, "unevaluatedProperties": {"type": "string"}},
        {**OPEN, "unevaluatedProperties": True},
        {**OPEN, "patternProperties": {"^b": {"type": "string"}, "^c": {"type": "integer"}}, "required": ["b"]},
        {**OPEN, "allOf": [{"additionalProperties": {"type": "integer"}}]},
        {**OPEN, "allOf": [{"properties": {"b": {"type": "integer"}}}]},
        {**OPEN, "anyOf": [{"properties": {"b": {"type": "integer"}}}, {"properties": {"c": {}}, "required": ["c"]}]},
        {**OPEN, "oneOf": [{"properties": {"b": {}}, "required": ["b"]}, {"properties": {"c": {}}, "required": ["c"]}]},
        {**OPEN, "if": {"properties": {"b": {}}, "required": ["b"]}, "else": {"properties": {"c": {}}}},
        {**OPEN, "if": {"properties": {"b": {}}, "required": ["b"]}},
        {**OPEN, "dependentSchemas": {"a": {"properties": {"b": {}}}}},
        {**OPEN, "$ref": "#/$defs/x", "$defs": {"x": {"properties": {"b": {}}}}},
        {"allOf": [OPEN], "properties": {"b": {}}, "unevaluatedProperties": {"type": "integer"}},
        {"type": ["object", "string"], "properties": {"a": {}}, "unevaluatedProperties": {"type": "integer"}},
    ],
)
def test_exactly_the_valid_values_are_admitted(schema: Schema) -> None:
    valid = [value for value in VALUES if is_valid(schema, json.dumps(value))]
    text = compile_schema(schema if tracks_evaluation(schema) else opened(schema), strict=False, param="p")
    assert valid == admitted(text, VALUES)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"properties": {"a": {"$ref": "#/$defs/x", "minimum": 1}}, "$defs": {"x": {"not": {"pattern": "a"}}}},
            r"\('\$defs', 'x'\), 'not' is not supported here: 'pattern' and 'format' cannot be negated",
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"patternProperties": {"^a": {"type": "null"}}}}},
                    {"properties": {"a": {"patternProperties": {"b$": {"type": "string"}}}}},
                ]
            },
            r"\('allOf', 0, 'properties', 'a'\), 'patternProperties' with overlapping patterns",
        ),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "not": {"$ref": "#/nowhere", "pattern": "(?=a)"}},
            r"\('not',\), '\$ref' names a subschema that does not exist",
        ),
        (
            {"properties": {"a": {"propertyNames": {"pattern": "a"}, "patternProperties": {"^b": {"type": "null"}}}}},
            r"\('properties', 'a'\), 'propertyNames' is not supported here: beside 'patternProperties'",
        ),
        (
            {"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}]}}},
            r"\('properties', 'a'\), '\$ref' refers to itself without going into a property or an item",
        ),
        (
            {"allOf": [{"type": "string", "pattern": "(?=a)"}]},
            r"\('allOf', 0\), 'pattern' uses look-around",
        ),
        ({"propertyNames": {"minLength": 1, "not": {"const": "ab"}}}, "'propertyNames' is not supported here: several"),
    ],
)
def test_a_refusal_names_the_subschema_at_fault(schema: Schema, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        compile_schema(schema, strict=False, param="p")


def test_unevaluated_properties_follow_every_combination_of_five_options() -> None:
    options = [{"properties": {name: {}}, "required": [name]} for name in "abcde"]
    schema = {"anyOf": options, "unevaluatedProperties": False}
    values = [dict.fromkeys(names, 1) for names in ("", "a", "be", "abcde", "f", "af")]
    valid = [value for value in values if is_valid(schema, json.dumps(value))]
    assert valid == admitted(compile_schema(schema, strict=False, param="p"), values)


def spent(schema: Schema) -> int:
    """Return the cost of expanding a schema, in comparisons."""
    document = Document(schema)
    before = document.budget.left
    Expander(document).expand(document.term(()))
    return before - document.budget.left


def test_each_alternative_of_a_term_costs_budget() -> None:
    assert COMPARISONS * (1 + len(EVERYTHING)) == spent({})


def test_large_constant_costs_budget() -> None:
    expander = Expander(Document({}))
    before = expander.budget.left
    expander.expand(Constant('"' + "x" * 10 * CONSTANT_CHARACTERS + '"'))
    assert COMPARISONS * (10 + 2) == before - expander.budget.left


def test_matching_names_with_evaluated_patterns_costs_budget() -> None:
    names = [f"p{number}" for number in range(100)]
    schema: Schema = {"type": "object", "required": names, "patternProperties": {"^p": {"type": "null"}}}
    assert spent({**schema, "unevaluatedProperties": False}) - spent(schema) >= matching(1, 100, 290)


def test_check_of_a_shape_costs_budget() -> None:
    expander = Expander(Document({}))
    before = expander.budget.left
    assert expander.is_possible(String(values=("a",) * 100))
    assert COMPARISONS * 51 == before - expander.budget.left


def test_a_shape_without_a_value_is_impossible() -> None:
    expander = Expander(Document({}))
    impossible: list[Shape] = [
        Object((("a", NEVER),), required=("a",)),
        Array(prefix=(ANY, NEVER), min_items=2),
        Array(prefix=(ANY,), items=NEVER, min_items=2),
    ]
    satisfied: list[Shape] = [
        Object((("a", NEVER),)),
        Array(prefix=(ANY, NEVER), min_items=1),
        Array(items=NEVER),
        Array(prefix=(ANY,), items=NEVER, min_items=1),
    ]
    assert [False] * 3 == [expander.is_possible(shape) for shape in impossible]
    assert [True] * 4 == [expander.is_possible(shape) for shape in satisfied]


def test_a_term_that_is_refused_counts_as_satisfiable_until_the_budget_is_spent() -> None:
    document = Document({"not": {"not": {"pattern": "a"}}})
    expander = Expander(document)
    assert expander.is_satisfiable(document.term(("not",)))
    document.budget.left = 0
    with pytest.raises(SchemaRefusedError, match="too many combinations"):
        expander.is_satisfiable(ANY)


def test_a_term_that_was_refused_is_refused_again_for_the_same_reason() -> None:
    document = Document({"not": {"pattern": "a"}})
    expander = Expander(document)
    for _ in range(2):
        with pytest.raises(SchemaRefusedError, match="cannot be negated"):
            expander.expand(document.term(()))


def test_dynamic_reference_is_one_with_a_single_target_or_refused() -> None:
    strings: Schema = {"$defs": {"x": {"$dynamicAnchor": "item", "type": "string"}}, "$dynamicRef": "#item"}
    assert admits(compile_schema(strings, strict=False, param="p"), "a")
    assert not admits(compile_schema(strings, strict=False, param="p"), 1)
    again = {"$id": "http://a.test/y", "$dynamicAnchor": "item"}
    with pytest.raises(
        InvalidRequestError, match=r"'\$dynamicRef' is not supported here: its anchor has several places"
    ):
        compile_schema({**strings, "$defs": {**strings["$defs"], "y": again}}, strict=False, param="p")
