# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
"""The families that are known, and how to recognise them from the text of a chat template.

A family's name says how it writes tool calls, and many templates of one family exist with and without reasoning: the
two are recognised apart. Order matters: the first family whose texts all occur is taken, so special notations stand
before the general ones that they borrow from.
"""

from typing import Final

from antiphon.chat_formats.chat_format import ChatFormat, FamilyMark, ReasoningMarkers
from antiphon.chat_formats.tool_notations import TOOL_NOTATIONS, tool_notation

FAMILIES: Final = (
    FamilyMark("harmony", ("<|channel|>", "<|message|>", "analysis")),
    FamilyMark("deepseek-dsml", ("｜DSML｜", "function_calls>")),
    FamilyMark("deepseek-v4", ("｜DSML｜",)),
    FamilyMark("deepseek", ("<｜tool▁calls▁begin｜>", "```json")),
    FamilyMark("deepseek-v3.1", ("<｜tool▁calls▁begin｜>",)),
    FamilyMark("kimi", ("<|tool_calls_section_begin|>",)),
    FamilyMark("kimi", ("<|im_middle|>",)),
    FamilyMark("kimi-k3", ("<|open|>", "<|close|>")),
    FamilyMark("minimax", ("<minimax:tool_call>",)),
    FamilyMark("minimax-m3", ("]<]minimax[>[",)),
    FamilyMark("minimax-m1", ("<beginning_of_sentence>", "<tool_calls>")),
    FamilyMark("muse", ("<atem:function_calls>",)),
    FamilyMark("hy", (":opensource", "<tool_calls{}>")),
    FamilyMark("solar", ("<|tool_call:begin|>",)),
    FamilyMark("gigachat", ("<|function_call|>",)),
    FamilyMark("gigachat3", ("<|message_sep|>", "'function call'")),
    FamilyMark("minicpm", ('<function name="', '<param name="')),
    FamilyMark("functionary-v3.2", (">>>all",)),
    FamilyMark("functionary-v3.1", ("<function=", "<|eom_id|>", "[tool call(s)]")),
    FamilyMark(
        "functionary-v3.1",
        ("<function=", "<|python_tag|>", "<|start_header_id|>", "You have access to the following functions"),
    ),
    FamilyMark("firefunction", (" functools[",)),
    FamilyMark("granite-4", ("<|start_of_role|>", "<tool_call>")),
    FamilyMark("granite", ("<|start_of_role|>",)),
    FamilyMark("gemma-4", ("<|tool_call>",)),
    FamilyMark("gemma", ("<start_of_turn>",)),
    FamilyMark("glm", ("</arg_key>\n<arg_value>",)),
    FamilyMark("glm", ("<arg_key>", "\\n<arg_value>")),
    FamilyMark("glm-compact", ("<arg_key>",)),
    FamilyMark("glm-4", ("<|observation|>",)),
    FamilyMark("seed", ("<seed:",)),
    FamilyMark("command-r", ("<|START_OF_TURN_TOKEN|>", "<|START_ACTION|>")),
    FamilyMark("command-r-plus", ("<|START_OF_TURN_TOKEN|>",)),
    FamilyMark("phi-4", ("<|tool_call|>", "<|end|>")),
    FamilyMark("llama", ("<|start_header_id|>", "<|python_tag|>")),
    FamilyMark("llama", ("<|start_header_id|>", '{"name": function name')),
    FamilyMark("llama4", ("<|header_start|>",)),
    FamilyMark("mistral-args", ("[TOOL_CALLS]", "[ARGS]")),
    FamilyMark("mistral", ("[TOOL_CALLS]",)),
    FamilyMark("mistral-v1", ("[INST]",)),
    FamilyMark("lfm2", ("<|tool_list_start|>",)),
    FamilyMark("lfm2", ("<|tool_call_start|>",)),
    FamilyMark("lfm2", ("List of tools: [",)),
    FamilyMark("apertus", ("<|tools_prefix|>",)),
    FamilyMark("nemotron", ("<TOOLCALL>",)),
    FamilyMark("apriel", ("<tool_calls>[",)),
    FamilyMark("qwen3-coder", ("<tool_call>", "<function=", "<parameter=")),
    FamilyMark("hermes", ("<tool_call>",)),
    FamilyMark("llama3", ("<|start_header_id|>",)),
    FamilyMark("deepseek-chat", ("<｜Assistant｜>",)),
    FamilyMark("phi", ("<|end|>", "<|user|>")),
    FamilyMark("chatml", ("<|im_start|>",)),
)
"""First match wins. ``chatml`` is also the generic format of templates that match none."""

THINK: Final = ReasoningMarkers("<think>", "</think>")

REASONING: Final = (
    (
        "<|channel|>analysis<|message|>",
        ReasoningMarkers(
            "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>", "<|end|>"
        ),
    ),
    ("<|channel>thought", ReasoningMarkers("<|channel>thought", "<channel|>")),
    ("[THINK]", ReasoningMarkers("[THINK]", "[/THINK]")),
    ("<seed:think>", ReasoningMarkers("<seed:think>", "</seed:think>")),
    ("<mm:think>", ReasoningMarkers("<mm:think>", "</mm:think>")),
    ("<|inner_prefix|>", ReasoningMarkers("<|inner_prefix|>", "<|inner_suffix|>")),
    ("assistant<|think|>", ReasoningMarkers("<|think|>", "<|end|>")),
    ("[BEGIN FINAL RESPONSE]", ReasoningMarkers("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")),
    ("<|START_THINKING|>", ReasoningMarkers("<|START_THINKING|>", "<|END_THINKING|>")),
    ("open_tag('think')", ReasoningMarkers("<|open|>think<|sep|>", "<|close|>think<|sep|>")),
    (" to=self<|message|>", ReasoningMarkers("to=self<|message|>", "<|eom|>")),
    ("<think{}>", ReasoningMarkers("<think:opensource>", "</think:opensource>")),
    ("◁think▷", ReasoningMarkers("◁think▷", "◁/think▷")),
    ("<think>", THINK),
    ("</think>", THINK),
)
"""Text that a reasoning template contains, and the markers that its model writes. First match wins."""

GENERIC: Final = ChatFormat("chatml")
"""For models without a recognisable template."""

FORMAT_NAMES: Final = tuple(sorted({*TOOL_NOTATIONS, *(mark.name for mark in FAMILIES)}))
"""The names of the families that can be asked for."""


def recognise(template: str) -> ChatFormat:
    """Return the format of the family that the text of a Jinja chat template belongs to.

    Unknown templates are ``chatml``, the generic notation, with the markers that their text contains.
    """
    name = next((mark.name for mark in FAMILIES if all(text in template for text in mark.texts)), GENERIC.name)
    return named_format(name, template)


def named_format(name: str, template: str) -> ChatFormat:
    """Return the format of the family called ``name``, one of :data:`FORMAT_NAMES`, whatever the template looks like.

    Reasoning is recognised apart from the family, so its markers are those that the template's text contains.
    """
    assert name in FORMAT_NAMES, f"{name!r} is none of {FORMAT_NAMES}"
    reasoning = next((markers for text, markers in REASONING if text in template), None)
    return ChatFormat(name, reasoning, tool_notation(name))
