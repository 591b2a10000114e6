"""The tools of a request, the choice among them, and their description for the model.

Reference: ``tools``, ``tool_choice``, ``parallel_tool_calls``, and the deprecated ``functions`` and ``function_call``.
The prompt describes every declared tool, for any choice, so that prompts that differ only in the choice share their
cached prefix. The chat template describes functions if it supports tools; otherwise the system message does. The system
message always describes custom tools, because the server defines the notation of their calls.
"""

import json
from typing import Any, Literal

from msgspec import Struct

from antiphon.chat_formats.chat_format import CUSTOM_CALL, ToolNotation
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.tool_rules import ToolName, allowed_tool_names, tool_name
from antiphon.protocol.tools import (
    AllowedToolChoice,
    CustomToolChoice,
    CustomToolDefinition,
    FunctionDefinition,
    FunctionTool,
    FunctionToolChoice,
    GrammarFormat,
    JSONSchemaFormat,
    NamedTool,
    ResponseFormatJSONSchema,
)
from antiphon.rendering.server_text import server_text

Mode = Literal["none", "auto", "required"]


class DeclaredFunction(Struct, frozen=True, kw_only=True):
    """A function and the path of its definition in the request."""

    definition: FunctionDefinition
    path: str


class DeclaredCustom(Struct, frozen=True, kw_only=True):
    """A custom tool and its path in the request."""

    definition: CustomToolDefinition
    path: str


class ToolUse(Struct, frozen=True, kw_only=True):
    """The tools of a request and the choice among them, with defaults."""

    functions: tuple[DeclaredFunction, ...]
    customs: tuple[DeclaredCustom, ...]
    mode: Mode
    allowed: frozenset[str]
    """Names of the tools that the model may call."""
    named: bool = False
    """Whether the request chooses one tool by name."""
    parallel: bool = True
    legacy: bool = False
    """Whether request and answer use the deprecated form."""


def tool_use(request: CreateChatCompletion) -> ToolUse | None:
    """Return the tools of a request and the choice; None without tools."""
    if request.functions is not None:
        return _legacy_use(request)
    if request.tools is None:
        return None
    functions, customs = [], []
    for index, tool in enumerate(request.tools):
        if isinstance(tool, FunctionTool):
            functions.append(DeclaredFunction(definition=tool.function, path=f"tools[{index}].function"))
        else:
            customs.append(DeclaredCustom(definition=tool.custom, path=f"tools[{index}]"))
    names = [tool_name(tool)[1] for tool in request.tools]
    mode, chosen, named = _choice(request)
    return ToolUse(
        functions=tuple(functions),
        customs=tuple(customs),
        mode=mode,
        allowed=frozenset(names if chosen is None else [name for _, name in chosen]),
        named=named,
        parallel=request.parallel_tool_calls is not False and not named,
    )


def _choice(request: CreateChatCompletion) -> tuple[Mode, list[ToolName] | None, bool]:
    """Return the mode, the chosen tools (None: all), and whether the choice names one tool."""
    match request.tool_choice:
        case None:
            return "auto", None, False
        case FunctionToolChoice(function=function):
            return "required", [("function", function.name)], True
        case CustomToolChoice(custom=custom):
            return "required", [("custom", custom.name)], True
        case AllowedToolChoice(allowed_tools=allowed):
            return allowed.mode, allowed_tool_names(allowed), False
        case mode:
            return mode, None, False


def _legacy_use(request: CreateChatCompletion) -> ToolUse:
    """Return the tools of the deprecated form, which allows at most one call."""
    definitions = [
        FunctionDefinition(name=function.name, description=function.description, parameters=function.parameters)
        for function in request.functions or ()
    ]
    functions = tuple(
        DeclaredFunction(definition=definition, path=f"functions[{index}]")
        for index, definition in enumerate(definitions)
    )
    call = request.function_call
    named = isinstance(call, NamedTool)
    return ToolUse(
        functions=functions,
        customs=(),
        mode="required" if isinstance(call, NamedTool) else call or "auto",
        allowed=frozenset([call.name] if isinstance(call, NamedTool) else [f.name for f in definitions]),
        named=named,
        parallel=False,
        legacy=True,
    )


def template_tools(use: ToolUse) -> list[dict[str, Any]]:
    """Return the functions for the template's variable ``tools``; some templates need a description."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.definition.name,
                "description": "",
                **_details(tool.definition),
            },
        }
        for tool in use.functions
    ]


def functions_text(use: ToolUse, notation: ToolNotation) -> str:
    """Return a text that describes the functions and the form of a call, for templates without tools."""
    lines = [_compact_json({"name": tool.definition.name, **_details(tool.definition)}) for tool in use.functions]
    return "\n".join(
        ["You can call these functions:", *lines, "To call a function, write:", server_text(_example(notation))]
    )


def _example(notation: ToolNotation) -> str:
    """Return an example of a call in the notation, with capitals as placeholders."""
    head = f"NAME{notation.name_end}"
    if notation.shape == "object":
        body = f'{{"{notation.name_key}": NAME, "{notation.arguments_key}": ARGUMENTS}}'
    elif notation.shape == "named":
        body = f"{head}ARGUMENTS"
    elif notation.parameters is not None:
        tags = notation.parameters
        body = f"{head}{tags.start}KEY{tags.name_end}VALUE{tags.end.replace('{key}', 'KEY')}"
    else:
        body = f"{head}KEY{notation.key_end}VALUE"
    return notation.section_start + notation.call_start + body + notation.call_end + notation.section_end


def customs_text(use: ToolUse) -> str:
    """Return a text that describes the custom tools and the form of a call."""
    lines = [_compact_json(_custom_description(tool.definition)) for tool in use.customs]
    example = server_text(f"{CUSTOM_CALL.start}NAME{CUSTOM_CALL.name_end}INPUT")
    return "\n".join(["You can use these tools:", *lines, "To use a tool, end your answer with:", example])


def format_text(response_format: object) -> str:
    """Return a text that describes the JSON Schema of the answer; empty for other formats.

    The reference's service does not publish its text. Without a description, a small model starts another answer and
    the grammar then forces it into the schema.
    """
    if not isinstance(response_format, ResponseFormatJSONSchema) or response_format.json_schema.schema is None:
        return ""
    form: JSONSchemaFormat = response_format.json_schema
    head = "Answer in JSON that follows this schema"
    about = f" ({form.name}: {form.description})" if form.description else f" ({form.name})"
    return f"{head}{about}:\n{_compact_json(form.schema)}"


def _details(definition: FunctionDefinition) -> dict[str, Any]:
    """Return the description and the parameters of a function."""
    description = {} if definition.description is None else {"description": definition.description}
    return {**description, "parameters": {"type": "object", "properties": {}, **(definition.parameters or {})}}


def _custom_description(definition: CustomToolDefinition) -> dict[str, Any]:
    description = {} if definition.description is None else {"description": definition.description}
    grammar = definition.format.grammar if isinstance(definition.format, GrammarFormat) else None
    kept = {} if grammar is None else {"input": {grammar.syntax: grammar.definition}}
    return {"name": definition.name, **description, **kept}


def _compact_json(value: object) -> str:
    """Return JSON without whitespace, to save tokens in every prompt."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
