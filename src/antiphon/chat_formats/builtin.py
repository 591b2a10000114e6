# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
"""The known model families, recognised by the text of a chat template.

The family gives the notation of tool calls. Templates of one family exist with and without reasoning, so the reasoning
markers are recognised separately. The first family whose texts all occur is chosen. So a family stands before the
families whose notation it extends.
"""

from typing import Final

from msgspec.structs import replace

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
"""The first match wins. ``chatml`` is also the generic format, for templates without a match."""

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
"""A text of the chat template and the reasoning markers of its model. The first match wins."""

GENERIC: Final = ChatFormat("chatml")
"""The format of models without a recognisable template."""

FORMAT_NAMES: Final = tuple(sorted({*TOOL_NOTATIONS, *(mark.name for mark in FAMILIES)}))
"""The names of the families, as an operator may choose one."""


def recognise(template: str) -> ChatFormat:
    """Return the format of the family that a Jinja chat template belongs to.

    The format of an unknown template is ``chatml`` with the generic notation and the template's reasoning markers.
    """
    name = next((mark.name for mark in FAMILIES if all(text in template for text in mark.texts)), GENERIC.name)
    return replace(named_format(name, template), foreign=True)


def named_format(name: str, template: str) -> ChatFormat:
    """Return the format of the family ``name``, one of :data:`FORMAT_NAMES`, for any template, without foreign calls.

    The reasoning markers are recognised by the template's text.
    """
    assert name in FORMAT_NAMES, f"{name!r} is none of {FORMAT_NAMES}"
    reasoning = next((markers for text, markers in REASONING if text in template), None)
    return ChatFormat(name, reasoning, tool_notation(name))
