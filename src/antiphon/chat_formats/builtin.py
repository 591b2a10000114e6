# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
"""The families that are known, and how to recognise them from the text of a chat template.

A family's name says how it writes tool calls, and many templates of one family exist with and without reasoning: the
two are recognised apart. Order matters: the first family whose texts all occur is taken, so special notations stand
before the general ones that they borrow from.
"""

from typing import Final

from antiphon.chat_formats.base import ChatFormat, FamilyMark, ReasoningMarkers

FAMILIES: Final = (
    FamilyMark("harmony", ("<|channel|>", "<|message|>", "analysis")),
    FamilyMark("deepseek-dsml", ("｜DSML｜",)),
    FamilyMark("deepseek", ("<｜tool▁calls▁begin｜>",)),
    FamilyMark("kimi", ("<|tool_calls_section_begin|>",)),
    FamilyMark("kimi", ("<|im_middle|>",)),
    FamilyMark("kimi", ("<|open|>", "<|close|>")),
    FamilyMark("minimax", ("<minimax:tool_call>",)),
    FamilyMark("minimax", ("]<]minimax[>[",)),
    FamilyMark("functionary-v3.2", (">>>all",)),
    FamilyMark("functionary-v3.1", ("<function=", "<|eom_id|>", "[tool call(s)]")),
    FamilyMark(
        "functionary-v3.1",
        ("<function=", "<|python_tag|>", "<|start_header_id|>", "You have access to the following functions"),
    ),
    FamilyMark("firefunction", (" functools[",)),
    FamilyMark("granite", ("<|start_of_role|>",)),
    FamilyMark("gemma-4", ("<|tool_call>",)),
    FamilyMark("gemma", ("<start_of_turn>",)),
    FamilyMark("glm", ("<arg_key>",)),
    FamilyMark("glm", ("<|observation|>",)),
    FamilyMark("seed", ("<seed:",)),
    FamilyMark("command-r", ("<|START_OF_TURN_TOKEN|>",)),
    FamilyMark("phi", ("<|tool_call|>", "<|end|>")),
    FamilyMark("llama", ("<|start_header_id|>", "<|python_tag|>")),
    FamilyMark("llama", ("<|start_header_id|>", '{"name": function name')),
    FamilyMark("llama4", ("<|header_start|>",)),
    FamilyMark("mistral", ("[TOOL_CALLS]",)),
    FamilyMark("mistral", ("[INST]",)),
    FamilyMark("lfm2", ("<|tool_list_start|>",)),
    FamilyMark("lfm2", ("<|tool_call_start|>",)),
    FamilyMark("apertus", ("<|tools_prefix|>",)),
    FamilyMark("qwen3-coder", ("<tool_call>", "<function=", "<parameter=")),
    FamilyMark("hermes", ("<tool_call>",)),
    FamilyMark("llama", ("<|start_header_id|>",)),
    FamilyMark("deepseek", ("<｜Assistant｜>",)),
    FamilyMark("phi", ("<|end|>", "<|user|>")),
    FamilyMark("chatml", ("<|im_start|>",)),
)
"""First match wins. ``chatml`` is also the generic format of templates that match none."""

THINK: Final = ReasoningMarkers("<think>", "</think>")

REASONING: Final = (
    (
        "<|channel|>analysis<|message|>",
        ReasoningMarkers("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ),
    ("<|channel>thought", ReasoningMarkers("<|channel>thought", "<channel|>")),
    ("[THINK]", ReasoningMarkers("[THINK]", "[/THINK]")),
    ("<seed:think>", ReasoningMarkers("<seed:think>", "</seed:think>")),
    ("<mm:think>", ReasoningMarkers("<mm:think>", "</mm:think>")),
    ("<|START_THINKING|>", ReasoningMarkers("<|START_THINKING|>", "<|END_THINKING|>")),
    ("<|inner_prefix|>", ReasoningMarkers("<|inner_prefix|>", "<|inner_suffix|>")),
    ("assistant<|think|>", ReasoningMarkers("<|think|>", "<|end|>")),
    ("[BEGIN FINAL RESPONSE]", ReasoningMarkers("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")),
    ("◁think▷", ReasoningMarkers("◁think▷", "◁/think▷")),
    ("<think>", THINK),
    ("</think>", THINK),
)
"""Text that a reasoning template contains, and the markers that its model writes. First match wins."""

GENERIC: Final = ChatFormat("chatml")
"""For models without a recognisable template."""


def recognise(template: str) -> ChatFormat:
    """Return the format of the family that the text of a Jinja chat template belongs to.

    Unknown templates are ``chatml``, the generic notation, with the markers that their text contains.
    """
    name = next((mark.name for mark in FAMILIES if all(text in template for text in mark.texts)), GENERIC.name)
    reasoning = next((markers for text, markers in REASONING if text in template), None)
    return ChatFormat(name, reasoning)
