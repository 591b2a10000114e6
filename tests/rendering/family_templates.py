"""A chat template for each family, made of its own markers, and a vocabulary in which they are control tokens.

No family's real template is copied. These put every input of a template between the family's markers:
names, texts, reasoning, calls and their arguments one by one, results, tools, variables.
"""

from functools import cache
from typing import Literal

from antiphon.chat_formats.builtin import FAMILIES, FORMAT_NAMES, named_format
from antiphon.chat_formats.chat_format import ChatFormat, ToolNotation, tool_markers
from antiphon.templates.chat_template import ChatTemplate
from tests.rendering.byte_vocabulary import ByteVocabulary

BOS, EOS = "<s>", "</s>"
OPEN, CLOSE = "<|im_start|>", "<|im_end|>"
Kind = Literal["control", "user-defined"]
MOOD = "mood"
"""A template variable that requests can set."""

TEMPLATE = """\
{{ bos_token }}
{%- macro value(it) %}{{ it if it is string else it | tojson }}{% endmacro %}
{%- if mood is defined %}@OPEN@mood {{ value(mood) }}@CLOSE@{% endif %}
{%- for tool in tools or [] %}
@OPEN@tool {{ tool.function.name }}: {{ tool.function.description }}
{%- for key, about in tool.function.parameters.properties.items() %}
@START@{{ key }} {{ about.type }}@END@
{%- endfor %}
{{- tool | tojson }}@CLOSE@
{%- endfor %}
{%- for message in messages %}
@OPEN@{{ message.role }}{{ ' ' ~ message.name if message.name }}
{%- if message.tool_call_id %} for {{ message.tool_call_id }}{% endif %}
{%- if message.reasoning_content %}@THINK@{{ message.reasoning_content | trim }}@THOUGHT@{% endif %}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
@START@{{ call.id }} {{ call.function.name }}
{%- for key, argument in (call.function.arguments if call.function.arguments is mapping else {}).items() %}
@START@{{ key }}={{ value(argument) }}@END@
{%- endfor %}
{{- call.function.arguments | tojson }}@END@
{%- endfor %}@CLOSE@{{ eos_token if message.role == 'assistant' }}
{%- endfor %}
{%- if add_generation_prompt %}@OPEN@assistant
{% endif %}"""


def markers(family: str) -> tuple[str, ...]:
    """Return every marker of the family, shortest first, except common text."""
    found = {text for mark in FAMILIES if mark.name == family for text in mark.texts}
    chat_format = family_format(family)
    found |= {*tool_markers(chat_format.tools), BOS, EOS, OPEN, CLOSE, "<think>", "</think>"}
    if chat_format.reasoning is not None:
        found |= {chat_format.reasoning.start, chat_format.reasoning.end}
    return tuple(
        sorted({text.strip() for text in found if _is_marker(text.strip())}, key=lambda text: (len(text), text))
    )


def _is_marker(text: str) -> bool:
    return len(text) > 2 and not text.replace(" ", "").isalnum() and any(sign in text for sign in "<>[]|▁◁▷`:")


def family_format(family: str) -> ChatFormat:
    marked = " ".join(text for mark in FAMILIES if mark.name == family for text in mark.texts)
    return named_format(family, f"{marked} <think>")


@cache
def family_template(family: str) -> ChatTemplate:
    """Return the template, which puts the start and end texts of the family's calls around each call and argument."""
    chat_format = family_format(family)
    start, end = _around(chat_format.tools)
    reasoning = chat_format.reasoning
    texts = {"OPEN": OPEN, "CLOSE": CLOSE, "START": start, "END": end,
             "THINK": reasoning.start if reasoning else "", "THOUGHT": reasoning.end if reasoning else ""}  # fmt: skip
    source = TEMPLATE
    for name, text in texts.items():
        source = source.replace(f"@{name}@", _literal(text))
    return ChatTemplate(source, BOS, EOS)


def _around(notation: ToolNotation) -> tuple[str, str]:
    return notation.section_start + notation.call_start, notation.call_end + notation.section_end


def _literal(text: str) -> str:
    return "{{ " + repr(text) + " }}" if text else ""


def family_vocabulary(family: str, kind: Kind = "control") -> ByteVocabulary:
    """Return a vocabulary in which the family's markers are tokens of this kind."""
    texts = markers(family)
    return ByteVocabulary(texts) if kind == "control" else ByteVocabulary((), user_defined=texts)


__all__ = ["FORMAT_NAMES", "MOOD", "Kind", "family_format", "family_template", "family_vocabulary", "markers"]
