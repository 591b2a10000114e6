# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
"""Recognition of families by a template's text. The texts here are invented around the markers."""

import pytest

from antiphon.chat_formats.builtin import FAMILIES, FORMAT_NAMES, GENERIC, REASONING, THINK, named_format, recognise
from antiphon.chat_formats.chat_format import HERMES, ChatFormat, FamilyMark, ReasoningMarkers
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS, tool_notation


@pytest.mark.parametrize("mark", FAMILIES, ids=lambda mark: mark.name)
def test_texts_of_a_family_do_not_match_an_earlier_family(mark: FamilyMark) -> None:
    assert mark.name == recognise(" … ".join(mark.texts)).name


@pytest.mark.parametrize(("text", "markers"), REASONING, ids=[text for text, _ in REASONING])
def test_reasoning_markers_are_recognised_by_their_text(text: str, markers: ReasoningMarkers) -> None:
    assert ChatFormat(GENERIC.name, markers).reasoning == recognise(f"before {text} after").reasoning


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
def test_template_is_recognised_as_its_family(family: str, reasoning: ReasoningMarkers | None, template: str) -> None:
    assert ChatFormat(family, reasoning, tool_notation(family), foreign=True) == recognise(template)


def test_families_without_tools_use_the_generic_notation() -> None:
    assert HERMES == GENERIC.tools == recognise("<|im_start|>").tools == recognise("<|user|> <|end|>").tools


def test_harmony_reasoning_is_the_analysis_channel() -> None:
    reasoning = recognise("<|start|>assistant<|channel|>analysis<|message|>").reasoning
    assert reasoning is not None
    assert "<|channel|>analysis<|message|>" == reasoning.start
    assert reasoning.end.endswith("<|channel|>final<|message|>")
    assert reasoning.end.startswith(reasoning.end_prefix)


def test_named_family_gets_the_reasoning_markers_of_the_template() -> None:
    template = "<|im_start|>system … within <tool_call></tool_call> tags {% if '</think>' in c"
    assert ChatFormat("mistral", THINK, tool_notation("mistral")) == named_format("mistral", template)


def test_family_that_an_operator_names_has_its_own_notation_alone() -> None:
    assert (True, False) == (recognise("<|im_start|>").foreign, named_format("chatml", "<|im_start|>").foreign)


def test_every_family_with_a_notation_has_a_format_name() -> None:
    assert set() == set(TOOL_NOTATIONS) - set(FORMAT_NAMES)
    assert list(FORMAT_NAMES) == [named_format(name, "").name for name in FORMAT_NAMES]


def test_unknown_format_name_is_an_assertion_error() -> None:
    with pytest.raises(AssertionError, match="'gpt' is none of"):
        named_format("gpt", "")
