"""The rules of ``add_generation_prompt`` and ``continue_final_message``: the last assistant message is a prefill.

Both fields are vLLM's; the same names are arguments of Hugging Face's ``apply_chat_template``.
"""

from collections.abc import Sequence

from antiphon.protocol import validation
from antiphon.protocol.messages import AssistantMessage, Message
from antiphon.protocol.reasoning_fields import Reasoning


def check_prefill(messages: Sequence[Message], reasoning: Reasoning, *, adds_turn: bool | None) -> None:
    """Raise InvalidRequestError unless a request with ``continue_final_message`` can continue its last message.

    ``adds_turn`` is ``add_generation_prompt``.
    """
    if adds_turn:
        raise validation.invalid_value("continue_final_message", "it contradicts 'add_generation_prompt'.")
    last = messages[-1]
    if not isinstance(last, AssistantMessage):
        raise validation.invalid_value("continue_final_message", "the last message is not the assistant's.")
    if last.tool_calls or last.function_call:
        raise validation.invalid_value("continue_final_message", "the last message calls a tool.")
    if not (last.content or last.refusal or last.reasoning_content):
        raise validation.invalid_value("continue_final_message", "the last message has no text.")
    if reasoning.on is False and not (last.content or last.refusal):
        reason = f"it continues reasoning, which '{reasoning.on_field}' turns off."
        raise validation.invalid_value("continue_final_message", reason)
    if reasoning.budget is not None and (last.content or last.refusal):
        raise validation.invalid_value(
            reasoning.budget_field, "'continue_final_message' continues after the reasoning."
        )
