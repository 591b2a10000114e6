"""For every family: the assembly reads each admitted text as declared and valid calls."""

import json
from itertools import islice
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from antiphon.chat_formats.chat_format import HERMES, CallID, ToolNotation
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.constraints.answer_grammar import AnswerShape, CallConstraints, answer_grammar
from antiphon.constraints.json_schema import compile_schema
from antiphon.constraints.lark import Lark
from antiphon.constraints.tool_grammar import CallRules
from antiphon.constraints.tool_parameters import CallableFunction
from tests.assembly.notation_writer import write
from tests.rendering.grammar_walk import Walker, ends, read, special_texts

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["c", "f\n"]},
        "code": {"type": "string", "pattern": "^[a-z/]+$|x", "maxLength": 6},
        "either": {"type": ["string", "null", "number"], "maxLength": 5},
        "tree": {"$ref": "#/$defs/tree"},
        "x-y": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/tree"}, "name": {"type": "string", "maxLength": 3}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}
VALUE = {"type": ["string", "integer"], "maxLength": 5, "maximum": 99}
EITHER = {"type": "object", "properties": {"a": VALUE, "b": VALUE}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
SCHEMAS: dict[str, dict[str, Any]] = {"get": SCHEMA, "get_all": {}, "set": EITHER}
FAMILIES = sorted(TOOL_NOTATIONS)
MAX_WHITESPACE = 5
"""Whitespace characters in a row: command-r begins a line of its list with a newline and four spaces."""


def function(name: str, schema: dict[str, Any]) -> CallableFunction:
    compiled = compile_schema(schema, strict=False, param="p") if schema else None
    return CallableFunction(name=name, schema=compiled, parameters=schema, param="p")


FUNCTIONS = [function(name, schema) for name, schema in SCHEMAS.items()]


def grammar(walker: Walker, notation: ToolNotation, *, mode: Any, parallel: bool = True) -> str:  # noqa: ANN401
    calls = CallConstraints(mode=mode, parallel=parallel, functions=FUNCTIONS, customs=[])
    return answer_grammar(AnswerShape(calls=calls), notation, walker.markers)


def check(calls: list[tuple[str, str]]) -> None:
    for name, arguments in calls:
        jsonschema.validate(json.loads(arguments), SCHEMAS[name] or {"maxProperties": 0})


@pytest.mark.parametrize("special", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("family", FAMILIES)
def test_parser_reads_generated_required_calls(family: str, special: bool) -> None:  # noqa: FBT001
    notation = TOOL_NOTATIONS[family]
    walker = Walker(special_texts(notation) if special else [], seed=3)
    text = grammar(walker, notation, mode="required")
    walks = (walker.walk(text, likes=ends(notation)) for _ in range(12))
    answers = [read(notation, SCHEMAS, walk) for walk in islice(filter(None, walks), 3)]
    assert answers
    for answer in answers:
        assert "" == answer.content.strip()
        assert answer.calls
        check(answer.calls)


NUMBERS: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "boolean"}}},
    "required": ["a", "b"],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_call_has_a_long_run_of_whitespace(family: str) -> None:
    walker = Walker(special_texts(TOOL_NOTATIONS[family]))
    calls = CallConstraints(mode="required", parallel=False, functions=[function("f", NUMBERS)], customs=[])
    text = answer_grammar(AnswerShape(calls=calls), TOOL_NOTATIONS[family], walker.markers)
    assert MAX_WHITESPACE >= walker.longest_whitespace(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_parallel_calls_one_call_is_generated(family: str) -> None:
    notation = TOOL_NOTATIONS[family]
    walker = Walker(special_texts(notation), seed=4)
    text = grammar(walker, notation, mode="required", parallel=False)
    walks = [walker.walk(text, likes=ends(notation)) for _ in range(2)]
    for walk in walks:
        assert walk is None or len(read(notation, SCHEMAS, walk).calls) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_calls_begin_only_at_a_trigger(family: str) -> None:
    notation = TOOL_NOTATIONS[family]
    walker = Walker(special_texts(notation), seed=5)
    text = grammar(walker, notation, mode="auto")
    mark = notation.content_marks[0] if notation.content_marks else ""
    said = "" if notation.leading_only else f"{mark}Hi <["
    for begin, called in ((said + notation.triggers[0], True), (f"{mark}Hi", False)):
        for _ in range(2):
            walk = walker.walk(text, begin=begin, likes=ends(notation))
            answer = None if walk is None else read(notation, SCHEMAS, walk)
            if answer is not None:
                check(answer.calls)
                assert not called or answer.calls
                assert answer.content.startswith("Hi") or (called and not said)


@pytest.mark.parametrize("family", FAMILIES)
def test_mode_none_admits_no_trigger(family: str) -> None:
    notation = TOOL_NOTATIONS[family]
    walker = Walker()
    text = grammar(walker, notation, mode="none")
    mark = notation.content_marks[0] if notation.content_marks else ""
    assert walker.admits(text, f"{mark}Hi")
    for trigger in notation.triggers:
        assert not walker.admits(text, f"{mark}{trigger}")
        assert notation.leading_only == walker.admits(text, f"{mark}Hi {trigger}")


@pytest.mark.parametrize(
    ("expected", "family"),
    [
        ('<tool_call>\n{"name": "', "hermes"),
        ('{"name": "', "llama"),
        ("[", "llama-pythonic"),
        ('[TOOL_CALLS][{"name": "', "mistral"),
        ("<tool_call>\n<function=", "qwen3-coder"),
        ("<|channel|>commentary to=functions.", "harmony"),
    ],
)
def test_the_opening_of_a_required_call_is_forced(expected: str, family: str) -> None:
    walker = Walker()
    found = walker.forced(grammar(walker, TOOL_NOTATIONS[family], mode="required"))
    assert expected == found.removesuffix("get")


def test_call_without_parameters_is_forced_whole() -> None:
    walker = Walker()
    lark = Lark()
    section = CallRules(lark, walker.markers, HERMES).section([FUNCTIONS[1]], parallel=False)
    assert '<tool_call>\n{"name": "get_all", "arguments": {}}\n</tool_call>' == walker.forced(lark.text(section))


def test_the_same_calls_give_the_same_grammar() -> None:
    first, second = (grammar(Walker(), HERMES, mode="auto") for _ in range(2))
    assert first == second


def required(walker: Walker, notation: ToolNotation, *functions: CallableFunction) -> str:
    """Return the grammar of one or more calls of functions whose names do not overlap."""
    calls = CallConstraints(mode="required", parallel=True, functions=list(functions), customs=[])
    return answer_grammar(AnswerShape(calls=calls), notation, walker.markers)


NO_PARAMETERS = CallableFunction(name="ping", schema=None, parameters={}, param="p")
OPTIONAL_ID = CallID(text="id", pattern="[0-9]", optional=True)


@pytest.mark.parametrize("optional", [True, False])
def test_only_an_optional_call_id_may_be_missing(optional: bool) -> None:  # noqa: FBT001
    call_id = replace(OPTIONAL_ID, optional=optional)
    walker = Walker()
    in_object = required(walker, replace(HERMES, call_id=call_id), NO_PARAMETERS)
    assert walker.admits(in_object, '<tool_call>\n{"name": "ping", "arguments": {}, "id": "1"}\n</tool_call>')
    assert optional == walker.admits(in_object, '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>')
    named = ToolNotation(shape="named", triggers=("<f>",), call_start="<f>", name_end="=", call_end=";")
    named_text = required(walker, replace(named, call_id=replace(call_id, text=":")), NO_PARAMETERS)
    assert walker.admits(named_text, "<f>ping:1={};")
    assert optional == walker.admits(named_text, "<f>ping={};")


@pytest.mark.parametrize("family", ["gigachat", "harmony", "hermes", "mistral"])
def test_only_a_parallel_notation_admits_several_calls(family: str) -> None:
    notation = TOOL_NOTATIONS[family]
    walker = Walker()
    one, two = (write(notation, [("ping", {})] * number) for number in (1, 2))
    text = required(walker, notation, NO_PARAMETERS)
    assert walker.admits(text, one)
    assert notation.parallel == walker.admits(text, two)


@pytest.mark.parametrize(
    ("named", "admitted"), [("number", True), ("null", True), ("boolean", False), ("array", False)]
)
def test_type_in_a_parameter_tag_is_one_of_the_declared_types(named: str, *, admitted: bool) -> None:
    value = {"type": "object", "properties": {"x": {"type": ["integer", "null"]}}, "required": ["x"]}
    walker = Walker()
    text = required(walker, TOOL_NOTATIONS["kimi-k3"], function("get", {**value, "additionalProperties": False}))
    called = (
        '<|open|>tools<|sep|><|open|>call tool="get" index="0"<|sep|><|open|>argument key="x" '
        f'type="{named}"<|sep|>null<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>'
    )
    assert admitted == walker.admits(text, called)


@pytest.mark.parametrize(("value", "admitted"), [('<|"|>a<|"|>', False), ('"a"', True), ("1", True), ("[null]", True)])
def test_a_quoting_notation_writes_a_value_of_no_declared_type_as_json(value: str, *, admitted: bool) -> None:
    schema = {"type": "object", "properties": {"x": {}}, "required": ["x"], "additionalProperties": False}
    walker = Walker()
    text = required(walker, TOOL_NOTATIONS["gemma-4"], function("get", schema))
    assert admitted == walker.admits(text, f"<|tool_call>call:get{{x:{value}}}<tool_call|>")


OPTIONAL_FIRST: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "integer"}},
    "required": ["b"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("family", ["qwen3-coder", "glm", "gemma-4", "llama-pythonic", "hermes"])
@pytest.mark.parametrize(
    ("arguments", "admitted"),
    [({"b": "x"}, True), ({"a": 1, "b": "x"}, True), ({"b": "x", "c": 1}, True), ({}, False), ({"a": 1}, False)],
)
def test_only_optional_parameters_may_be_left_out(family: str, arguments: dict[str, Any], *, admitted: bool) -> None:
    notation, walker = TOOL_NOTATIONS[family], Walker()
    quoted = write(notation, [("get", arguments)]).replace("'x'", '"x"')
    assert admitted == walker.admits(required(walker, notation, function("get", OPTIONAL_FIRST)), quoted)


@pytest.mark.parametrize(("value", "admitted"), [('<|"|>x<|"|>', True), ('"x"', False)])
def test_a_quoting_notation_writes_strings_in_its_quotes(value: str, *, admitted: bool) -> None:
    walker = Walker()
    text = required(walker, TOOL_NOTATIONS["gemma-4"], function("get", OPTIONAL_FIRST))
    assert admitted == walker.admits(text, f"<|tool_call>call:get{{b:{value}}}<tool_call|>")


@pytest.mark.parametrize(
    ("section_end", "admitted"), [("", [True, False, False, False]), ("]", [False, False, True, False])]
)
def test_end_of_generation_token_is_dropped_only_at_the_end(section_end: str, admitted: list[bool]) -> None:
    walker = Walker(["</s>"])
    notation = ToolNotation(
        shape="named", triggers=("<f>",), call_start="<f>", name_end="=", call_end="</s>", section_end=section_end
    )
    lark = Lark()
    section = CallRules(lark, walker.markers, notation).section([NO_PARAMETERS], parallel=False)
    ends = ("", "</s>", "</s>]", "]")
    assert admitted == [walker.admits(lark.text(section), f"<f>ping={{}}{end}") for end in ends]
