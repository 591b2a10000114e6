"""The rules that hold between the tools of a request and the choice among them.

Reference: ``tools``, ``tool_choice``, ``parallel_tool_calls`` and their deprecated forms ``functions`` and
``function_call``; the wording follows the reference's service.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_TOOL_BYTES
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
    Tool,
    ToolChoice,
)

ToolName = tuple[str, str]
"""The type of a tool (``function`` or ``custom``) and its name."""
_REFERENCE: Any = FunctionToolChoice | CustomToolChoice


def tool_name(tool: Tool) -> ToolName:
    """Give what a choice names the tool by."""
    return ("function", tool.function.name) if isinstance(tool, FunctionTool) else ("custom", tool.custom.name)


def allowed_tool_names(allowed: AllowedTools) -> list[ToolName]:
    """Give the tools that ``allowed_tools`` names. Raises InvalidRequestError for an entry that names none."""
    path = "tool_choice.allowed_tools.tools"
    return [_reference(entry, f"{path}[{index}]") for index, entry in enumerate(allowed.tools)]


def check_tools(tools: Sequence[Tool] | None, choice: ToolChoice | None, *, parallel: bool | None) -> None:
    """Raise InvalidRequestError for two tools of one name, and for a choice that needs tools or names none of them.

    Definitions that are too large together are refused, too.
    """
    if tools is None:
        _require_none(choice, "tool_choice", "tools")
        if parallel is not None:
            raise _needs("parallel_tool_calls", "tools")
        return
    _check_size("tools", tools)
    names = [tool_name(tool) for tool in tools]
    _require_unique([f"tools[{index}].{kind}.name" for index, (kind, _) in enumerate(names)], [n for _, n in names])
    if isinstance(choice, FunctionToolChoice):
        _require_declared(("function", choice.function.name), names)
    elif isinstance(choice, CustomToolChoice):
        _require_declared(("custom", choice.custom.name), names)
    elif isinstance(choice, AllowedToolChoice):
        for name in allowed_tool_names(choice.allowed_tools):
            _require_declared(name, names)


def check_functions(
    functions: Sequence[LegacyFunction] | None, call: FunctionCallOption | None, tools: Sequence[Tool] | None
) -> None:
    """Do the same for the deprecated pair, which does not go with ``tools``."""
    if functions is None:
        _require_none(call, "function_call", "functions")
        return
    if tools is not None:
        raise validation.invalid_value("functions", "'functions' is not allowed when 'tools' are specified.")
    _check_size("functions", functions)
    names = [function.name for function in functions]
    _require_unique([f"functions[{index}].name" for index in range(len(names))], names)
    if isinstance(call, NamedTool) and call.name not in names:
        reason = f"the function '{call.name}' is not among 'functions'."
        raise validation.invalid_value("function_call", reason)


def _check_size(path: str, definitions: Sequence[Tool] | Sequence[LegacyFunction]) -> None:
    size = len(msgspec.json.encode(definitions))
    if size > MAX_TOOL_BYTES:
        raise validation.too_many(path, "bytes", MAX_TOOL_BYTES, size)


def _require_none(choice: object, path: str, needed: str) -> None:
    """``none`` is the documented default without tools and asks for nothing."""
    if choice is not None and choice != "none":
        raise _needs(path, needed)


def _needs(path: str, needed: str) -> InvalidRequestError:
    return validation.invalid_value(path, f"'{path}' is only allowed when '{needed}' are specified.")


def _require_unique(paths: Sequence[str], names: Sequence[str]) -> None:
    seen: set[str] = set()
    for path, name in zip(paths, names, strict=True):
        if name in seen:
            raise validation.invalid_value(path, f"'{name}' names an earlier one as well.")
        seen.add(name)


def _require_declared(name: ToolName, names: Sequence[ToolName]) -> None:
    if name not in names:
        kind, text = name
        raise validation.invalid_value("tool_choice", f"the {kind} tool '{text}' is not among 'tools'.")


def _reference(entry: JSONObject, path: str) -> ToolName:
    error = diagnose(_REFERENCE, entry, path)
    if error is not None:
        raise error
    named = msgspec.convert(entry, _REFERENCE)
    if isinstance(named, FunctionToolChoice):
        return "function", named.function.name
    assert isinstance(named, CustomToolChoice), f"{named} is neither"
    return "custom", named.custom.name
