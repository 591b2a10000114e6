"""Turns as the messages that chat templates read."""

from collections.abc import Sequence
from typing import Any

from antiphon.rendering.masks import Mask, masked
from antiphon.rendering.segments import Content
from antiphon.rendering.turns import Call, Turn
from antiphon.templates.capabilities import Capabilities, ToolHistory


def template_messages(turns: Sequence[Turn], capabilities: Capabilities, mask: Mask) -> list[dict[str, Any]]:
    """Return turns as the dictionaries that templates read, with ``mask`` applied to every text of the user."""
    return [_template_message(turn, capabilities, mask) for turn in turns]


def _template_message(turn: Turn, capabilities: Capabilities, mask: Mask) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role}
    history = capabilities.tool_history
    if turn.content or not turn.calls or history is None:
        message["content"] = _template_content(turn.content, capabilities, mask)
    elif history.content != "absent":
        message["content"] = None if history.content == "null" else ""
    if turn.name is not None:
        message["name"] = mask(turn.name)
    if turn.call_id is not None:
        message["tool_call_id"] = mask(turn.call_id)
    if turn.reasoning is not None and capabilities.reasoning_key is not None:
        message[capabilities.reasoning_key] = mask(turn.reasoning)
    if turn.calls:
        assert history is not None
        message["tool_calls"] = [_template_call(call, history, mask) for call in turn.calls]
    return message


def _template_call(call: Call, history: ToolHistory, mask: Mask) -> dict[str, Any]:
    arguments = masked(call.parsed_arguments, mask) if history.arguments == "object" else mask(call.arguments)
    return {"id": mask(call.id), "type": "function", "function": {"name": mask(call.name), "arguments": arguments}}


def _template_content(content: Content, capabilities: Capabilities, mask: Mask) -> object:
    texts = [mask(segment.text) for segment in content]
    return [{"type": "text", "text": text} for text in texts or [""]] if capabilities.typed_content else "".join(texts)
