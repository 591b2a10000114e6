# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
"""Families are recognised from a template's own text. The texts here are made up around the markers."""

import pytest

from antiphon.chat_formats.builtin import FAMILIES, FORMAT_NAMES, GENERIC, REASONING, THINK, named_format, recognise
from antiphon.chat_formats.chat_format import HERMES, ChatFormat, FamilyMark, ReasoningMarkers
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS, tool_notation


@pytest.mark.parametrize("mark", FAMILIES, ids=lambda mark: mark.name)
def test_no_family_is_hidden_by_one_before_it(mark: FamilyMark) -> None:
    assert mark.name == recognise(" … ".join(mark.texts)).name


@pytest.mark.parametrize(("text", "markers"), REASONING, ids=[text for text, _ in REASONING])
def test_every_marker_text_gives_its_markers(text: str, markers: ReasoningMarkers) -> None:
    assert ChatFormat(GENERIC.name, markers).reasoning == recognise(f"before {text} behind").reasoning


@pytest.mark.parametrize(
    ("family", "reasoning", "template"),
    [
        ("hermes", None, "<|im_start|>system … within <tool_call></tool_call> tags"),
        ("hermes", ReasoningMarkers("<think>", "</think>"), "<|im_start|> <tool_call> {% if '</think>' in c"),
        ("qwen3-coder", None, "<|im_start|> <tool_call>\n<function=name>\n<parameter=p>"),
        ("mistral", ReasoningMarkers("[THINK]", "[/THINK]"), "[SYSTEM_PROMPT] [TOOL_CALLS] [THINK]"),
        ("mistral-args", None, "[SYSTEM_PROMPT] [TOOL_CALLS]name[ARGS]"),
        ("llama", None, "<|start_header_id|>ipython<|end_header_id|> <|python_tag|>"),
        ("llama3", None, "<|start_header_id|>user<|end_header_id|>"),
        ("phi", None, "{{ '<|' + role + '|>' }} <|user|> <|end|>"),
        ("glm", None, "<arg_key>{{ k }}</arg_key>\n<arg_value>"),
        ("glm-compact", None, "<arg_key>{{ k }}</arg_key><arg_value>"),
        ("granite-4", None, "<|start_of_role|> <tool_call>"),
        ("deepseek-v3.1", None, "<｜tool▁calls▁begin｜>"),
        ("chatml", None, "<|im_start|>user"),
        (GENERIC.name, None, "{{ messages[0].content }}"),
    ],
)
def test_templates_of_a_family(family: str, reasoning: ReasoningMarkers | None, template: str) -> None:
    assert ChatFormat(family, reasoning, tool_notation(family)) == recognise(template)


def test_families_whose_templates_know_no_tools_use_the_generic_notation() -> None:
    assert HERMES == GENERIC.tools == recognise("<|im_start|>").tools == recognise("<|user|> <|end|>").tools


def test_harmony_reasons_in_its_analysis_channel() -> None:
    reasoning = recognise("<|start|>assistant<|channel|>analysis<|message|>").reasoning
    assert reasoning is not None
    assert reasoning.start == "<|channel|>analysis<|message|>"
    assert reasoning.end.endswith("<|channel|>final<|message|>")
    assert reasoning.end.startswith(reasoning.end_prefix)


def test_a_family_that_is_named_is_taken_with_the_reasoning_of_the_template() -> None:
    template = "<|im_start|>system … within <tool_call></tool_call> tags {% if '</think>' in c"
    assert ChatFormat("mistral", THINK, tool_notation("mistral")) == named_format("mistral", template)


def test_every_family_that_writes_tools_can_be_named() -> None:
    assert set() == set(TOOL_NOTATIONS) - set(FORMAT_NAMES)
    assert list(FORMAT_NAMES) == [named_format(name, "").name for name in FORMAT_NAMES]


def test_a_name_that_is_no_family_is_no_format() -> None:
    with pytest.raises(AssertionError, match="'gpt' is none of"):
        named_format("gpt", "")
