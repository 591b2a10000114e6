"""Normalises the messages of a request to the form that the model's chat template supports. Nothing is dropped.

Each rule is for templates that lack a feature:

- ``developer`` becomes ``system``. System messages at the beginning are joined by a blank line. A system message that
  the template does not support (a later one, or any) moves to the beginning of the next user message; without one it
  becomes a user message.
- ``name`` becomes the beginning of the text, ``name: text``; that of a tool message only if the call has another.
- Text parts are joined by a newline, as in vLLM; refusals are text of the assistant.
- Tool calls follow the assistant's text in the generic notation. Their results, in the order of the calls, are
  ``<tool_response>…</tool_response>`` in one user message. This also holds for all messages with calls of custom tools,
  because the model must see the notation that it has to write. Deprecated function calls and function messages become
  tool calls and results.
- If the template supports one call per message, several calls become several messages, each with its result.
- If the template loses text beside calls, the text is a message of its own, or the calls are in the generic notation
  where roles must alternate.
- If no user message may follow tool results, an assistant message that says nothing stands between them.
- If roles must alternate, adjacent messages of one role are joined by a blank line, and an empty user message precedes
  an assistant message at the beginning. An empty user message also follows an assistant message at the end if the
  template does not open the next turn, so that the answer is a new turn.

``reasoning_content`` of earlier answers is passed to templates that render it and left out for all others.
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from antiphon.chat_formats.chat_format import CUSTOM_CALL, HERMES
from antiphon.protocol.base62 import base62
from antiphon.protocol.messages import (
    AssistantMessage,
    FunctionMessage,
    Message,
    MessageFunctionToolCall,
    RefusalPart,
    TextPart,
    ToolMessage,
)
from antiphon.rendering.masks import masked
from antiphon.rendering.segments import Content, content_size, joined_content, text_content
from antiphon.rendering.server_text import replace_surrogates, server_text
from antiphon.templates.capabilities import Capabilities

BLANK_LINE: Final = "\n\n"
_SHORT_ID: Final = 9
"""Number of letters and digits of a call id in Mistral's notation."""


class Call(Struct, frozen=True):
    """A tool call in the history. ``arguments`` is the model's text, usually JSON."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    """Whether ``arguments`` is the input of a custom tool."""

    @property
    def parsed_arguments(self) -> object:
        """The arguments as an object, empty for an empty text; a text that is no object is unchanged."""
        try:
            value = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            return self.arguments
        if not isinstance(value, dict):
            return self.arguments
        return masked(value, replace_surrogates) if "\\u" in self.arguments else value


class Turn(Struct, frozen=True, kw_only=True):
    """One message of the normalised conversation."""

    role: str
    content: Content = ()
    name: str | None = None
    """The name of the participant, or of the tool for a result."""
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    reasoning: str | None = None
    given_name: str | None = None
    """The name that a tool message gives to its tool, if the call has another."""

    @property
    def size(self) -> int:
        """Number of characters that the template gets."""
        calls = sum(len(call.name) + len(call.arguments) for call in self.calls)
        return content_size(self.content) + len(self.reasoning or "") + calls


def normalised_turns(
    messages: Sequence[Message], capabilities: Capabilities, instructions: str = "", *, opens_turn: bool = True
) -> list[Turn]:
    """Return the turns for the template; ``instructions`` are added to the system message.

    With ``opens_turn`` the template opens a turn of the assistant after the last one.
    """
    turns = _turns(messages)
    if instructions:
        turns = _with_instructions(turns, instructions)
    turns = [_with_name_in_text(turn, capabilities) for turn in turns]
    turns = _normalise_tool_calls(turns, capabilities)
    turns = _normalise_system(turns, capabilities)
    return _normalise_roles(turns, capabilities, opens_turn=opens_turn)


def _turns(messages: Sequence[Message]) -> list[Turn]:
    turns = []
    called: dict[str, str] = {}
    functions: dict[str, str] = {}
    for index, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            turn = _assistant(message, f"call_{index}")
            called = {call.id: call.name for call in turn.calls}
            if message.function_call is not None:
                functions[message.function_call.name] = turn.calls[-1].id
        elif isinstance(message, ToolMessage):
            turn = _result(message, called.get(message.tool_call_id))
        elif isinstance(message, FunctionMessage):
            turn = _function_result(message, functions.pop(message.name, None))
        else:
            turn = Turn(role=message.role, content=_content(message.content), name=message.name)
        turns.append(turn)
    return turns


def _assistant(message: AssistantMessage, function_call_id: str) -> Turn:
    calls = [
        Call(call.id, call.function.name, call.function.arguments)
        if isinstance(call, MessageFunctionToolCall)
        else Call(call.id, call.custom.name, call.custom.input, custom=True)
        for call in message.tool_calls or ()
    ]
    if message.function_call is not None:
        calls.append(Call(function_call_id, message.function_call.name, message.function_call.arguments))
    contents = [_content(message.content), text_content(message.refusal or "")]
    return Turn(
        role="assistant",
        content=joined_content(filter(None, contents), "\n"),
        name=message.name,
        calls=tuple(calls),
        reasoning=message.reasoning_content,
    )


def _result(message: ToolMessage, called: str | None) -> Turn:
    name = message.name or called
    return Turn(
        role="tool",
        content=_content(message.content),
        name=name,
        call_id=message.tool_call_id,
        given_name=None if name == called else name,
    )


def _function_result(message: FunctionMessage, call_id: str | None) -> Turn:
    content = text_content(message.content or "")
    if call_id is None:
        return Turn(role="user", content=_tool_response(_labelled(message.name, content)))
    return Turn(role="tool", content=content, name=message.name, call_id=call_id)


def _content(content: object) -> Content:
    if isinstance(content, str) or content is None:
        return text_content(content or "")
    assert isinstance(content, list)
    return joined_content((_part(part) for part in content), "\n")


def _part(part: object) -> Content:
    if isinstance(part, RefusalPart):
        return text_content(part.refusal)
    assert isinstance(part, TextPart), f"a part of type {type(part).__name__} is refused by the protocol"
    return text_content(part.text)


def _labelled(name: str, content: Content) -> Content:
    return joined_content([text_content(f"{name}: "), content])


def _with_instructions(turns: list[Turn], instructions: str) -> list[Turn]:
    """Append the instructions to the last system message at the beginning, or add a system message."""
    head = _leading(turns, {"system", "developer"})
    if head == 0:
        return [Turn(role="system", content=text_content(instructions)), *turns]
    last = turns[head - 1]
    content = joined_content([last.content, text_content(instructions)], BLANK_LINE)
    return [*turns[: head - 1], replace(last, content=content), *turns[head:]]


def _with_name_in_text(turn: Turn, capabilities: Capabilities) -> Turn:
    """Put the name into the text, unless the template renders it and no rule joins its message with another."""
    names_stay = capabilities.consecutive and capabilities.system and capabilities.late_system
    if turn.name is None or turn.role == "tool" or (names_stay and turn.role in capabilities.names):
        return turn
    return replace(turn, content=_labelled(turn.name, turn.content), name=None)


def _with_given_name(result: Turn) -> Turn:
    """Put the name that a tool message gives to its tool into the text."""
    if result.given_name is None:
        return result
    return replace(result, content=_labelled(result.given_name, result.content), given_name=None)


def _normalise_tool_calls(turns: list[Turn], capabilities: Capabilities) -> list[Turn]:
    exchanges: list[tuple[Turn, list[Turn]]] = []
    for turn in turns:
        if turn.role == "tool":
            exchanges[-1][1].append(turn)
        else:
            exchanges.append((turn, []))
    return [turn for calling, results in exchanges for turn in _normalise_exchange(calling, results, capabilities)]


def _normalise_exchange(calling: Turn, results: list[Turn], capabilities: Capabilities) -> list[Turn]:
    """Return an assistant's calls and their results in a form that the template renders."""
    if not calling.calls and not results:
        return [calling]
    history = capabilities.tool_history
    order = {call.id: position for position, call in enumerate(calling.calls)}
    results = sorted(results, key=lambda turn: order.get(turn.call_id or "", len(order)))
    text_is_lost = bool(calling.content) and history is not None and not history.text
    if history is None or any(call.custom for call in calling.calls) or (text_is_lost and not capabilities.consecutive):
        return _generic_exchange(calling, [_with_given_name(turn) for turn in results])
    if "tool" not in capabilities.names:
        results = [_with_given_name(turn) for turn in results]
    if history.short_ids:
        calling = replace(calling, calls=tuple(replace(call, id=_short_id(call.id)) for call in calling.calls))
        results = [replace(turn, call_id=_short_id(turn.call_id or "")) for turn in results]
    said = [replace(calling, calls=(), reasoning=None)] if text_is_lost else []
    calling = replace(calling, content=()) if text_is_lost else calling
    if history.parallel or len(calling.calls) < 2:  # noqa: PLR2004
        return [*said, calling, *results]
    return [*said, *_split_parallel_calls(calling, results)]


def _split_parallel_calls(calling: Turn, results: list[Turn]) -> list[Turn]:
    turns = []
    for position, call in enumerate(calling.calls):
        single = replace(calling, calls=(call,))
        turns.append(single if position == 0 else replace(single, content=(), reasoning=None))
        turns += [turn for turn in results if turn.call_id == call.id]
    return turns


def _generic_exchange(calling: Turn, results: list[Turn]) -> list[Turn]:
    lines = [calling.content] if calling.content else []
    lines += [text_content(_generic_call(call)) for call in sorted(calling.calls, key=lambda call: call.custom)]
    turns = [replace(calling, content=joined_content(lines, "\n"), calls=())]
    if results:
        responses = (_tool_response(turn.content) for turn in results)
        turns.append(Turn(role="user", content=joined_content(responses, "\n")))
    return turns


def _generic_call(call: Call) -> str:
    """Return a call in the generic notation; the call of a custom tool comes last in its message."""
    if call.custom:
        return f"{server_text(CUSTOM_CALL.start)}{call.name}{server_text(CUSTOM_CALL.name_end)}{call.arguments}"
    document = {HERMES.name_key: call.name, HERMES.arguments_key: call.parsed_arguments}
    return f"{server_text(HERMES.call_start)}{json.dumps(document, ensure_ascii=False)}{server_text(HERMES.call_end)}"


def _tool_response(content: Content) -> Content:
    start, end = text_content(server_text("<tool_response>")), text_content(server_text("</tool_response>"))
    return joined_content([start, content, end])


def _short_id(call_id: str) -> str:
    """Return a short id unchanged, any other id as nine letters and digits of its hash."""
    if len(call_id) == _SHORT_ID and call_id.isascii() and call_id.isalnum():
        return call_id
    digest = hashlib.sha256(call_id.encode()).digest()[:_SHORT_ID]
    return base62(digest).decode()


def _normalise_system(turns: list[Turn], capabilities: Capabilities) -> list[Turn]:
    if not capabilities.developer:
        turns = [replace(turn, role="system") if turn.role == "developer" else turn for turn in turns]
    if capabilities.system and capabilities.late_system:
        return turns
    head = _leading(turns, {"system"})
    begin = [_joined_turn(turns[:head])] if head else []
    if not capabilities.system:
        return _move_to_user([*begin, *turns[head:]])
    return [*begin, *_move_to_user(turns[head:])]


def _leading(turns: list[Turn], roles: set[str]) -> int:
    """Return the number of turns of these roles at the beginning."""
    return next((index for index, turn in enumerate(turns) if turn.role not in roles), len(turns))


def _move_to_user(turns: list[Turn]) -> list[Turn]:
    """Move system messages to the beginning of the next user message."""
    moved: list[Turn] = []
    system: list[Content] = []
    for turn in turns:
        if turn.role == "system":
            system.append(turn.content)
            continue
        if system and turn.role == "user":
            moved.append(replace(turn, content=joined_content([*system, turn.content], BLANK_LINE)))
        else:
            moved += [Turn(role="user", content=joined_content(system, BLANK_LINE)), turn] if system else [turn]
        system = []
    return [*moved, Turn(role="user", content=joined_content(system, BLANK_LINE))] if system else moved


def _normalise_roles(turns: list[Turn], capabilities: Capabilities, *, opens_turn: bool) -> list[Turn]:
    if not capabilities.consecutive:
        turns = _merge_neighbours(turns)
    begin = _leading(turns, {"system", "developer"})
    if not capabilities.assistant_first and begin < len(turns) and turns[begin].role == "assistant":
        turns = [*turns[:begin], Turn(role="user"), *turns[begin:]]
    if opens_turn and not capabilities.generation_prompt and turns and turns[-1].role == "assistant":
        turns = [*turns, Turn(role="user")]
    history = capabilities.tool_history
    if history is None or history.acknowledgement is None:
        return turns
    return _acknowledge_results(turns, Turn(role="assistant", content=text_content(history.acknowledgement)))


def _acknowledge_results(turns: list[Turn], acknowledgement: Turn) -> list[Turn]:
    """Put the acknowledgement between tool results and a user message."""
    acknowledged = turns[:1]
    for before, turn in pairwise(turns):
        acknowledged += [acknowledgement, turn] if (before.role, turn.role) == ("tool", "user") else [turn]
    return acknowledged


def _merge_neighbours(turns: list[Turn]) -> list[Turn]:
    runs: list[list[Turn]] = []
    for turn in turns:
        if runs and turn.role == runs[-1][-1].role != "tool" and not runs[-1][-1].calls:
            runs[-1].append(turn)
        else:
            runs.append([turn])
    return [_joined_turn(run) for run in runs]


def _joined_turn(turns: list[Turn]) -> Turn:
    """Return one turn with the texts, calls and reasoning of all turns."""
    if len(turns) == 1:
        return turns[0]
    return replace(
        turns[0],
        content=joined_content((turn.content for turn in turns if turn.content), BLANK_LINE),
        calls=tuple(call for turn in turns for call in turn.calls),
        reasoning=BLANK_LINE.join(turn.reasoning for turn in turns if turn.reasoning) or None,
    )
