"""The whole way: every text that a compiled schema admits validates, and what is refused says why."""

import json
import random
from typing import Any

import llguidance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.errors import InvalidRequestError
from antiphon.rendering.json_schema import compile_schema, validate_grammar
from tests.rendering.json_schema.random_schemas import (
    admits,
    byte_tokenizer,
    can_be_spelled,
    instances,
    is_valid,
    schemas,
    walk,
)
from tests.rendering.json_schema.real_schemas import ACCEPTED, REFUSED

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
