"""The rules between the messages of a conversation and within an assistant message.

Reference: the ``messages`` parameter. The wording of errors follows the reference's service.
"""

from collections.abc import Sequence

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.bounds import MAX_ALL_PARTS
from antiphon.protocol.messages import AssistantMessage, Message, RefusalPart, ToolMessage


def check_conversation(messages: Sequence[Message]) -> None:
    """Raise InvalidRequestError for the first misplaced message, or if all messages have too many content parts.

    Invariant: ``unanswered`` holds the ids of the tool calls of the assistant message at index ``caller`` that have no
    tool message yet. It must be empty before a message of any other role.
    """
    _check_parts(messages)
    unanswered: dict[str, None] = {}
    caller = 0
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            _check_tool_message(unanswered, message.tool_call_id, index, messages)
            continue
        _require_answers(unanswered, caller)
        if isinstance(message, AssistantMessage):
            _check_assistant(message, f"messages[{index}]")
            unanswered, caller = _call_ids(message, index), index
    _require_answers(unanswered, caller)


def _check_parts(messages: Sequence[Message]) -> None:
    parts = sum(len(message.content) for message in messages if isinstance(message.content, list))
    if parts > MAX_ALL_PARTS:
        raise validation.too_many("messages", "content parts", MAX_ALL_PARTS, parts)


def _check_tool_message(unanswered: dict[str, None], call_id: str, index: int, messages: Sequence[Message]) -> None:
    if call_id in unanswered:
        del unanswered[call_id]
        return
    path = f"messages[{index}]"
    if not _follows_tool_calls(messages, index):
        reason = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise InvalidRequestError(f"Invalid parameter: {reason}", param=f"{path}.role", code="invalid_value")
    reason = (
        f"'tool_call_id' of '{validation.shorten(call_id)}' not found in unanswered 'tool_calls' of previous message."
    )
    raise InvalidRequestError(f"Invalid parameter: {reason}", param=f"{path}.tool_call_id", code="invalid_value")


def _follows_tool_calls(messages: Sequence[Message], index: int) -> bool:
    before = (message for message in reversed(messages[:index]) if not isinstance(message, ToolMessage))
    previous = next(before, None)
    return isinstance(previous, AssistantMessage) and previous.tool_calls is not None


def _require_answers(unanswered: dict[str, None], caller: int) -> None:
    if not unanswered:
        return
    ids = validation.shorten(", ".join(unanswered))
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {ids}"
    )
    raise InvalidRequestError(message, param=f"messages[{caller}].tool_calls", code="invalid_value")


def _call_ids(message: AssistantMessage, index: int) -> dict[str, None]:
    calls: dict[str, None] = {}
    for position, call in enumerate(message.tool_calls or ()):
        if call.id in calls:
            path = f"messages[{index}].tool_calls[{position}].id"
            raise validation.invalid_value(path, f"'{validation.shorten(call.id)}' is the id of an earlier call.")
        calls[call.id] = None
    return calls


def _check_assistant(message: AssistantMessage, path: str) -> None:
    fields = (message.content, message.tool_calls, message.function_call, message.refusal, message.audio)
    if all(part is None for part in fields):
        raise InvalidRequestError(
            f"Missing required parameter: '{path}.content'. An assistant message needs content "
            "unless it has 'tool_calls', 'function_call', 'refusal' or 'audio'.",
            param=f"{path}.content",
            code="missing_required_parameter",
        )
    if isinstance(message.content, list) and len(message.content) > 1:
        refusals = [part for part in message.content if isinstance(part, RefusalPart)]
        if refusals:
            reason = "expected one or more parts of type 'text', or exactly one of type 'refusal'."
            raise validation.invalid_value(f"{path}.content", reason)
