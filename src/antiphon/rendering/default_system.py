"""Finds the system text that a chat template writes when no message has one, so that instructions can be added to it.

A system message replaces this text in most templates ("You are a helpful assistant." and the like). The text may depend
on the tools, the variables and the date, so it is found anew for each request that needs it: a prompt with a system
message shows where the template puts system text, and a prompt without one shows the template's own text there.
"""

from collections.abc import Callable
from typing import Any

from antiphon.errors import InvalidRequestError
from antiphon.rendering.turns import BLANK_LINE
from antiphon.templates.capabilities import Capabilities

Message = dict[str, Any]
Write = Callable[[list[Message]], str]
"""Renders messages with the variables of the request."""
_SYSTEM, _USER = "Copper", "Maple"


def with_default_system(messages: list[Message], capabilities: Capabilities, write: Write) -> list[Message]:
    """Return the messages with the template's own system text at the beginning of the first, a system message."""
    default = default_system(capabilities, write)
    if not default:
        return messages
    first, *others = messages
    return [{**first, "content": _content(default + BLANK_LINE, capabilities) + first["content"]}, *others]


def default_system(capabilities: Capabilities, write: Write) -> str:
    """Return the template's own system text without whitespace around it.

    It is empty without one, and where a system message leaves it in the prompt.
    """
    if not capabilities.system:
        return ""
    user = {"role": "user", "content": _content(_USER, capabilities)}
    system = {"role": "system", "content": _content(_SYSTEM, capabilities)}
    try:
        without, before_and_after = write([user]), write([system, user]).split(_SYSTEM, 1)
    except InvalidRequestError:
        return ""
    return _between(without, *before_and_after) if len(before_and_after) > 1 else ""


def _between(text: str, before: str, after: str) -> str:
    framed = text.startswith(before) and text.endswith(after)
    return text[len(before) : len(text) - len(after)].strip() if framed and len(text) > len(before) + len(after) else ""


def _content(text: str, capabilities: Capabilities) -> Any:  # noqa: ANN401 (a text or a list of parts)
    return [{"type": "text", "text": text}] if capabilities.typed_content else text
