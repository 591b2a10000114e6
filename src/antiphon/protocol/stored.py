"""The objects and lists of stored completions, and the body of an update.

Reference: list, get, update and delete chat completions, and get chat messages. Values from the request (tools, content
parts and others) are plain JSON, so that an object stored by an older version always decodes.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from antiphon.protocol.decoding import decode
from antiphon.protocol.messages import AssistantMessage, Message, ToolMessage
from antiphon.protocol.requests import Metadata
from antiphon.protocol.responses import (
    Annotation,
    ChatCompletionMessage,
    ChoiceLogprobs,
    CompletionUsage,
    FinishReason,
    FunctionCall,
    ServiceTier,
    ToolCall,
)
from antiphon.protocol.tools import JSONObject

Role = Literal["developer", "system", "user", "assistant", "tool", "function"]


class StoredAnswer(Struct, frozen=True, kw_only=True):
    """The answer of a stored choice; unlike :class:`ChatCompletionMessage` it always has the fields of calls."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    annotations: list[Annotation] = []
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | UnsetType = UNSET


class StoredChoice(Struct, frozen=True, kw_only=True):
    """A stored choice; ``finish_reason`` is null if the client disconnected or the engine failed."""

    index: int
    message: StoredAnswer
    finish_reason: FinishReason | None
    logprobs: ChoiceLogprobs | None = None


class StoredCompletion(Struct, frozen=True, kw_only=True):
    """A stored chat completion. The sampling fields hold the values in use, also defaults."""

    object: Literal["chat.completion"] = "chat.completion"
    id: str
    model: str
    created: int
    """Unix seconds."""
    request_id: str
    tool_choice: str | JSONObject | None = None
    usage: CompletionUsage | None
    """Null if the answer ended early, before the usage was known."""
    seed: int | None = None
    top_p: float = 1.0
    temperature: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    system_fingerprint: str | None = None
    input_user: str | None = None
    service_tier: ServiceTier | None = None
    tools: list[JSONObject] | None = None
    metadata: dict[str, str] = {}
    choices: list[StoredChoice]
    response_format: JSONObject | None = None
    safety_identifier: str | UnsetType = UNSET
    """Extension: the reference's object has a place for ``user`` only."""


class CompletionList(Struct, frozen=True, kw_only=True):
    """One page of completions; ``last_id`` is the ``after`` of the next page."""

    object: Literal["list"] = "list"
    data: list[StoredCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoredMessage(Struct, frozen=True, kw_only=True):
    """One message of the request. If the content has parts, ``content_parts`` holds them and ``content`` is null.

    The reference has only text and image parts. The other parts, ``tool_call_id`` and ``reasoning_content`` are for
    clients that export their conversations.
    """

    id: str
    role: Role
    content: str | None
    name: str | None = None
    content_parts: list[JSONObject] | None = None
    refusal: str | UnsetType = UNSET
    annotations: list[JSONObject] | UnsetType = UNSET
    audio: JSONObject | UnsetType = UNSET
    tool_calls: list[JSONObject] | UnsetType = UNSET
    function_call: JSONObject | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class MessageList(Struct, frozen=True, kw_only=True):
    """One page of a stored completion's messages."""

    object: Literal["list"] = "list"
    data: list[StoredMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CompletionDeleted(Struct, frozen=True, kw_only=True):
    """The response to a deletion."""

    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: bool = True


class UpdateCompletion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an update: all new metadata; null clears them."""

    metadata: Metadata | None


_UPDATE_DECODER = msgspec.json.Decoder(UpdateCompletion)


def decode_update(body: bytes) -> UpdateCompletion:
    """Decode and check the body of an update. Raises InvalidRequestError."""
    return decode(_UPDATE_DECODER, body)


def stored_choice(
    index: int,
    message: ChatCompletionMessage,
    finish_reason: FinishReason | None,
    logprobs: ChoiceLogprobs | None,
) -> StoredChoice:
    """Return a choice for the store; ``finish_reason`` is None if the answer ended early."""
    answer = StoredAnswer(
        content=message.content,
        refusal=message.refusal,
        annotations=message.annotations,
        tool_calls=message.tool_calls or None,
        function_call=message.function_call or None,
        reasoning_content=message.reasoning_content,
    )
    return StoredChoice(index=index, message=answer, finish_reason=finish_reason, logprobs=logprobs)


def stored_messages(completion_id: str, messages: Sequence[Message]) -> list[StoredMessage]:
    """Return a request's messages for the store, with the ids ``{completion_id}-0`` and so on."""
    return [_stored_message(message_id(completion_id, index), message) for index, message in enumerate(messages)]


def message_id(completion_id: str, index: int) -> str:
    """Return the id of message ``index`` of a stored completion."""
    return f"{completion_id}-{index}"


def plain_json(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Convert Structs to JSON objects as the client sent them, without the fields that are None.

    Free-form JSON in them, such as a JSON Schema, is unchanged, including its nulls.
    """
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    if not isinstance(value, Struct):
        return value
    members = {name: plain_json(member) for name, member in msgspec.structs.asdict(value).items() if member is not None}
    config = value.__struct_config__
    return members if config.tag_field is None else {config.tag_field: config.tag} | members


def _stored_message(identifier: str, message: Message) -> StoredMessage:
    fields: dict[str, Any] = {"name": message.name}
    if isinstance(message, ToolMessage):
        fields["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage):
        fields |= _assistant_fields(message)
    content = message.content
    text, parts = (None, plain_json(content)) if isinstance(content, list) else (content, None)
    return StoredMessage(id=identifier, role=message.role, content=text, content_parts=parts, **fields)


def _assistant_fields(message: AssistantMessage) -> dict[str, Any]:
    names = ("refusal", "annotations", "audio", "tool_calls", "function_call", "reasoning_content")
    values = {name: plain_json(getattr(message, name)) for name in names}
    return {name: value for name, value in values.items() if value is not None}
