"""What llguidance is given means to it what it should; each of these once did not."""

from typing import Any

import llguidance
import pytest

from antiphon.constraints.json_schema.compiler import compile_schema
from antiphon.constraints.json_schema.document import Document
from antiphon.constraints.json_schema.emission import Emitter
from antiphon.constraints.json_schema.expansion import Expander
from antiphon.constraints.json_schema.schema_errors import SchemaRefusedError
from antiphon.engine.grammars.grammar_limits import limits
from antiphon.errors import InvalidRequestError
from tests.constraints.json_schema.random_schemas import admits, admits_text, byte_tokenizer

Schema = dict[str, Any]


def emitted(schema: Schema) -> Schema:
    document = Document(schema)
    written = Emitter(Expander(document)).emit(document.term(()))
    assert {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}.items() <= written.pop(
        "x-guidance"
    ).items()
    return written


def compiled(schema: Schema) -> str:
    return compile_schema(schema, strict=False, param="p")


def test_scalars_are_written_in_place_and_the_rest_as_definitions() -> None:
    assert {} == emitted({})
    assert {"type": "string", "minLength": 1} == emitted({"type": "string", "minLength": 1})
    assert {"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "array", "items": {"type": "null"}}}} == emitted(
        {"type": "array", "items": {"type": "null"}}
    )


def test_recursion_becomes_a_reference() -> None:
    schema = {"type": "array", "items": {"$ref": "#"}}
    assert {"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "array", "items": {"$ref": "#/$defs/d0"}}}} == emitted(
        schema
    )


def test_escaped_keys_do_not_pass_by_a_property() -> None:
    text = compiled({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert admits_text(text, '{"a": 1}')
    assert admits_text(text, '{"b": "x", "\\u001b": 1}')
    assert not admits_text(text, '{"\\u0061": "x"}')


@pytest.mark.parametrize(
    "others",
    [
        {"additionalProperties": {"type": "string"}},
        {"patternProperties": {"^b": {"type": "null"}}},
        {"patternProperties": {"^b": {"type": "null"}}, "additionalProperties": {"type": "string"}},
    ],
)
def test_escaped_keys_do_not_pass_by_patterns(others: Schema) -> None:
    text = compiled({"type": "object", "properties": {"a": {"type": "integer"}}, **others})
    assert admits_text(text, '{"a": 1, "c": "x"}')
    assert not admits_text(text, '{"\\u0061": "x"}')
    assert not admits_text(text, '{"\\u0062": "x"}')
    assert not admits_text(text, '{"b": "x"}') or "patternProperties" not in others


def test_names_do_not_keep_to_a_pattern_that_is_not_theirs() -> None:
    named = {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    text = compiled({"type": "object", "patternProperties": {"^[a-z]$": {}}, "allOf": [named]})
    assert admits(text, {"a": 1})
    assert not admits(text, {"b": 1})
    others = {**named, "additionalProperties": {"type": "string"}}
    with pytest.raises(InvalidRequestError, match="patternProperties"):
        compiled({"type": "object", "patternProperties": {"^[a-z]$": {}}, "allOf": [others]})


def test_names_with_controls_are_not_passed_by_either() -> None:
    text = compiled({"type": "object", "properties": {"a\n": {"type": "integer"}}})
    assert admits_text(text, '{"a\\n": 1}')
    assert not admits_text(text, '{"a\\u000a": "x"}')
    with pytest.raises(InvalidRequestError, match="control characters"):
        compiled({"type": "object", "properties": {"\x1b": {"type": "integer"}}})
    assert admits_text(compiled({"const": "\x1b\x7f"}), '"\\u001b\\u007f"')


def test_a_pattern_of_controls_alone_is_no_dead_end() -> None:
    with pytest.raises(InvalidRequestError):
        compiled(
            {
                "type": "object",
                "properties": {"a": {"type": "string", "pattern": "^[\\x00-\\x07]+$"}},
                "additionalProperties": {"type": "null"},
                "required": ["a"],
            }
        )


def test_only_finite_values_are_begun() -> None:
    chain = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/chain"}}}
    with pytest.raises(SchemaRefusedError, match="admits no value"):
        emitted({"$ref": "#/$defs/chain", "$defs": {"chain": chain}})
    text = compiled({"properties": {"a": {"$ref": "#/$defs/chain"}}, "type": "object", "$defs": {"chain": chain}})
    assert not admits_text(text, '{"a": ')
    assert admits(text, {"b": 1})
    ended = {**chain, "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/chain"}]}}}
    assert admits(compiled({"$ref": "#/$defs/chain", "$defs": {"chain": ended}}), {"next": {"next": None}})


def test_numbers_of_properties_of_a_map() -> None:
    text = compiled(
        {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "null"}}
    )
    assert [False, True, True, False] == [admits(text, dict.fromkeys("abcd"[:count])) for count in range(4)]


def test_large_enums_are_written_once() -> None:
    large = {"enum": [f"value {index}" for index in range(50)]}
    written = emitted({"type": "object", "properties": dict.fromkeys("abc", large)})
    assert {"enum": large["enum"]} in written["$defs"].values()


def test_too_many_optional_properties_are_refused() -> None:
    with pytest.raises(SchemaRefusedError, match="optional properties"):
        emitted({"type": "object", "properties": {f"p{index}": {} for index in range(1001)}})


def optional(count: int, prefix: str = "p") -> Schema:
    properties = {f"{prefix}{number}": {"type": "null"} for number in range(count)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def starts(schema: Schema) -> bool:
    """Whether an object can begin: a row of llguidance's parser holds what may come first."""
    matcher = llguidance.LLMatcher(byte_tokenizer(), f"start: %json {compiled(schema)}", log_level=0, limits=limits())
    matcher.consume_tokens(list(b"{"))
    matcher.compute_bitmask()
    return not matcher.is_error()


FITTING = 497


@pytest.mark.parametrize(
    "fitting",
    [
        optional(FITTING),
        {**optional(FITTING - 3), "additionalProperties": True},
        {"anyOf": [optional(FITTING // 2 - 1, "p"), optional(FITTING // 2 - 1, "q")]},
        {"anyOf": [{**optional(1, f"k{number}_"), "required": [f"k{number}_0"]} for number in range(1900)]},
        {**optional(2 * FITTING), "required": [f"p{FITTING}"]},
    ],
)
def test_as_many_properties_as_fit_can_begin(fitting: Schema) -> None:
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
def test_more_properties_than_fit_in_one_place_are_refused(crowded: Schema) -> None:
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


def test_patterns_that_are_too_hard_together_are_refused_with_their_path() -> None:
    patterns = [{"pattern": f"^(a{{{count}}})*$"} for count in (97, 101, 103, 107)]
    schema = {"properties": {"a": {"type": "string", "allOf": patterns}}}
    with pytest.raises(
        InvalidRequestError, match=r"\('properties', 'a'\), 'pattern' is too complex to be enforced beside"
    ):
        compiled(schema)
