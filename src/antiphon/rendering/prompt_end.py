"""The end of a prompt: a turn that the assistant begins, no turn, or a message of the assistant that it continues.

Extensions ``add_generation_prompt`` and ``continue_final_message`` (vLLM). A template closes every message. So the last
message gets a mark at the end of its text, and the rendered conversation is cut at the mark. The mark is a pair of lone
surrogates, which no text of a request and no placeholder of a text has (:mod:`antiphon.rendering.prompt`).
"""

from typing import Final, Literal

from msgspec.structs import replace

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.messages import AssistantMessage
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.rendering.segments import joined_content, text_content
from antiphon.rendering.server_text import server_text
from antiphon.rendering.turns import Turn

PromptEnd = Literal["turn", "nothing", "content", "reasoning"]
"""``turn``: the assistant begins a message. ``content``, ``reasoning``: it continues this part of the last one."""
_MARK: Final = "\udc02\udc02"


def prompt_end(request: CreateChatCompletion) -> PromptEnd:
    """Return the end of the prompt that the request asks for."""
    last = request.messages[-1]
    if request.continue_final_message and isinstance(last, AssistantMessage):
        return "content" if last.content or last.refusal else "reasoning"
    return "nothing" if request.add_generation_prompt is False else "turn"


def marked_turns(turns: list[Turn], end: PromptEnd) -> list[Turn]:
    """Return the turns with a mark at the end of the text that is continued."""
    mark = server_text(_MARK)
    if end == "content":
        return [*turns[:-1], replace(turns[-1], content=joined_content([turns[-1].content, text_content(mark)]))]
    if end == "reasoning":
        return [*turns[:-1], replace(turns[-1], reasoning=f"{turns[-1].reasoning}{mark}")]
    return turns


def cut_prompt(text: str, end: PromptEnd) -> str:
    """Return the rendered conversation up to the mark. Raises InvalidRequestError if the template writes no mark."""
    if end in {"turn", "nothing"}:
        return text
    prompt, mark, _ = text.rpartition(_MARK)
    if not mark:
        raise not_continued(end)
    return prompt.replace(_MARK, "")


def not_continued(part: str) -> InvalidRequestError:
    """Make the error of a model whose template does not write this part of the last message at its end."""
    reason = f"this model's chat template does not write the {part} of the last message."
    return validation.invalid_value("continue_final_message", reason)
