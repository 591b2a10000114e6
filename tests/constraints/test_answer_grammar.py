"""Texts that the grammar of an answer admits, refuses and forces."""

import json
from typing import Any, Literal

import jsonschema
import pytest

from antiphon.chat_formats.chat_format import HERMES, ReasoningMarkers, ToolNotation
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS
from antiphon.constraints.answer_grammar import AnswerShape, CallConstraints, answer_grammar
from antiphon.constraints.custom_tools import CallableCustom
from antiphon.constraints.json_schema import compile_schema
from antiphon.constraints.tool_parameters import CallableFunction
from antiphon.protocol.tools import Grammar
from tests.rendering.grammar_walk import Walker, read

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
SCHEMA = compile_schema(PERSON, strict=False, param="p")
THINK = ReasoningMarkers("<think>", "</think>")
SQL = CallableCustom(name="sql", grammar=Grammar(syntax="lark", definition='start: "SELECT " /[a-z]+/ ";"'))
TEXT = CallableCustom(name="note", grammar=None)
F = '<tool_call>\n{"name": "f", "arguments": {"name": "x"}}\n</tool_call>'
G = F.replace('"f"', '"g"')
CUSTOM = '<custom_tool_call name="%s">\n%s'
HARMONY = TOOL_NOTATIONS["harmony"]
CHANNELS = ReasoningMarkers(
    "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>", "<|end|>"
)
HARMONY_TOKENS = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>", "<|call|>", "<|return|>")


def functions(*names: str) -> list[CallableFunction]:
    return [CallableFunction(name=name, schema=SCHEMA, parameters=PERSON, param="p") for name in names]


def calls(
    mode: Literal["none", "auto", "required"] = "auto",
    names: str = "f",
    *customs: CallableCustom,
    parallel: bool = True,
) -> CallConstraints:
    return CallConstraints(mode=mode, parallel=parallel, functions=functions(*names), customs=list(customs))


def admitted(
    answer: AnswerShape, *texts: str, notation: ToolNotation = HERMES, tokens: tuple[str, ...] = ()
) -> list[bool]:
    walker = Walker(tokens)
    grammar = answer_grammar(answer, notation, walker.markers)
    return [walker.admits(grammar, text) for text in texts]


def test_answer_without_constraints_has_no_grammar() -> None:
    assert "" == answer_grammar(AnswerShape(reasoning=THINK), HERMES, Walker().markers)


def test_json_schema_admits_only_its_json() -> None:
    assert [True, False, False, False] == admitted(
        AnswerShape(schema=SCHEMA), '{"name": "x"}', '{"name": 1}', "", ' {"name": "x"}'
    )


def test_mode_auto_admits_text_and_then_calls() -> None:
    good = ["", "Hi", "Hi <tool_", f"Hi {F}", F, f"{F}\n{F}"]
    bad = ["Hi <tool_call>", f"{F} and on", F.replace("x", "\n"), G, F.removesuffix("\n</tool_call>"), f"{F}{F}"]
    assert [True] * len(good) == admitted(AnswerShape(calls=calls()), *good)
    assert [False] * len(bad) == admitted(AnswerShape(calls=calls()), *bad)


def test_mode_required_admits_only_calls() -> None:
    answer = AnswerShape(calls=calls("required", "fg"))
    assert [True, True, True] == admitted(answer, F, G, f"{F}\n{G}")
    assert [False, False, False] == admitted(answer, "", "Hi", f"Hi {F}")


def test_without_parallel_calls_at_most_one_call_is_admitted() -> None:
    assert [True, False] == admitted(AnswerShape(calls=calls("required", "fg", parallel=False)), F, f"{F}\n{G}")
    assert [True, True, False] == admitted(AnswerShape(calls=calls("auto", "fg", parallel=False)), "", F, f"{F}\n{G}")


def test_mode_none_admits_no_trigger() -> None:
    answer = AnswerShape(calls=calls("none"))
    assert [True, True, False, False] == admitted(answer, "", "Hi <tool_cal", "Hi <tool_call>", F)


def test_function_name_may_be_a_prefix_of_another() -> None:
    names = CallConstraints(mode="required", parallel=False, functions=functions("f", "ff"), customs=[])
    assert [True, True] == admitted(AnswerShape(calls=names), F, F.replace('"f"', '"ff"'))


def test_custom_tool_call_comes_last_and_follows_its_grammar() -> None:
    answer = AnswerShape(calls=calls("auto", "f", SQL, TEXT))
    good = [
        CUSTOM % ("sql", "SELECT a;"),
        "Hi " + CUSTOM % ("note", "any </tool_call>\n" + F),
        f"{F}\n" + CUSTOM % ("sql", "SELECT a;"),
    ]
    bad = [CUSTOM % ("sql", "DROP a;"), CUSTOM % ("other", "x"), CUSTOM % ("sql", "SELECT a;") + F]
    assert [True] * 3 == admitted(answer, *good)
    assert [False] * 3 == admitted(answer, *bad)
    assert [True, True, False] == admitted(
        AnswerShape(calls=calls("required", "f", SQL, parallel=False)), F, CUSTOM % ("sql", "SELECT a;"), good[2]
    )


def test_custom_tool_can_be_the_only_required_call() -> None:
    only = AnswerShape(calls=calls("required", "", SQL))
    assert [True, False, False] == admitted(only, CUSTOM % ("sql", "SELECT a;"), "", CUSTOM % ("sql", "a"))


def test_json_schema_with_mode_auto_admits_json_or_calls() -> None:
    answer = AnswerShape(schema=SCHEMA, calls=calls("auto", "f", SQL))
    assert [True, True, True] == admitted(answer, '{"name": "x"}', F, CUSTOM % ("sql", "SELECT a;"))
    assert [False, False, False] == admitted(answer, "Hi", '{"name": "x"}' + F, F + '{"name": "x"}')


@pytest.mark.parametrize("tokens", [(), ("<think>", "</think>", "<tool_call>", "</tool_call>")])
def test_reasoning_is_unconstrained(tokens: tuple[str, ...]) -> None:
    thought = "<think>\nf? </tool\n</think>"
    asked = [(AnswerShape(reasoning=THINK, schema=SCHEMA), '{"name": "x"}')]
    asked.append((AnswerShape(reasoning=THINK, calls=calls("required")), F))
    for optional, answer in asked:
        good = [answer, f"{thought}{answer}", f"{thought}\n\n{answer}"]
        assert [True] * 3 == admitted(optional, *good, tokens=tokens)
        assert [False] * 2 == admitted(optional, thought, f"{thought}Hi", tokens=tokens)
    auto = AnswerShape(reasoning=THINK, calls=calls())
    assert [True] * 3 == admitted(auto, "Hi", f"{thought}\n\nHi {F}", f"{thought}{F}", tokens=tokens)


@pytest.mark.parametrize("tokens", [(), ("<think>", "</think>")])
def test_open_reasoning_block_is_closed_first(tokens: tuple[str, ...]) -> None:
    answer = AnswerShape(reasoning=THINK, reasoning_open=True, schema=SCHEMA)
    good, bad = ['\nHm</think>\n{"name": "x"}', '</think>{"name": "x"}'], ['{"name": "x"}', "Hm</think>"]
    assert [True, True, False, False] == admitted(answer, *good, *bad, tokens=tokens)


@pytest.mark.parametrize("tokens", [(), HARMONY_TOKENS])
def test_channels_of_harmony_are_enforced(tokens: tuple[str, ...]) -> None:
    thought = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"
    call = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"name": "x"}<|call|>'
    final, json_text = "<|channel|>final<|message|>", '{"name": "x"}'
    auto = AnswerShape(calls=calls("auto"), reasoning=CHANNELS)
    good = [f"{thought}{final}Hi", f"{thought}{call}", f"{final}Hi", call]
    assert [True] * 4 == admitted(auto, *good, notation=HARMONY, tokens=tokens)
    assert [False] * 2 == admitted(auto, "Hi", f"{thought}Hi", notation=HARMONY, tokens=tokens)
    required = AnswerShape(calls=calls("required"), reasoning=CHANNELS)
    assert [True, False] == admitted(required, thought + call, good[0], notation=HARMONY, tokens=tokens)
    formed = AnswerShape(schema=SCHEMA, reasoning=CHANNELS)
    assert [True, False] == admitted(formed, thought + final + json_text, json_text, notation=HARMONY, tokens=tokens)


def test_end_of_generation_token_is_no_part_of_the_grammar() -> None:
    walker = Walker([*HARMONY_TOKENS, "</s>"])
    walker.vocabulary.eog_ids = frozenset({walker.vocabulary.special_tokens["<|call|>"]})
    grammar = answer_grammar(AnswerShape(calls=calls("required")), HARMONY, walker.markers)
    assert walker.admits(grammar, '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"name": "x"}')


def test_opening_in_the_prompt_is_not_repeated() -> None:
    notation = TOOL_NOTATIONS["functionary-v3.2"]
    auto = AnswerShape(calls=calls("auto"), opening=">>>")
    good = ["all\nHi", 'f\n{"name": "x"}', 'all\nHi>>>f\n{"name": "x"}']
    assert [True] * 3 == admitted(auto, *good, notation=notation)
    assert [False] * 2 == admitted(auto, "Hi", '>>>f\n{"name": "x"}', notation=notation)
    required = AnswerShape(calls=calls("required"), opening=">>>")
    assert [False, True] == admitted(required, *good[:2], notation=notation)


@pytest.mark.parametrize(("text", "expected"), [("Hi [", True), ("[", False), (" [", False), ('[f(name="x")]', True)])
def test_leading_trigger_counts_only_at_the_start(text: str, expected: bool) -> None:  # noqa: FBT001 (a table's column)
    assert [expected] == admitted(AnswerShape(calls=calls()), text, notation=TOOL_NOTATIONS["llama-pythonic"])


def test_parser_reads_generated_custom_calls() -> None:
    walker = Walker(seed=2)
    grammar = answer_grammar(AnswerShape(calls=calls("required", "f", SQL, TEXT)), HERMES, walker.markers)
    walks = [walker.walk(grammar, likes=[F]) for _ in range(20)]
    found = [
        call for walk in walks if walk for call in read(HERMES, {"f": PERSON, "sql": None, "note": None}, walk).calls
    ]
    assert {"f", "sql", "note"} == {name for name, _ in found}
    for name, text in found:
        if name == "f":
            jsonschema.validate(json.loads(text), PERSON)
        assert name != "sql" or text.startswith("SELECT ")


def test_same_answer_gives_the_same_grammar_text() -> None:
    answers: list[dict[str, Any]] = [{"calls": calls("auto", "fg", SQL)}, {"schema": SCHEMA}]
    for asked in answers:
        texts = {answer_grammar(AnswerShape(reasoning=THINK, **asked), HERMES, Walker().markers) for _ in range(2)}
        assert 1 == len(texts)
