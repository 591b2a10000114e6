"""How the calls of one answer are read and reported: made by the rendering, used by the assembly."""

from typing import Any, Literal

from msgspec import Struct

from antiphon.chat_formats.chat_format import ToolNotation


class AnswerCalls(Struct, frozen=True, kw_only=True):
    """The tools that an answer may call, and the notation of its calls."""

    notation: ToolNotation
    tools: dict[str, dict[str, Any] | None]
    """The schema of the parameters by name of each function (``{}`` for one without), None for a custom tool. Without
    tools nothing is a call: only the notation's marks of content are dropped."""
    opening: str = ""
    """The part of the notation that the prompt ends with, as when the prompt forces a call."""
    named: bool = False
    """One named tool was forced: the finish_reason of a call is ``stop``, as the reference's service answers."""
    legacy: bool = False
    """The request has ``functions``: the first call is answered as ``function_call``."""

    def finish_reason(self) -> Literal["stop", "function_call", "tool_calls"]:
        """Return the finish_reason of an answer that ends after its calls."""
        return "stop" if self.named else "function_call" if self.legacy else "tool_calls"
