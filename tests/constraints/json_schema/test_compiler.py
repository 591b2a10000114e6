"""The whole way: every text that a compiled schema admits validates, and what is refused says why."""

import json
import random
from typing import Any

import llguidance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.constraints.json_schema import compile_schema, validate_grammar
from antiphon.constraints.json_schema.schema_errors import MAX_WORK
from antiphon.errors import InvalidRequestError
from fuzz.work import CALLS_OF_CHARACTER, CALLS_OF_WORK, FREE_CALLS, counted_work
from tests.constraints.json_schema.random_schemas import (
    admits,
    byte_tokenizer,
    can_be_spelled,
    instances,
    is_valid,
    schemas,
    walk,
)
from tests.constraints.json_schema.real_schemas import ACCEPTED, REFUSED

WORK = 8000
"""Alternatives: a smaller budget than the server's."""
thorough = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


def compiled(schema: Any) -> str | None:  # noqa: ANN401
    try:
        return compile_schema(schema, strict=False, param="p")
    except InvalidRequestError:
        return None


def agrees(schema: Any, text: str) -> bool | None:  # noqa: ANN401
    """Whether the text is valid; None where jsonschema goes round in circles or stumbles."""
    try:
        return is_valid(schema, text)
    except (RecursionError, TypeError):
        return None


@thorough
@given(schemas(), st.randoms(use_true_random=False))
def test_every_text_that_is_admitted_validates(schema: dict[str, Any], choice: random.Random) -> None:
    text = compiled(schema)
    if text is None:
        return
    for _ in range(3):
        walked = walk(text, choice)
        assert walked is None or agrees(schema, walked) is not False, walked


@thorough
@given(schemas(), st.lists(instances, min_size=6, max_size=6))
def test_exactly_the_valid_instances_are_admitted(schema: dict[str, Any], values: list[Any]) -> None:
    text = compiled(schema)
    if text is None:
        return
    for value in values:
        valid = agrees(schema, json.dumps(value))
        assert valid is None or valid == admits(text, value) or not can_be_spelled(text, value), value


@pytest.mark.parametrize("name", ACCEPTED)
def test_realistic_schemas_are_enforced(name: str) -> None:
    text = compile_schema(ACCEPTED[name], strict=False, param="p")
    choice = random.Random(name)  # noqa: S311 (not for secrets)
    walked = [walk(text, choice, limit=600) for _ in range(3)]
    assert [] == [one for one in walked if one is not None and not is_valid(ACCEPTED[name], one)]


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_by_name(name: str) -> None:
    schema, keyword = REFUSED[name]
    with pytest.raises(InvalidRequestError) as caught:
        compile_schema(schema, strict=False, param="response_format", subject=f"response_format '{name}'")
    assert f"'{keyword}'" in caught.value.message
    assert f"Invalid schema for response_format '{name}': In context=(" in caught.value.message
    assert ("response_format", None) == (caught.value.param, caught.value.code)


def test_nine_in_ten_realistic_schemas_are_enforced() -> None:
    assert len(ACCEPTED) / (len(ACCEPTED) + len(REFUSED)) >= 0.9


def test_the_text_stands_inside_a_grammar() -> None:
    text = compile_schema({"const": 'a "quoted" {brace} // %json'}, strict=False, param="p")
    grammar = f'start: "<call>" body "</call>"\nbody: %json {text}\n'
    validate_grammar(grammar, param="p")
    matcher = llguidance.LLMatcher(byte_tokenizer(), grammar)
    tokens = list(b'<call>"a \\"quoted\\" {brace} // %json"</call>')
    assert len(tokens) == matcher.try_consume_tokens(tokens)
    assert matcher.is_accepting()


def test_properties_come_in_the_order_of_the_schema() -> None:
    schema = {"properties": {"b": {"const": 1}, "a": {"const": 2}}, "required": ["a", "b", "c"], "type": "object"}
    text = compile_schema({**schema, "additionalProperties": {"const": 3}}, strict=False, param="p")
    matcher = llguidance.LLMatcher(byte_tokenizer(), f"start: %json {text}")
    assert b'{"b": 1, "a": 2, "c": 3' == matcher.compute_ff_bytes()


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"const": "\ud800"}, "surrogate"),
        ({"minimum": float("inf")}, "out of range"),
        ({"enum": ["x" * 5_000_000]}, "limit"),
        (False, "admits no value"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "admits no value"),
    ],
)
def test_hostile_values(schema: Any, reason: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequestError, match=reason):
        compile_schema(schema, strict=False, param="p")


def test_nesting_without_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(InvalidRequestError, match="nest"):
        compile_schema(schema, strict=False, param="p")


def test_errors_carry_what_the_caller_says() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        compile_schema(
            {"properties": {"a": {"type": "strin"}}},
            strict=False,
            param="tools[0].function.parameters",
            subject="function 'f'",
            code="invalid_function_parameters",
        )
    assert caught.value.message.startswith(
        "Invalid schema for function 'f': In context=('properties', 'a'), 'type' must be"
    )
    assert ("tools[0].function.parameters", "invalid_function_parameters") == (caught.value.param, caught.value.code)


def test_compiling_again_gives_the_same_text() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "null"}}}
    first = compile_schema(schema, strict=False, param="p")
    assert first is compile_schema(dict(schema), strict=False, param="q")


@pytest.mark.parametrize("grammar", ['start: "a" | b\nb: /[0-9]+/', 'start: %json {"type": "object"}'])
def test_grammars_that_can_be_followed(grammar: str) -> None:
    validate_grammar(grammar, param="p")


@pytest.mark.parametrize(
    "grammar", ["start: b", "start: /(/", "", "start: /(?=a)/", "start: %json {", "x" * 17_000_000]
)
def test_grammars_that_cannot_be_followed(grammar: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"Invalid value for 'tools\[0\]\.custom'") as caught:
        validate_grammar(grammar, param="tools[0].custom")
    assert ("tools[0].custom", "invalid_value") == (caught.value.param, caught.value.code)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "pattern", ["^(a?){5000}a{5000}$", "((a{1,100}){1,100}){1,100}", "(x+x+)+y", "[a-z]{10000}" * 20]
)
def test_hostile_patterns_end_in_time(pattern: str) -> None:
    text = compiled({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]})
    if text is not None:
        validate_grammar(f"start: %json {text}", param="p")


def consts(values: list[Any]) -> list[dict[str, Any]]:
    return [{"const": value} for value in values]


def mixed(count: int) -> list[Any]:
    return [value for n in range(count // 5) for value in (n, n + 0.5, f"w{n}", {"x": n}, [n])]


SETS: dict[str, Any] = {
    "not anyOf numbers": lambda count: {"not": {"anyOf": consts(list(range(count)))}},
    "not enum numbers": lambda count: {"not": {"enum": list(range(count))}},
    "not anyOf strings": lambda count: {"not": {"anyOf": consts([f"w{n}" for n in range(count)])}},
    "not enum strings": lambda count: {"not": {"enum": [f"w{n}" for n in range(count)]}},
    "enum but not enum": lambda count: {"enum": mixed(count), "not": {"enum": mixed(count)[::2]}},
    "oneOf numbers": lambda count: {"oneOf": consts(list(range(count)))},
    "oneOf strings": lambda count: {"oneOf": consts([f"w{n}" for n in range(count)])},
    "oneOf objects": lambda count: {"oneOf": consts([{"x": n} for n in range(count)])},
    "oneOf of all types": lambda count: {"oneOf": consts(mixed(count))},
    "oneOf enums": lambda count: {"oneOf": [{"enum": [*range(n, n + 10)]} for n in range(0, count, 10)]},
    "allOf enums": lambda count: {"allOf": [{"enum": mixed(count)}] * 2},
}


def calls(schema: dict[str, Any]) -> int:
    """How many functions are called to compile a schema."""
    with counted_work(MAX_WORK) as work:
        compile_schema(schema, strict=False, param="p")
    return work.calls


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_a_set_of_values_takes_work_in_proportion_to_its_size(make: Any) -> None:  # noqa: ANN401
    assert calls(make(1900)) < 2.5 * calls(make(950)) + 5000


def wide(count: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    properties = {f"p{n}": {"type": "string"} for n in range(count)}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


HOSTILE: dict[str, dict[str, Any]] = {
    "listed arrays": {"not": {"enum": [[n] for n in range(2000)]}},
    "intervals of intervals": {"not": {"not": {"not": {"enum": [*range(2000)]}}}},
    "tagged objects": {
        "oneOf": [{"type": "object", "required": [f"k{n}"], "minProperties": n % 2} for n in range(2000)]
    },
    "a large constant": {
        "properties": {f"k{n}": {} for n in range(900)},
        "not": {"const": {f"k{n}": n for n in range(900)}},
    },
    "dependencies": {"type": "object", "dependentRequired": {f"a{n}": [f"b{n}"] for n in range(300)}},
    "counts of properties": {"properties": {f"o{n}": wide(44, minProperties=2, title=str(n)) for n in range(60)}},
    "one of many properties": {"properties": {f"o{n}": wide(400, maxProperties=1, title=str(n)) for n in range(9)}},
    "conjunctions": {"allOf": [{"properties": {"p": {"type": "integer", "minimum": n}}} for n in range(9000)]},
    "texts and patterns": {"enum": [f"w{n}" for n in range(9000)], "allOf": [{"pattern": f"w|{n}"} for n in range(99)]},
    "patterns of properties": {
        "allOf": [{"patternProperties": {f"^{n}_{m}x": {"minimum": 20 * n + m} for m in range(20)}} for n in range(20)]
    },
    "sets of sets": {"$defs": {"a": {"enum": mixed(5000)}}, "allOf": [{"$ref": "#/$defs/a"}] * 900},
    "items": {
        "$defs": {"a": {"prefixItems": [{"minimum": n} for n in range(4000)]}},
        "allOf": [{"$ref": "#/$defs/a"}] * 9,
    },
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_work_is_bounded_and_refused_with_a_reason(schema: dict[str, Any]) -> None:
    with counted_work(WORK) as work, pytest.raises(InvalidRequestError, match="too many combinations of alternatives"):
        compile_schema(schema, strict=False, param="p")
    assert work.calls < FREE_CALLS + CALLS_OF_CHARACTER * len(json.dumps(schema)) + CALLS_OF_WORK * work.spent


def test_the_multiples_of_a_grammar_are_bounded_together() -> None:
    multiples = {f"p{n}": {"type": "integer", "multipleOf": 9000 + n} for n in range(9)}
    with pytest.raises(InvalidRequestError, match="all 'multipleOf' together, 81036, exceed the limit of 50000"):
        compile_schema({"type": "object", "properties": multiples}, strict=False, param="p")
