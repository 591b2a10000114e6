"""The whole pipeline: compiled schemas admit exactly the valid texts, and refusals have a reason."""

import json
import random
from typing import Any

import llguidance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.constraints.json_schema import compile_schema, enforce_schema, shorten_problem, validate_grammar
from antiphon.constraints.json_schema.compiler import MAX_CACHED_SIZE, MAX_ECHO, MAX_GRAMMAR_LINES, MAX_SCHEMA_SIZE
from antiphon.engine.grammars.grammar_limits import MAX_GRAMMAR_TEXT
from antiphon.errors import InvalidRequestError
from antiphon.rendering.unenforced import request_path
from fuzz.work import counted_work
from tests.constraints.json_schema.random_schemas import (
    admits,
    admits_text,
    admitted,
    byte_tokenizer,
    can_be_spelled,
    instances,
    is_valid,
    opened,
    schemas,
    tracks_evaluation,
    walk,
)
from tests.constraints.json_schema.real_schemas import ACCEPTED, REFUSED

thorough = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


def compiled(schema: Any) -> str | None:  # noqa: ANN401
    try:
        return compile_schema(schema, strict=False, param="p")
    except InvalidRequestError:
        return None


def agrees(schema: Any, text: str) -> bool | None:  # noqa: ANN401
    """Return whether the text is valid, or None if jsonschema recurses without end or fails."""
    try:
        return is_valid(schema, text)
    except (RecursionError, TypeError):
        return None


@pytest.mark.parametrize("name", ACCEPTED)
def test_realistic_schemas_are_enforced(name: str) -> None:
    text = compile_schema(ACCEPTED[name], strict=False, param="p")
    choice = random.Random(name)  # noqa: S311 (not for secrets)
    walked = [walk(text, choice, limit=600) for _ in range(3)]
    assert [] == [one for one in walked if one is not None and not is_valid(ACCEPTED[name], one)]


@pytest.mark.parametrize("name", REFUSED)
def test_other_realistic_schemas_are_refused_by_keyword(name: str) -> None:
    schema, keyword = REFUSED[name]
    with pytest.raises(InvalidRequestError) as caught:
        compile_schema(schema, strict=False, param="response_format", subject=f"response_format '{name}'")
    assert f"'{keyword}'" in caught.value.message
    assert f"Invalid schema for response_format '{name}': In context=(" in caught.value.message
    assert ("response_format", None) == (caught.value.param, caught.value.code)


def test_nine_in_ten_realistic_schemas_are_enforced() -> None:
    assert len(ACCEPTED) / (len(ACCEPTED) + len(REFUSED)) >= 0.9


def test_compiled_text_can_be_part_of_a_grammar() -> None:
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


def test_every_object_has_the_order_of_its_own_schema() -> None:
    orders = [{"enum": [{"a": 1, "b": 2}]}, {"enum": [{"b": 2, "a": 1}]}, {"const": {"a": 1, "b": 2}}]
    schema = {"type": "array", "prefixItems": [*orders, {"const": {"b": 2, "a": 1}}], "minItems": 4, "maxItems": 4}
    text = compile_schema(schema, strict=False, param="p")
    matcher = llguidance.LLMatcher(byte_tokenizer(), f"start: %json {text}")
    one, other = '{"a": 1, "b": 2}', '{"b": 2, "a": 1}'
    assert f"[{one}, {other}, {one}, {other}]".encode() == matcher.compute_ff_bytes()


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
def test_values_that_json_lacks_are_refused(schema: Any, reason: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequestError, match=reason):
        compile_schema(schema, strict=False, param="p")


def test_endless_nesting_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(InvalidRequestError, match="nest"):
        compile_schema(schema, strict=False, param="p")


def test_error_has_the_caller_s_subject_param_and_code() -> None:
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
def test_valid_grammar_is_accepted(grammar: str) -> None:
    validate_grammar(grammar, param="p")


@pytest.mark.parametrize(
    "grammar", ["start: b", "start: /(/", "", "start: /(?=a)/", "start: %json {", "x" * 17_000_000]
)
def test_invalid_grammar_is_refused(grammar: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"Invalid value for 'tools\[0\]\.custom'") as caught:
        validate_grammar(grammar, param="tools[0].custom")
    assert ("tools[0].custom", "invalid_value") == (caught.value.param, caught.value.code)
    assert len(caught.value.message) < 300


def test_sum_of_the_multiples_of_a_grammar_is_bounded() -> None:
    multiples = {f"p{n}": {"type": "integer", "multipleOf": 9000 + n} for n in range(9)}
    with pytest.raises(InvalidRequestError, match="all 'multipleOf' together, 81036, exceed the limit of 50000"):
        compile_schema({"type": "object", "properties": multiples}, strict=False, param="p")


def refusal(schema: Any, *, strict: bool = False) -> str:  # noqa: ANN401 (JSON)
    with pytest.raises(InvalidRequestError) as caught:
        compile_schema(schema, strict=strict, param="p")
    return caught.value.message.removeprefix("Invalid schema for response_format: ")


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("message", "schema"),
    [
        ("In context=(), a lone surrogate is not a character.", {"const": "\ud800"}),
        ("In context=(), a number is out of range.", {"minimum": float("nan")}),
        ("In context=(), the schema nests too deeply.", nested(100_000)),
        (
            "In context=(), the schema exceeds the limit of 2097152 characters.",
            {"title": "x" * (MAX_SCHEMA_SIZE - len('{"title": ""}') + 1)},
        ),
        ("In context=(), the schema nests too deeply.", {"type": "string", "not": {"const": "x" * 2000}}),
        ("In context=(), the schema admits no value.", {"not": {}}),
        ("In context=('not',), 'type' must be one of", {"not": {"type": "strin"}}),
    ],
)
def test_a_refusal_is_one_sentence_with_a_path(message: str, schema: dict[str, Any]) -> None:
    found = refusal(schema)
    assert message == found[: len(message)]
    assert found.rstrip(".") + "." == found


def test_message_of_llguidance_about_a_schema_is_shortened() -> None:
    message = refusal({"type": "string", "not": {"const": "x" * 300}})
    start = "In context=(), it cannot be enforced: "
    assert start == message[: len(start)]
    assert MAX_ECHO == len(message.removeprefix(start)) + len("...") - len(".")


def test_exceeded_budget_without_a_path_is_refused_at_the_root() -> None:
    with counted_work(2):
        assert "In context=(), too many combinations of alternatives." == refusal({"type": "null"})


def test_a_schema_of_the_greatest_size_is_compiled() -> None:
    assert compiled({"title": "x" * (MAX_SCHEMA_SIZE - len('{"title": ""}'))}) is not None


def test_a_schema_that_becomes_too_large_is_refused() -> None:
    text = {"const": "x" * 4000}
    schema = {"$defs": {"a": text}, "type": "array", "prefixItems": [{"$ref": "#/$defs/a"}] * 600}
    limit = f"it cannot be enforced: the grammar exceeds the limit of {MAX_GRAMMAR_TEXT} characters."
    assert f"In context=(), {limit}" == refusal(schema)


def test_large_schema_is_not_cached() -> None:
    kept, large = ({"title": "x" * (MAX_CACHED_SIZE - len('{"title": ""}') + more)} for more in (0, 1))
    same = [compiled(schema) is compiled(schema) for schema in (kept, large)]
    assert [True, False] == same


def test_strict_schemas_are_cached_separately() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "null"}}}
    assert compiled(schema) is not None
    assert "'additionalProperties' is required" in refusal(schema, strict=True)


def grammar_of(count: int) -> str:
    """Return a grammar of ``count`` lines."""
    return 'start: "a"' + "\n" * (count - 1)


@pytest.mark.parametrize(
    ("reason", "grammar"),
    [
        ("the grammar exceeds the limit of 1500 lines.", grammar_of(MAX_GRAMMAR_LINES + 1)),
        (f"the grammar exceeds the limit of {MAX_GRAMMAR_TEXT} characters.", "x" * (MAX_GRAMMAR_TEXT + 1)),
        (
            "all 'multipleOf' together, 50001, exceed the limit of 50000.",
            'start: %json {"type":"integer","multipleOf":50001}',
        ),
    ],
)
def test_refusal_of_a_grammar_has_a_reason(reason: str, grammar: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        validate_grammar(grammar, param="p")
    assert f"Invalid value for 'p': {reason}" == caught.value.message


def test_grammars_at_the_limits_are_accepted() -> None:
    validate_grammar(grammar_of(MAX_GRAMMAR_LINES), param="p")
    validate_grammar('start: "a" //'.ljust(MAX_GRAMMAR_TEXT, "x"), param="p")
    rules = [f'r{number}: %json {{"type":"integer","multipleOf":10000}}' for number in range(5)]
    validate_grammar("\n".join(["start: r0 | r1 | r2 | r3 | r4", *rules]), param="p")


def test_message_of_llguidance_becomes_one_short_line() -> None:
    assert "one two" == shorten_problem("one\n  two <state>three")
    assert "x" * MAX_ECHO == shorten_problem("x" * MAX_ECHO)
    assert "x" * (MAX_ECHO - 3) + "..." == shorten_problem("x" * (MAX_ECHO + 1))


@pytest.mark.parametrize(
    "pattern", ["^(a?){5000}a{5000}$", "((a{1,100}){1,100}){1,100}", "(x+x+)+y", "[a-z]{10000}" * 20]
)
def test_hostile_patterns_are_compiled_or_refused_in_time(pattern: str) -> None:
    text = compiled({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]})
    if text is not None:
        validate_grammar(f"start: %json {text}", param="p")


@thorough
@given(schemas(), st.randoms(use_true_random=False))
def test_every_admitted_text_validates(schema: dict[str, Any], choice: random.Random) -> None:
    text = compiled(schema)
    if text is None:
        return
    for _ in range(3):
        walked = walk(text, choice)
        assert walked is None or agrees(schema, walked) is not False, walked


@thorough
@given(schemas(), st.lists(instances, min_size=6, max_size=6))
def test_exactly_the_valid_instances_are_admitted(schema: dict[str, Any], values: list[Any]) -> None:
    text = compiled(schema if tracks_evaluation(schema) else opened(schema))
    if text is None:
        return
    for value in values:
        valid = agrees(schema, json.dumps(value))
        if valid and tracks_evaluation(schema):
            continue  # an object is closed if its schema lists properties and says nothing about others
        assert valid is None or valid == admits(text, value) or not can_be_spelled(text, value), value


@pytest.mark.parametrize(
    ("expected", "others"),
    [
        ([], {}),
        ([], {"minProperties": 1}),
        ([], {"allOf": [{"required": ["a"]}]}),
        ([], {"allOf": [{"properties": {"c": {}}}]}),
        ([], {"not": {"properties": {"a": {"const": 2}}, "required": ["a"]}}),
        ([{"a": 1, "b": 2}], {"additionalProperties": True}),
        ([{"a": 1, "b": 2}], {"additionalProperties": {"type": "integer"}}),
        ([{"a": 1, "b": 2}], {"patternProperties": {"^b$": {}}}),
        ([{"a": 1, "b": 2}], {"allOf": [{"additionalProperties": True}]}),
        ([{"a": 1, "b": 2}], {"unevaluatedProperties": {"type": "integer"}}),
        ([{"a": 1, "b": 2}], {"required": ["b"]}),
        ([{"a": 1, "b": 2}], {"minProperties": 2, "required": ["a"]}),
    ],
)
def test_object_gets_further_properties_only_if_its_schema_says_so(expected: list[Any], others: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, **others}
    text = compile_schema(schema, strict=False, param="p")
    assert expected == admitted(text, [{"a": 1, "b": 2}])


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, {"type": "object", "additionalProperties": {"minimum": 0}}])
def test_only_one_space_after_commas_and_colons_is_admitted(schema: dict[str, Any]) -> None:
    text = compile_schema(schema, strict=False, param="p")
    assert admits_text(text, '{"a": 1, "b": 2}')
    others = ['{"a":1}', '{"a":  1}', '{ "a": 1}', '{"a": 1 }', '{"a": 1,\n"b": 2}', '{"a": 1}\n', ' {"a": 1}', "{ }"]
    assert [] == [one for one in others if admits_text(text, one)]


def test_object_without_listed_properties_is_free() -> None:
    text = compile_schema({"type": "object", "required": ["a"]}, strict=False, param="p")
    assert admits(text, {"a": 1, "b": 2})


def test_empty_list_of_properties_admits_the_empty_object_only() -> None:
    text = compile_schema({"type": "object", "properties": {}}, strict=False, param="p")
    assert [{}] == admitted(text, [{}, {"b": 2}])


FREE = {"type": "array", "items": {"type": "string"}}
UNEXACT: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
    ("uniqueItems", {**FREE, "uniqueItems": True, "maxItems": 2}, [["a", "a"]], [["a", "b", "c"]]),
    ("contains", {"type": "array", "contains": {"type": "integer"}}, [["a"]], [[]]),
    ("pattern", {"type": "string", "pattern": "(?<=a)b", "maxLength": 2}, ["xy"], ["xyz"]),
    ("not", {"type": "string", "not": {"pattern": "a"}}, ["a"], [1]),
    ("oneOf", {"oneOf": [{"pattern": "a"}, {"pattern": "b"}], "type": "string"}, ["ab"], ["c"]),
    (
        "if",
        {"if": {"pattern": "a"}, "then": {"maxLength": 1}, "else": {"maxLength": 3}, "type": "string"},
        ["aa"],
        ["bbbb"],
    ),
    (
        "patternProperties",
        {"properties": {"a": {"type": "integer"}}, "patternProperties": {"^(?!x)": {"type": "null"}}, "type": "object"},
        [{"a": 1, "b": 2}],
        [{"a": "b"}],
    ),
    (
        "minProperties",
        {"type": "object", "minProperties": 3, "additionalProperties": {"type": "null"}},
        [{}],
        [{"a": 1}],
    ),
    (
        "unevaluatedItems",
        {"type": "array", "contains": {}, "unevaluatedItems": False, "maxItems": 2},
        [[1, 2]],
        [[], [1, 2, 3]],
    ),
    ("$ref", {"$ref": "http://a.test/b", "type": "string"}, ["a"], [1]),
    ("multipleOf", {"type": "integer", "multipleOf": 1234567}, [1], ["a"]),
    (
        "allOf[1]",
        {
            "allOf": [{"patternProperties": {"^a": {"type": "null"}}}, {"patternProperties": {"a$": {"minimum": 2}}}],
            "type": "object",
        },
        [{"ba": 1}],
        [{"a": 1}],
    ),
]


@pytest.mark.parametrize(("keyword", "schema", "more", "others"), UNEXACT)
def test_keyword_that_cannot_be_enforced_is_left_out_and_the_rest_is_enforced(
    keyword: str, schema: dict[str, Any], more: list[Any], others: list[Any]
) -> None:
    enforced = enforce_schema({"type": "object", "properties": {"x": schema}}, param="p")
    assert f"properties.x.{keyword}" in [request_path("properties", path[1:]) for path in enforced.unenforced]
    values = [{"x": value} for value in (*more, *others)]
    assert values[: len(more)] == admitted(enforced.text, values)


@pytest.mark.parametrize(
    "schema",
    [{"type": "string", "pattern": "("}, {"type": "x"}, {"$ref": "#/no"}, {"not": {}}, {"allOf": [{"$ref": "#"}]}],
)
def test_malformed_schema_and_one_without_a_value_are_refused_in_any_case(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        enforce_schema(schema, param="p")


def test_keyword_that_is_not_enforced_is_not_negated() -> None:
    enforced = enforce_schema({"type": "string", "not": {"pattern": "(?=a)"}}, param="p")
    assert (("not", "pattern"), ("not",)) == enforced.unenforced
    assert admits(enforced.text, "b")


@thorough
@given(schemas(), st.randoms(use_true_random=False))
def test_every_admitted_text_validates_unless_a_keyword_is_left_out(
    schema: dict[str, Any], choice: random.Random
) -> None:
    exact = compiled(schema)
    try:
        enforced = enforce_schema(schema, param="p")
    except InvalidRequestError:
        assert exact is None
        return
    assert exact is not None or enforced.unenforced
    assert exact in {None, enforced.text}
    assert exact is None or agrees(schema, walk(enforced.text, choice) or "") is not False


@thorough
@given(schemas(), st.lists(instances, min_size=6, max_size=6))
def test_valid_instance_can_be_written_even_if_a_keyword_is_left_out(schema: dict[str, Any], values: list[Any]) -> None:
    free = schema if tracks_evaluation(schema) else opened(schema)
    try:
        enforced = enforce_schema(free, param="p")
    except InvalidRequestError:
        return
    for value in values:
        if agrees(schema, json.dumps(value)) and not tracks_evaluation(schema):
            assert admits(enforced.text, value) or not can_be_spelled(enforced.text, value), value


TWICE = '{"a": 1, "a": 2}'


def test_key_of_a_pattern_with_few_names_occurs_once() -> None:
    schema = {"type": "object", "patternProperties": {"^[ab]$": {"type": "integer"}}, "additionalProperties": False}
    text = compile_schema(schema, strict=False, each_key_once=True, param="p")
    assert admits_text(text, '{"a": 1, "b": 2}')
    assert not admits_text(text, TWICE)


def test_pattern_without_a_bound_on_names_is_refused_where_each_key_must_occur_once() -> None:
    schema = {"type": "object", "patternProperties": {"^[a-z]+$": {"type": "integer"}}}
    with pytest.raises(InvalidRequestError, match="'patternProperties' without a bound on names is not supported"):
        compile_schema(schema, strict=False, each_key_once=True, param="p")
    assert (("patternProperties",),) == enforce_schema(schema, param="p").unenforced
    assert [True, True] == [admits_text(enforce_schema(schema, param="p").text, text) for text in ('{"a": 1}', TWICE)]


def test_named_property_occurs_once_beside_others() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "integer"}}
    assert not admits_text(compile_schema(schema, strict=False, each_key_once=True, param="p"), TWICE)
