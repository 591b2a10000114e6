"""The calls that an answer may hold. The rendering makes this value; the assembly parses the answer by it."""

from typing import Any, Literal

from msgspec import Struct

from antiphon.chat_formats.chat_format import ToolNotation

ContentForm = Literal["text", "json", "none"]
"""The content that the answer's grammar admits beside calls: any text, JSON, or none because a call is forced."""


class AnswerCalls(Struct, frozen=True, kw_only=True):
    """The tools that an answer may call, the notation of the calls and their form in the answer."""

    notation: ToolNotation
    tools: dict[str, dict[str, Any] | None]
    """By the name of each tool: the schema of the function's parameters (``{}`` without any), None for a custom tool.
    Without tools nothing is a call: only the notation's marks of content are dropped."""
    opening: str = ""
    """The part of the notation at the end of the prompt, for example of a prompt that forces a call."""
    named: bool = False
    """The request forces one tool by name: calls then finish with ``stop``, as in the reference's service."""
    foreign: bool = False
    """The answer may begin with calls in foreign notations."""
    legacy: bool = False
    """The request has ``functions``: the answer holds the first call as ``function_call``."""

    def finish_reason(self) -> Literal["stop", "function_call", "tool_calls"]:
        """Return the finish_reason of an answer that ends after its calls."""
        return "stop" if self.named else "function_call" if self.legacy else "tool_calls"
