"""The rules between the tools of a request and its tool choice.

Reference: ``tools``, ``tool_choice``, ``parallel_tool_calls`` and their deprecated forms ``functions`` and
``function_call``. The wording of errors follows the reference's service.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_TOOL_BYTES
from antiphon.protocol.combined_errors import all_results, combined
from antiphon.protocol.diagnosis import diagnose
from antiphon.protocol.tools import (
    AllowedToolChoice,
    AllowedTools,
    CustomToolChoice,
    FunctionCallOption,
    FunctionTool,
    FunctionToolChoice,
    JSONObject,
    LegacyFunction,
    NamedTool,
    ResponseFormat,
    ResponseFormatJSONSchema,
    Tool,
    ToolChoice,
)
from antiphon.protocol.unknown_members import is_null, remove_unknown

ToolName = tuple[str, str]
"""The type of a tool (``function`` or ``custom``) and its name."""
_REFERENCE: Any = FunctionToolChoice | CustomToolChoice


def tool_name(tool: Tool) -> ToolName:
    """Return the type and the name of a tool, as a tool choice refers to it."""
    return ("function", tool.function.name) if isinstance(tool, FunctionTool) else ("custom", tool.custom.name)


def allowed_tool_names(allowed: AllowedTools) -> list[ToolName]:
    """Return the tools of ``allowed_tools``. Raises InvalidRequestError for an entry that is no reference to a tool."""
    path = "tool_choice.allowed_tools.tools"
    return all_results(partial(_named_tool, entry, f"{path}[{index}]") for index, entry in enumerate(allowed.tools))


def check_tools(tools: Sequence[Tool] | None, choice: ToolChoice | None) -> None:
    """Raise InvalidRequestError if tools and choice do not fit together.

    Tools need distinct names, their definitions have a bound in bytes, and a choice must name declared tools.
    """
    if tools is None:
        _require_no_call(choice, "tool_choice", "tools")
        return
    _check_size("tools", tools)
    names = [tool_name(tool) for tool in tools]
    _require_unique([f"tools[{index}].{kind}.name" for index, (kind, _) in enumerate(names)], [n for _, n in names])
    if isinstance(choice, FunctionToolChoice):
        _require_declared(("function", choice.function.name), names)
    elif isinstance(choice, CustomToolChoice):
        _require_declared(("custom", choice.custom.name), names)
    elif isinstance(choice, AllowedToolChoice):
        all_results(partial(_require_declared, name, names) for name in allowed_tool_names(choice.allowed_tools))


def check_functions(
    functions: Sequence[LegacyFunction] | None, call: FunctionCallOption | None, tools: Sequence[Tool] | None
) -> None:
    """Check ``functions`` and ``function_call`` like tools; they exclude ``tools``. Raises InvalidRequestError."""
    if functions is None:
        _require_no_call(call, "function_call", "functions")
        return
    if tools is not None:
        raise validation.invalid_value("functions", "'functions' is not allowed when 'tools' are specified.")
    _check_size("functions", functions)
    names = [function.name for function in functions]
    _require_unique([f"functions[{index}].name" for index in range(len(names))], names)
    if isinstance(call, NamedTool) and call.name not in names:
        reason = f"the function '{call.name}' is not among 'functions'."
        raise validation.invalid_value("function_call", reason)


def check_forced_call(
    choice: ToolChoice | None, call: FunctionCallOption | None, response_format: ResponseFormat | None
) -> None:
    """Raise InvalidRequestError for a strict schema of the content beside a choice that forces a call.

    The answer is then calls without content, so that both cannot hold.
    """
    strict = isinstance(response_format, ResponseFormatJSONSchema) and response_format.json_schema.strict is True
    field = "function_call" if isinstance(call, NamedTool) else "tool_choice"
    if strict and (isinstance(call, NamedTool) or _forces_call(choice)):
        reason = (
            f"a strict schema cannot hold together with '{field}', which forces a call: the answer has calls and no "
            f"content. Leave out 'strict', or let '{field}' be 'auto'."
        )
        raise validation.invalid_value("response_format", reason)


def _forces_call(choice: ToolChoice | None) -> bool:
    if isinstance(choice, AllowedToolChoice):
        return choice.allowed_tools.mode == "required"
    return choice == "required" or isinstance(choice, FunctionToolChoice | CustomToolChoice)


def _check_size(path: str, definitions: Sequence[Tool] | Sequence[LegacyFunction]) -> None:
    size = len(msgspec.json.encode(definitions))
    if size > MAX_TOOL_BYTES:
        raise validation.too_many(path, "bytes", MAX_TOOL_BYTES, size)


def _require_no_call(choice: object, path: str, needed: str) -> None:
    """Raise InvalidRequestError for a choice that demands a call or limits calls, because there are no tools.

    ``none`` and ``auto`` ask for nothing without tools.
    """
    if choice not in (None, "none", "auto"):
        raise validation.invalid_value(path, f"'{path}' is only allowed when '{needed}' are specified.")


def _require_unique(paths: Sequence[str], names: Sequence[str]) -> None:
    error = combined(
        validation.invalid_value(path, f"'{name}' is the name of an earlier one.")
        for index, (path, name) in enumerate(zip(paths, names, strict=True))
        if name in names[:index]
    )
    if error is not None:
        raise error


def _require_declared(name: ToolName, names: Sequence[ToolName]) -> None:
    if name not in names:
        kind, text = name
        raise validation.invalid_value("tool_choice", f"the {kind} tool '{text}' is not among 'tools'.")


def _named_tool(entry: JSONObject, path: str) -> ToolName:
    reference = msgspec.to_builtins(entry)
    remove_unknown(_REFERENCE, reference, is_null)
    error = diagnose(_REFERENCE, reference, path)
    if error is not None:
        raise error
    named = msgspec.convert(reference, _REFERENCE)
    if isinstance(named, FunctionToolChoice):
        return "function", named.function.name
    assert isinstance(named, CustomToolChoice), f"{named} is neither"
    return "custom", named.custom.name
