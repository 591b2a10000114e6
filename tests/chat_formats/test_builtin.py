"""Families are recognised from a template's own text. The texts here are made up around the markers."""

import pytest

from antiphon.chat_formats.base import ChatFormat, FamilyMark, ReasoningMarkers
from antiphon.chat_formats.builtin import FAMILIES, GENERIC, REASONING, recognise


@pytest.mark.parametrize("mark", FAMILIES, ids=lambda mark: mark.name)
def test_no_family_is_hidden_by_one_before_it(mark: FamilyMark) -> None:
    assert mark.name == recognise(" … ".join(mark.texts)).name


@pytest.mark.parametrize(("text", "markers"), REASONING, ids=[text for text, _ in REASONING])
def test_every_marker_text_gives_its_markers(text: str, markers: ReasoningMarkers) -> None:
    assert ChatFormat(GENERIC.name, markers).reasoning == recognise(f"before {text} behind").reasoning


@pytest.mark.parametrize(
    ("expected", "template"),
    [
        (ChatFormat("hermes"), "<|im_start|>system … within <tool_call></tool_call> tags"),
        (
            ChatFormat("hermes", ReasoningMarkers("<think>", "</think>")),
            "<|im_start|> <tool_call> {% if '</think>' in c",
        ),
        (ChatFormat("qwen3-coder"), "<|im_start|> <tool_call>\n<function=name>\n<parameter=p>"),
        (ChatFormat("mistral", ReasoningMarkers("[THINK]", "[/THINK]")), "[SYSTEM_PROMPT] [TOOL_CALLS] [THINK]"),
        (ChatFormat("llama"), "<|start_header_id|>ipython<|end_header_id|> <|python_tag|>"),
        (ChatFormat("phi"), "{{ '<|' + role + '|>' }} <|user|> <|end|>"),
        (ChatFormat("chatml"), "<|im_start|>user"),
        (GENERIC, "{{ messages[0].content }}"),
    ],
)
def test_templates_of_a_family(expected: ChatFormat, template: str) -> None:
    assert expected == recognise(template)


def test_harmony_reasons_in_its_analysis_channel() -> None:
    reasoning = recognise("<|start|>assistant<|channel|>analysis<|message|>").reasoning
    assert reasoning is not None
    assert reasoning.start == "<|channel|>analysis<|message|>"
    assert reasoning.end.endswith("<|channel|>final<|message|>")
