# ruff: noqa: RUF001 (full-width bars are what the markers are written with)
"""The notations of tool calls of the known families. A family that is missing here has the generic notation."""

from typing import Final

from msgspec.structs import replace

from antiphon.chat_formats.chat_format import HERMES, CallID, ParameterTags, ToolNotation

_MISTRAL_ID: Final = "[a-zA-Z0-9]{9}"

_QWEN3_CODER: Final = ToolNotation(
    shape="xml",
    triggers=("<tool_call>",),
    call_start="<tool_call>\n<function=",
    name_end=">\n",
    parameters=ParameterTags(start="<parameter=", name_end=">\n", end="\n</parameter>\n"),
    call_end="</function>\n</tool_call>",
    separator="\n",
)
_LLAMA: Final = ToolNotation(
    shape="object", triggers=('{"name"',), leading_only=True, parallel=False, arguments_key="parameters"
)
_LLAMA_PYTHONIC: Final = ToolNotation(
    shape="pythonic",
    triggers=("[",),
    leading_only=True,
    section_start="[",
    name_end="(",
    call_end=")",
    separator=", ",
    section_end="]",
)
_MISTRAL: Final = ToolNotation(
    shape="object",
    triggers=("[TOOL_CALLS]",),
    section_start="[TOOL_CALLS][",
    call_id=CallID(text="id", pattern=_MISTRAL_ID, optional=True),
    separator=", ",
    section_end="]",
)
_MISTRAL_ARGS: Final = ToolNotation(
    shape="named",
    triggers=("[TOOL_CALLS]",),
    call_start="[TOOL_CALLS]",
    call_id=CallID(text="[CALL_ID]", pattern=_MISTRAL_ID, optional=True),
    name_end="[ARGS]",
)
_DEEPSEEK: Final = ToolNotation(
    shape="named",
    triggers=("<｜tool▁calls▁begin｜>",),
    section_start="<｜tool▁calls▁begin｜>",
    call_start="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    name_end="\n```json\n",
    call_end="\n```<｜tool▁call▁end｜>",
    separator="\n",
    section_end="<｜tool▁calls▁end｜>",
)
_DEEPSEEK_V31: Final = ToolNotation(
    shape="named",
    triggers=("<｜tool▁calls▁begin｜>",),
    section_start="<｜tool▁calls▁begin｜>",
    call_start="<｜tool▁call▁begin｜>",
    name_end="<｜tool▁sep｜>",
    call_end="<｜tool▁call▁end｜>",
    section_end="<｜tool▁calls▁end｜>",
)
_KIMI: Final = ToolNotation(
    shape="named",
    triggers=("<|tool_calls_section_begin|>",),
    section_start="<|tool_calls_section_begin|>",
    call_start="<|tool_call_begin|>functions.",
    call_id=CallID(text=":", pattern="[0-9]+"),
    name_end="<|tool_call_argument_begin|>",
    call_end="<|tool_call_end|>",
    section_end="<|tool_calls_section_end|>",
)
_HARMONY: Final = ToolNotation(
    shape="named",
    triggers=("<|channel|>commentary to=functions.",),
    parallel=False,
    call_start="<|channel|>commentary to=functions.",
    name_end=" <|constrain|>json<|message|>",
    call_end="<|call|>",
    alternatives=(
        ToolNotation(
            shape="named",
            triggers=(" to=functions.",),
            leading_only=True,
            parallel=False,
            call_start=" to=functions.",
            name_end="<|channel|>commentary <|constrain|>json<|message|>",
            call_end="<|call|>",
        ),
    ),
    content_marks=(
        "<|channel|>final<|message|>",
        "<|channel|>commentary<|message|>",
        "<|start|>assistant",
        "<|end|>",
        "<|return|>",
    ),
)
_FUNCTIONARY_V31: Final = ToolNotation(
    shape="named",
    triggers=("<function=",),
    call_start="<function=",
    name_end=">",
    call_end="</function>",
)
_FUNCTIONARY_V32: Final = ToolNotation(
    shape="named",
    triggers=(">>>",),
    call_start=">>>",
    name_end="\n",
    content_marks=(">>>all\n",),
)
_SEED: Final = ToolNotation(
    shape="xml",
    triggers=("<seed:tool_call>",),
    call_start="<seed:tool_call>\n<function=",
    name_end=">\n",
    parameters=ParameterTags(start="<parameter=", name_end=">", end="</parameter>\n"),
    call_end="</function>\n</seed:tool_call>",
    separator="\n",
)
_GLM_COMPACT: Final = ToolNotation(
    shape="xml",
    triggers=("<tool_call>",),
    call_start="<tool_call>",
    parameters=ParameterTags(start="<arg_key>", name_end="</arg_key><arg_value>", end="</arg_value>"),
    call_end="</tool_call>",
)
_HY: Final = ToolNotation(
    shape="xml",
    triggers=("<tool_calls:opensource>",),
    section_start="<tool_calls:opensource>\n",
    call_start="<tool_call:opensource>",
    name_end="<tool_sep:opensource>\n",
    parameters=ParameterTags(
        start="<arg_key:opensource>",
        name_end="</arg_key:opensource>\n<arg_value:opensource>",
        end="</arg_value:opensource>\n",
    ),
    call_end="</tool_call:opensource>\n",
    section_end="</tool_calls:opensource>",
)
_MINIMAX_NAMESPACE: Final = "]<]minimax[>["
_MINIMAX_M3: Final = ToolNotation(
    shape="xml",
    triggers=(f"{_MINIMAX_NAMESPACE}<tool_call>",),
    section_start=f"{_MINIMAX_NAMESPACE}<tool_call>\n",
    call_start=f'{_MINIMAX_NAMESPACE}<invoke name="',
    name_end='">',
    parameters=ParameterTags(start=f"{_MINIMAX_NAMESPACE}<", name_end=">", end=f"{_MINIMAX_NAMESPACE}</{{key}}>"),
    call_end=f"{_MINIMAX_NAMESPACE}</invoke>\n",
    section_end=f"{_MINIMAX_NAMESPACE}</tool_call>",
)
_KIMI_K3: Final = ToolNotation(
    shape="xml",
    triggers=("<|open|>tools<|sep|>",),
    section_start="<|open|>tools<|sep|>",
    call_start='<|open|>call tool="',
    call_id=CallID(text='" index="', pattern="[0-9]+"),
    name_end='"<|sep|>',
    parameters=ParameterTags(
        start='<|open|>argument key="',
        name_end='" type="string"<|sep|>',
        json_name_ends=tuple(
            f'" type="{json_type}"<|sep|>' for json_type in ("number", "boolean", "null", "array", "object")
        ),
        end="<|close|>argument<|sep|>",
    ),
    call_end="<|close|>call<|sep|>",
    section_end="<|close|>tools<|sep|>",
    content_marks=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
)
_SOLAR: Final = ToolNotation(
    shape="named",
    triggers=("<|tool_calls|>",),
    section_start="<|tool_calls|>",
    call_start="<|tool_call:begin|>",
    call_id=CallID(text="<|tool_call:name|>", pattern="[a-zA-Z0-9_-]{1,64}", before_name=True),
    name_end="<|tool_call:args|>",
    call_end="<|tool_call:end|>",
    section_end="<|calls|>",
    content_marks=("<|content|>", "<|begin|>assistant", "<|end|>"),
)
_MINICPM: Final = ToolNotation(
    shape="xml",
    triggers=('<function name="',),
    call_start='<function name="',
    name_end='">',
    parameters=ParameterTags(start='<param name="', name_end='">', end="</param>"),
    call_end="</function>",
)
_MINIMAX_M1: Final = ToolNotation(
    shape="object",
    triggers=("<tool_calls>",),
    section_start="<tool_calls>\n",
    separator="\n",
    section_end="\n</tool_calls>",
)
_GIGACHAT: Final = ToolNotation(
    shape="object", triggers=("<|function_call|>",), parallel=False, call_start="<|function_call|>"
)
_GIGACHAT3: Final = ToolNotation(
    shape="object",
    triggers=("<|message_sep|>\n\nfunction call<|role_sep|>\n",),
    parallel=False,
    call_start="<|message_sep|>\n\nfunction call<|role_sep|>\n",
)
_COMMAND_R_PLUS: Final = ToolNotation(
    shape="object",
    triggers=("Action:\n```json\n",),
    section_start="Action:\n```json\n[\n    ",
    name_key="tool_name",
    arguments_key="parameters",
    separator=",\n    ",
    section_end="\n]\n```",
)
_GLM: Final = ToolNotation(
    shape="xml",
    triggers=("<tool_call>",),
    call_start="<tool_call>",
    name_end="\n",
    parameters=ParameterTags(start="<arg_key>", name_end="</arg_key>\n<arg_value>", end="</arg_value>\n"),
    call_end="</tool_call>",
    separator="\n",
)


def _dsml(section: str) -> ToolNotation:
    return ToolNotation(
        shape="xml",
        triggers=(f"<｜DSML｜{section}>",),
        section_start=f"<｜DSML｜{section}>\n",
        call_start='<｜DSML｜invoke name="',
        name_end='">\n',
        parameters=ParameterTags(
            start='<｜DSML｜parameter name="',
            name_end='" string="true">',
            json_name_ends=('" string="false">',),
            end="</｜DSML｜parameter>\n",
        ),
        call_end="</｜DSML｜invoke>\n",
        section_end=f"</｜DSML｜{section}>",
    )


def _invocations(start: str, end: str, prefix: str = "") -> ToolNotation:
    return ToolNotation(
        shape="xml",
        triggers=(start,),
        section_start=f"{start}\n",
        call_start=f'<{prefix}invoke name="',
        name_end='">\n',
        parameters=ParameterTags(start=f'<{prefix}parameter name="', name_end='">', end=f"</{prefix}parameter>\n"),
        call_end=f"</{prefix}invoke>\n",
        section_end=end,
    )


def _objects(start: str, end: str = "", separator: str = ", ") -> ToolNotation:
    """Return the notation of a JSON list of objects between ``start`` and ``end``."""
    return ToolNotation(
        shape="object",
        triggers=(start,),
        section_start=f"{start}[",
        separator=separator,
        section_end=f"]{end}",
    )


_COMMAND_R: Final = ToolNotation(
    shape="object",
    triggers=("<|START_ACTION|>",),
    section_start="<|START_ACTION|>[\n    ",
    name_key="tool_name",
    arguments_key="parameters",
    call_id=CallID(text="tool_call_id", pattern="[0-9]+", before_name=True),
    separator=",\n    ",
    section_end="\n]<|END_ACTION|>",
    content_marks=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
_APERTUS: Final = ToolNotation(
    shape="named",
    triggers=("<|tools_prefix|>",),
    section_start="<|tools_prefix|>[",
    call_start='{"',
    name_end='": ',
    call_end="}",
    separator=", ",
    section_end="]<|tools_suffix|>",
)
_LFM2: Final = ToolNotation(
    shape="pythonic",
    triggers=("<|tool_call_start|>",),
    section_start="<|tool_call_start|>[",
    name_end="(",
    call_end=")",
    separator=", ",
    section_end="]<|tool_call_end|>",
)
_GEMMA: Final = ToolNotation(
    shape="pythonic",
    triggers=("```tool_code\n",),
    section_start="```tool_code\n",
    name_end="(",
    call_end=")",
    separator="\n",
    section_end="\n```",
)
_GEMMA_4: Final = ToolNotation(
    shape="pythonic",
    triggers=("<|tool_call>",),
    call_start="<|tool_call>call:",
    name_end="{",
    key_end=":",
    value_separator=",",
    quote='<|"|>',
    call_end="}<tool_call|>",
)

TOOL_NOTATIONS: Final = {
    "apertus": _APERTUS,
    "apriel": _objects("<tool_calls>", "</tool_calls>"),
    "command-r": _COMMAND_R,
    "command-r-plus": _COMMAND_R_PLUS,
    "deepseek": _DEEPSEEK,
    "deepseek-v3.1": _DEEPSEEK_V31,
    "deepseek-dsml": _dsml("function_calls"),
    "deepseek-v4": _dsml("tool_calls"),
    "firefunction": _objects(" functools"),
    "functionary-v3.1": _FUNCTIONARY_V31,
    "functionary-v3.2": _FUNCTIONARY_V32,
    "gemma": _GEMMA,
    "gemma-4": _GEMMA_4,
    "gigachat": _GIGACHAT,
    "gigachat3": _GIGACHAT3,
    "glm": _GLM,
    "glm-compact": _GLM_COMPACT,
    "granite": _objects("<|tool_call|>"),
    "granite-4": HERMES,
    "harmony": _HARMONY,
    "hermes": HERMES,
    "hy": _HY,
    "kimi": _KIMI,
    "kimi-k3": _KIMI_K3,
    "lfm2": _LFM2,
    "llama": _LLAMA,
    "llama-pythonic": _LLAMA_PYTHONIC,
    "llama4": _LLAMA_PYTHONIC,
    "minimax": _invocations("<minimax:tool_call>", "</minimax:tool_call>"),
    "minicpm": _MINICPM,
    "minimax-m1": _MINIMAX_M1,
    "minimax-m3": _MINIMAX_M3,
    "mistral": _MISTRAL,
    "mistral-args": _MISTRAL_ARGS,
    "muse": replace(
        _invocations("<atem:function_calls>", "</atem:function_calls>", "atem:"),
        content_marks=(" to=user<|message|>", "<|start|>assistant", "<|eom|>"),
    ),
    "nemotron": _objects("<TOOLCALL>", "</TOOLCALL>"),
    "phi-4": _objects("<|tool_call|>", "<|/tool_call|>"),
    "qwen3-coder": _QWEN3_CODER,
    "seed": _SEED,
    "solar": _SOLAR,
}
"""The notation by the name of the family."""


def tool_notation(family: str) -> ToolNotation:
    """Return the family's notation of calls, the generic one for a family that is not in the table."""
    return TOOL_NOTATIONS.get(family, HERMES)
