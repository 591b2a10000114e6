"""Calls in foreign notations that the grammar of an answer admits, and texts that stay texts."""

import pytest

from antiphon.chat_formats.chat_format import HERMES, ReasoningMarkers
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.constraints.answer_grammar import AnswerShape, CallConstraints, answer_grammar
from antiphon.constraints.custom_tools import CallableCustom
from antiphon.constraints.json_schema import compile_schema
from antiphon.constraints.tool_parameters import CallableFunction
from tests.rendering.grammar_walk import Walker

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
SCHEMA = compile_schema(PERSON, strict=False, param="p")
FUNCTIONS = [CallableFunction(name=name, schema=SCHEMA, parameters=PERSON, param="p") for name in ("f", "g")]
OWN = '<tool_call>\n{"name": "f", "arguments": {"name": "x"}}\n</tool_call>'
F = '{"name": "f", "arguments": {"name": "x"}}'
G = F.replace('"f"', '"g"')
CUSTOM = '<custom_tool_call name="note">\nx'


def shape(*, parallel: bool = True, customs: tuple[str, ...] = (), reasoning: bool = False) -> AnswerShape:
    tools = [CallableCustom(name=name, grammar=None) for name in customs]
    calls = CallConstraints(mode="auto", parallel=parallel, functions=FUNCTIONS, customs=tools)
    markers = ReasoningMarkers("<think>", "</think>") if reasoning else None
    return AnswerShape(calls=calls, foreign=True, reasoning=markers)


def admits(text: str, answer: AnswerShape | None = None, family: str = "hermes", tokens: tuple[str, ...] = ()) -> bool:
    walker = Walker(tokens)
    return walker.admits(answer_grammar(answer or shape(), TOOL_NOTATIONS[family], walker.markers), text)


@pytest.mark.parametrize(
    "text",
    [
        F,
        f"\n\n{F}",
        f"```json\n{F}\n```",
        f"```\n{F}\n```",
        f"[{F}]",
        f"[{F}, {G}]",
        f"{F}\n{G}",
        f"{F}, {G}",
        f"```json\n[\n  {F},\n  {G}\n]\n```",
        f"```json\n{F}\n```\n```json\n{G}\n```",
        '{"function": {"name": "f", "arguments": {"name": "x"}}}',
        '{"type": "function", "function": {"name": "f", "parameters": {"name": "x"}}}',
        '{"id": "c-1", "type": "function", "name": "f", "arguments": {"name": "x"}}',
        '{\n  "tool": "f",\n  "input": {"name": "x"}\n}',
        '{"function":"f","parameters":{"name": "x"}}',
        f"[TOOL_CALLS][{F}]",
        f"<|tool_call|>[{F}]<|/tool_call|>",
        '<function=f>{"name": "x"}</function>',
        '>>>f\n{"name": "x"}',
    ],
)
def test_call_in_a_foreign_notation_is_admitted(text: str) -> None:
    assert admits(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[1]",
        '{"name": "',
        '{"name": "f',
        '{"x": 1}',
        '{"name": "ff", "a": 1}',
        '{"name": "other", "age": 3}',
        f'{{"name": "other"}} {OWN}',
        f'{{"name": "{OWN}',
        f"So: {F} and on",
        "```python\nx\n```",
        '```json\n{"a": 1}\n```',
        "<function=",
        "<function=x>",
        ">>>",
        ">>> f(1)",
    ],
)
def test_text_that_names_no_declared_function_is_admitted(text: str) -> None:
    assert admits(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f"',
        '{"name": "f", "age": 1}',
        F.replace('"x"', "1"),
        F.removesuffix("}"),
        f"{F} and on",
        f'[{F}, {{"x": 1}}]',
        "<function=f>x",
        '{"name": "f",' + " " * 40 + '"arguments": {"name": "x"}}',
    ],
)
def test_from_the_name_on_only_the_call_is_admitted(text: str) -> None:
    assert not admits(text)


def test_without_parallel_calls_one_foreign_call_is_admitted() -> None:
    answer = shape(parallel=False)
    assert [True, True, False, False] == [admits(text, answer) for text in (F, f"[{F}]", f"[{F}, {G}]", f"{F}\n{G}")]


def test_custom_call_may_follow_foreign_calls_and_their_openings() -> None:
    answer = shape(customs=("note",))
    assert [True] * 2 == [admits(text, answer) for text in (f"{F}\n{CUSTOM}", f'{{"name": "other"}} {CUSTOM}')]


def test_foreign_call_may_follow_reasoning() -> None:
    answer = shape(reasoning=True)
    assert [True, True, False] == [
        admits(text, answer) for text in (f"<think>so</think>\n\n{F}", F, f"<think>so</think>\n\n{F} x")
    ]


def test_triggers_of_the_own_family_begin_its_own_notation_alone() -> None:
    own = '{"name": "f", "parameters": {"name": "x"}}'
    assert [True, False, True] == [admits(text, family="llama") for text in (own, F, F.replace('"name"', '"tool"', 1))]
    assert admits(f"<tool_call>{F}</tool_call>", family="llama")
    assert not admits(f"<tool_call>{F}</tool_call>")


def test_mark_that_is_a_token_of_the_vocabulary_is_no_text() -> None:
    assert admits(f"<|tool_call|>[{F}]")
    assert not admits(f"<|tool_call|>[{F}]", tokens=("<|tool_call|>",))


def test_a_foreign_call_costs_the_grammar_two_short_rules_a_function() -> None:
    def size(count: int) -> int:
        functions = [
            CallableFunction(name=f"f{number:03}", schema=SCHEMA, parameters=PERSON, param="p")
            for number in range(count)
        ]
        calls = CallConstraints(mode="auto", parallel=True, functions=functions, customs=[])
        return len(answer_grammar(AnswerShape(calls=calls, foreign=True), HERMES, Walker().markers))

    assert size(101) - size(100) < 2 * (size(2) - size(1))
    assert size(2) - size(1) < 2000
