"""Generated schemas that llguidance enforces; each test holds one of its deviations, once a fault."""

from typing import Any

import llguidance
import pytest

from antiphon.constraints.json_schema.codegen import (
    CHARACTERS_PER_COMPARISON,
    FIRST_CHARACTERS_COST,
    MAX_INLINE,
    MAX_INLINE_CHARACTERS,
    MAX_OPTIONAL_PROPERTIES,
    CodeGenerator,
)
from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.pattern import any_text_except
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, SchemaRefusedError
from antiphon.engine.grammars.grammar_limits import limits
from antiphon.errors import InvalidRequestError
from tests.constraints.json_schema.random_schemas import admits, admits_text, admitted, byte_tokenizer

Schema = dict[str, Any]


def generated(schema: Schema) -> Schema:
    document = Document(schema)
    written = CodeGenerator(Expander(document)).generate(document.term(()))
    assert {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}.items() <= written.pop(
        "x-guidance"
    ).items()
    return written


def compiled(schema: Schema) -> str:
    return compile_schema(schema, strict=False, param="p")


def test_scalars_are_written_in_place_and_other_shapes_as_definitions() -> None:
    assert {} == generated({})
    assert {"type": "string", "minLength": 1} == generated({"type": "string", "minLength": 1})
    assert {"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "array", "items": {"type": "null"}}}} == generated(
        {"type": "array", "items": {"type": "null"}}
    )


def test_recursion_becomes_a_reference() -> None:
    schema = {"type": "array", "items": {"$ref": "#"}}
    assert {"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "array", "items": {"$ref": "#/$defs/d0"}}}} == generated(
        schema
    )


def test_escaped_key_does_not_bypass_a_property() -> None:
    text = compiled({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True})
    assert admits_text(text, '{"a": 1}')
    assert admits_text(text, '{"b": "x", "\\u001b": 1}')
    assert not admits_text(text, '{"\\u0061": "x"}')


@pytest.mark.parametrize(
    "others",
    [
        {"additionalProperties": {"type": "string"}},
        {"patternProperties": {"^b": {"type": "null"}}, "additionalProperties": True},
        {"patternProperties": {"^b": {"type": "null"}}, "additionalProperties": {"type": "string"}},
    ],
)
def test_escaped_key_does_not_bypass_a_pattern(others: Schema) -> None:
    text = compiled({"type": "object", "properties": {"a": {"type": "integer"}}, **others})
    assert admits_text(text, '{"a": 1, "c": "x"}')
    assert not admits_text(text, '{"\\u0061": "x"}')
    assert not admits_text(text, '{"\\u0062": "x"}')
    assert not admits_text(text, '{"b": "x"}') or "patternProperties" not in others


def test_pattern_of_another_subschema_does_not_constrain_a_named_property() -> None:
    named = {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    text = compiled({"type": "object", "patternProperties": {"^[a-z]+$": {}}, "allOf": [named]})
    assert admits(text, {"a": 1})
    assert not admits(text, {"b": 1})
    others = {**named, "additionalProperties": {"type": "string"}}
    with pytest.raises(InvalidRequestError, match="patternProperties"):
        compiled({"type": "object", "patternProperties": {"^[a-z]+$": {}}, "allOf": [others]})


def test_escaped_key_does_not_bypass_a_name_with_control_characters() -> None:
    text = compiled({"type": "object", "properties": {"a\n": {"type": "integer"}}, "additionalProperties": True})
    assert admits_text(text, '{"a\\n": 1}')
    assert not admits_text(text, '{"a\\u000a": "x"}')
    with pytest.raises(InvalidRequestError, match="control characters"):
        compiled({"type": "object", "properties": {"\x1b": {"type": "integer"}}, "additionalProperties": True})
    assert admits_text(compiled({"const": "\x1b\x7f"}), '"\\u001b\\u007f"')


def test_pattern_of_control_characters_alone_can_be_completed() -> None:
    with pytest.raises(InvalidRequestError):
        compiled(
            {
                "type": "object",
                "properties": {"a": {"type": "string", "pattern": "^[\\x00-\\x07]+$"}},
                "additionalProperties": {"type": "null"},
                "required": ["a"],
            }
        )


def test_values_without_end_are_not_begun() -> None:
    chain = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/chain"}}}
    with pytest.raises(SchemaRefusedError, match="admits no value"):
        generated({"$ref": "#/$defs/chain", "$defs": {"chain": chain}})
    text = compiled(
        {"properties": {"a": {"$ref": "#/$defs/chain"}, "b": {}}, "type": "object", "$defs": {"chain": chain}}
    )
    assert not admits_text(text, '{"a": ')
    assert admits(text, {"b": 1})
    ended = {**chain, "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/chain"}]}}}
    assert admits(compiled({"$ref": "#/$defs/chain", "$defs": {"chain": ended}}), {"next": {"next": None}})


def test_number_of_unnamed_properties_is_bounded() -> None:
    text = compiled(
        {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "null"}}
    )
    assert [False, True, True, False] == [admits(text, dict.fromkeys("abcd"[:count])) for count in range(4)]


def test_large_enums_are_written_once() -> None:
    large = {"enum": [f"value {index}" for index in range(50)]}
    written = generated({"type": "object", "properties": dict.fromkeys("abc", large)})
    assert {"enum": large["enum"]} in written["$defs"].values()


def test_too_many_optional_properties_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="optional properties"):
        generated({"type": "object", "properties": {f"p{index}": {} for index in range(1001)}})


def optional(count: int, prefix: str = "p") -> Schema:
    properties = {f"{prefix}{number}": {"type": "null"} for number in range(count)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def starts(schema: Schema) -> bool:
    """Return whether an object can begin: its first properties fit in a row of llguidance's parser."""
    matcher = llguidance.LLMatcher(byte_tokenizer(), f"start: %json {compiled(schema)}", log_level=0, limits=limits())
    matcher.consume_tokens(list(b"{"))
    matcher.compute_bitmask()
    return not matcher.is_error()


FITTING = 497


@pytest.mark.parametrize(
    "fitting",
    [
        optional(FITTING),
        {**optional(FITTING - 2), "additionalProperties": True},
        {"anyOf": [optional(FITTING // 2 - 1, "p"), optional(FITTING // 2 - 1, "q")]},
        {"anyOf": [{**optional(1, f"k{number}_"), "required": [f"k{number}_0"]} for number in range(1900)]},
        {**optional(2 * FITTING), "required": [f"p{FITTING}"]},
    ],
)
def test_object_with_properties_up_to_the_parser_s_row_can_begin(fitting: Schema) -> None:
    assert starts(fitting)


@pytest.mark.parametrize(
    "crowded",
    [
        optional(FITTING + 1),
        {**optional(FITTING - 1), "additionalProperties": True},
        {"anyOf": [optional(FITTING // 2 + 1, "p"), optional(FITTING // 2 + 1, "q")]},
        {"anyOf": [{**optional(1, f"k{number}_"), "required": [f"k{number}_0"]} for number in range(2000)]},
        {**optional(2 * FITTING), "required": ["p3"]},
        {"type": "array", "items": optional(FITTING + 1)},
    ],
)
def test_object_with_more_properties_than_the_parser_s_row_is_refused(crowded: Schema) -> None:
    with pytest.raises(InvalidRequestError, match="more than 1990 objects or 497 optional properties in one place"):
        compiled(crowded)


def test_a_large_multiple_is_refused_with_its_path() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 99999989}}}
    with pytest.raises(
        InvalidRequestError, match=r"\('properties', 'a'\), 'multipleOf' 99999989 exceeds the limit of 10000"
    ):
        compiled(schema)


@pytest.mark.parametrize(
    "large",
    [
        {"type": "number", "not": {"enum": list(range(200))}},
        {"enum": [f"{'x' * 500}{number}" for number in range(9)]},
        {"type": "string", "pattern": "(a|b)" * 1000},
    ],
)
def test_a_large_scalar_is_written_once(large: Schema) -> None:
    schema = {"$defs": {"a": large}, "properties": {f"p{number}": {"$ref": "#/$defs/a"} for number in range(300)}}
    assert len(compiled(schema)) < 2 * len(compiled(large)) + 300 * len(', "p000": {"$ref": "#/$defs/d0000"}')


def test_patterns_too_complex_together_are_refused_with_their_path() -> None:
    patterns = [{"pattern": f"^(a{{{count}}})*$"} for count in (97, 101, 103, 107)]
    schema = {"properties": {"a": {"type": "string", "allOf": patterns}}}
    with pytest.raises(
        InvalidRequestError, match=r"\('properties', 'a'\), 'pattern' is too complex to be enforced beside"
    ):
        compiled(schema)


NULL: Schema = {"type": "null"}


@pytest.mark.parametrize(
    ("expected", "schema"),
    [
        ({"type": "boolean"}, {"type": "boolean"}),
        ({"const": True}, {"enum": [True]}),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, {"type": ["null", "boolean"]}),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "exclusiveMinimum": 0}),
        ({"enum": ["a", "b"]}, {"enum": ["a", "b"]}),
        ({"type": "string", "pattern": any_text_except(["a", "b"])}, {"type": "string", "not": {"enum": ["b", "a"]}}),
        (
            {
                "type": "string",
                "pattern": "^x",
                "minLength": 1,
                "maxLength": 9,
                "allOf": [{"type": "string", "pattern": any_text_except(["xx"])}],
            },
            {"type": "string", "pattern": "^x", "minLength": 1, "maxLength": 9, "not": {"const": "xx"}},
        ),
    ],
)
def test_scalar_schema_is_generated(expected: Schema, schema: Schema) -> None:
    assert expected == generated(schema)


@pytest.mark.parametrize(
    ("expected", "schema"),
    [
        ({"type": "array"}, {"type": "array"}),
        ({"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
        ({"type": "array", "minItems": 1, "maxItems": 3}, {"type": "array", "minItems": 1, "maxItems": 3}),
        (
            {"type": "array", "prefixItems": [NULL, {}], "items": {"type": "boolean"}},
            {"type": "array", "prefixItems": [NULL, True], "items": {"type": "boolean"}},
        ),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "object", "additionalProperties": NULL}, {"type": "object", "additionalProperties": NULL}),
        ({"type": "object", "additionalProperties": False}, {"type": "object", "maxProperties": 0}),
        (
            {"type": "object", "properties": {"a": NULL}, "patternProperties": {"": {}}, "additionalProperties": False},
            {"type": "object", "properties": {"a": NULL}, "additionalProperties": True},
        ),
        (
            {"type": "object", "properties": {"a": NULL}, "additionalProperties": False},
            {"type": "object", "properties": {"a": NULL}},
        ),
        (
            {"type": "object", "properties": {"a": NULL}, "required": ["a"], "additionalProperties": False},
            {"type": "object", "properties": {"a": NULL}, "required": ["a"], "additionalProperties": False},
        ),
        (
            {"type": "object", "minProperties": 1, "maxProperties": 2},
            {"type": "object", "minProperties": 1, "maxProperties": 2},
        ),
        (
            {"type": "object", "patternProperties": {"^a": NULL}, "additionalProperties": False},
            {"type": "object", "patternProperties": {"^a": NULL, "^b": False}, "additionalProperties": False},
        ),
        (
            {"type": "object", "patternProperties": {"^a": NULL, "^b": False}},
            {"type": "object", "patternProperties": {"^a": NULL, "^b": False}},
        ),
    ],
)
def test_array_or_object_schema_is_generated(expected: Schema, schema: Schema) -> None:
    assert {"$ref": "#/$defs/d0", "$defs": {"d0": expected}} == generated(schema)


@pytest.mark.parametrize(
    ("definitions", "schema"),
    [
        (0, {"type": "number", "not": {"enum": list(range(MAX_INLINE - 1))}}),
        (1, {"type": "number", "not": {"enum": list(range(MAX_INLINE))}}),
        (0, {"enum": [f"{number}" for number in range(MAX_INLINE)]}),
        (1, {"enum": [f"{number}" for number in range(MAX_INLINE + 1)]}),
        (0, {"type": "string", "not": {"enum": [f"{number}" for number in range(MAX_INLINE)]}}),
        (1, {"type": "string", "not": {"enum": [f"{number}" for number in range(MAX_INLINE + 1)]}}),
        (0, {"const": "x" * MAX_INLINE_CHARACTERS}),
        (1, {"const": "x" * (MAX_INLINE_CHARACTERS + 1)}),
        (0, {"type": "string", "pattern": "x" * MAX_INLINE_CHARACTERS}),
        (1, {"type": "string", "pattern": "x" * (MAX_INLINE_CHARACTERS + 1)}),
    ],
)
def test_only_large_scalars_have_a_definition(definitions: int, schema: Schema) -> None:
    assert definitions == len(generated(schema).get("$defs", {}))


BYPASSABLE: list[Schema] = [
    {"properties": {"a": NULL}, "additionalProperties": {"type": "string"}},
    {"patternProperties": {"^a": NULL}},
    {"properties": {"a\n": NULL}, "additionalProperties": True},
    {"properties": {"a\n": NULL}, "patternProperties": {"^b": NULL}, "additionalProperties": False},
]
NOT_BYPASSABLE: list[Schema] = [
    {},
    {"properties": {"a": NULL}, "additionalProperties": True},
    {"additionalProperties": NULL},
    {"properties": {"\x1b": NULL}, "additionalProperties": False},
    {"properties": {"a": NULL}, "patternProperties": {"^b": NULL}, "additionalProperties": False},
]


def options(schema: Schema) -> Schema:
    document = Document({"type": "object", **schema})
    written: Schema = CodeGenerator(Expander(document)).generate(document.term(()))["x-guidance"]
    return written


def test_code_point_escapes_are_forbidden_if_a_key_could_bypass_a_property() -> None:
    assert [{'nrbtf\\"'}] * len(BYPASSABLE) == [{options(schema).get("json_allowed_escapes")} for schema in BYPASSABLE]
    assert [False] * len(NOT_BYPASSABLE) == ["json_allowed_escapes" in options(schema) for schema in NOT_BYPASSABLE]


@pytest.mark.parametrize("text", ["\x00", "a\x07", "\x0b", "\x0e", "\x1f", "\x7f"])
@pytest.mark.parametrize("place", ["const", "properties"])
def test_control_characters_beside_open_properties_are_refused_with_their_path(place: str, text: str) -> None:
    inner = {"const": text} if place == "const" else {"properties": {text: NULL}, "additionalProperties": False}
    with pytest.raises(InvalidRequestError, match=r"In context=\('properties', 'a'\), control characters"):
        compiled({**BYPASSABLE[0], "properties": {"a": {"type": ["object", "string"], **inner}}, "type": "object"})


@pytest.mark.parametrize("text", ["\x08", "\t", "\n", "\x0c", "\r", " ", "~", "\x80"])
def test_other_characters_beside_open_properties_can_be_written(text: str) -> None:
    schema = {**BYPASSABLE[0], "properties": {"a": {"const": text}}, "type": "object"}
    assert admits(compiled(schema), {"a": text})


def test_texts_beside_open_properties_have_no_control_characters() -> None:
    schema = {**BYPASSABLE[0], "properties": {"a": {"type": "string", "pattern": "^.$"}}, "type": "object"}
    text = compiled(schema)
    assert [True, False] == [admits_text(text, f'{{"a": "{spelled}"}}') for spelled in ("\\t", "\\u001b")]


def test_named_property_satisfies_a_matching_pattern_too() -> None:
    schema = {
        "type": "object",
        "properties": {"ab": {"type": ["null", "string"]}, "c": NULL},
        "patternProperties": {"^a": {"type": ["string", "integer"]}},
        "additionalProperties": False,
    }
    values = [{"ab": "x"}, {"a": 1}, {"c": None}, {"ab": None}, {"ab": 1}, {"c": 1}]
    assert values[:3] == admitted(compiled(schema), values)


def test_pattern_is_refused_if_one_matching_name_has_another_schema() -> None:
    named = {"properties": {"a": {"type": "integer"}, "A": {"type": "integer"}}, "additionalProperties": NULL}
    with pytest.raises(InvalidRequestError, match="'patternProperties' beside such 'additionalProperties'"):
        compiled({"type": "object", "patternProperties": {"^[aA]+$": {}}, "allOf": [named]})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "uniqueItems": True}, "'uniqueItems' is not supported, unless"),
        ({"type": "number", "minimum": 1e18}, "numbers that must have more than 18 digits"),
        ({"type": "array", "items": {"not": {"pattern": "x"}}}, "'not' is not supported here"),
    ],
)
def test_unsupported_schema_is_refused_with_its_path(schema: Schema, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"In context=\('properties', 'a'.*\), {message}"):
        compiled({"type": "object", "properties": {"a": schema}})


def spread(count: int, title: str) -> Schema:
    """Return an object of ``count`` optional properties, with required ones between them so that rows suffice."""
    names = [f"p{number}" for number in range(count + 3)]
    required = [names[place * count // 4] for place in (1, 2, 3)]
    return {"type": "object", "title": title, "properties": {name: {} for name in names}, "required": required}


def test_sum_of_squared_optional_properties_is_bounded() -> None:
    objects = {str(number): spread(MAX_OPTIONAL_PROPERTIES, str(number)) for number in range(9)}
    eight = dict(list(objects.items())[:8])
    assert 9 == len(generated({"type": "object", "properties": eight, "required": list(eight)})["$defs"])
    with pytest.raises(SchemaRefusedError, match="more than 1000 optional properties are not supported"):
        generated({"type": "object", "properties": objects, "required": list(objects)})
    with pytest.raises(SchemaRefusedError, match="more than 1000 optional properties are not supported"):
        generated(spread(MAX_OPTIONAL_PROPERTIES + 1, "one"))


def spent(schema: Schema) -> int:
    """Return the cost of generating a schema, in comparisons."""
    document = Document(schema)
    expander = Expander(document)
    before = document.budget.left
    CodeGenerator(expander).generate(document.term(()))
    return before - document.budget.left


def test_check_of_a_text_with_several_bounds_costs_budget_once() -> None:
    text = {"type": "string", "pattern": "^[a-z]+$"}
    price = FIRST_CHARACTERS_COST * COMPARISONS
    assert price == spent({**text, "minLength": 1}) - spent(text)
    assert price == spent({**text, "maxLength": 9}) - spent(text)
    assert price == spent({**text, "minLength": 1, "maxLength": 9}) - spent(text)
    twice = [{**text, "minLength": 1, "title": title} for title in "ab"]
    assert price == spent({"type": "array", "prefixItems": twice}) - spent(
        {"type": "array", "prefixItems": [{**text, "title": title} for title in "ab"]}
    )


def test_excluded_texts_cost_budget() -> None:
    few, many = ({"type": "string", "not": {"enum": [name * count for name in "abcde"]}} for count in (4, 404))
    assert 5 * 400 // CHARACTERS_PER_COMPARISON == spent(many) - spent(few)


def test_matching_names_with_patterns_costs_budget() -> None:
    names = [f"p{number}" for number in range(100)]
    schema: Schema = {"type": "object", "properties": {}, "required": names}
    document = Document({**schema, "patternProperties": {"^p": NULL}})
    expander = Expander(document)
    expander.expand(document.term(()))
    document.budget.left = 100 * COMPARISONS
    with pytest.raises(SchemaRefusedError, match="'patternProperties' makes too many"):
        CodeGenerator(expander).generate(document.term(()))
