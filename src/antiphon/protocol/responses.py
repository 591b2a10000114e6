"""What the server answers: completions, chunks, models, errors. Reference: the Chat Completions object and chunk.

Absent, null and present follow the reference: a field typed ``X | UnsetType`` is absent when unset, a field typed
``X | None`` is always present and may be null.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]


class TopLogprob(Struct, frozen=True):
    """One alternative at a position. ``bytes`` is null for tokens that stand for no text."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Struct, frozen=True):
    """One token of the answer; ``logprob`` is -9999.0 outside the 20 most likely."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Struct, frozen=True):
    """The bytes of ``content`` concatenate to the message's content."""

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


class FunctionCall(Struct, frozen=True):
    """``arguments`` is JSON text."""

    name: str
    arguments: str


class CustomCall(Struct, frozen=True):
    """``input`` is free text, or what the tool's grammar admits."""

    name: str
    input: str


class FunctionToolCall(Struct, frozen=True, tag_field="type", tag="function"):
    """A call of a function tool."""

    id: str
    function: FunctionCall


class CustomToolCall(Struct, frozen=True, tag_field="type", tag="custom"):
    """A call of a custom tool."""

    id: str
    custom: CustomCall


ToolCall = FunctionToolCall | CustomToolCall


class URLCitation(Struct, frozen=True):
    """Character offsets into the message's content."""

    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(Struct, frozen=True, tag_field="type", tag="url_citation"):
    """A citation."""

    url_citation: URLCitation


class ChatCompletionMessage(Struct, frozen=True, kw_only=True):
    """The answer of one choice. ``reasoning_content`` is an extension, as vLLM and DeepSeek spell it."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[Annotation] = []
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


class Choice(Struct, frozen=True):
    """One of ``n`` answers."""

    index: int
    message: ChatCompletionMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """``cached_tokens``: prompt tokens whose KV cells were reused."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(Struct, frozen=True, kw_only=True):
    """Each is a subset of ``completion_tokens``."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(Struct, frozen=True, kw_only=True):
    """Tokens of the whole request, all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    service_tier: ServiceTier
    system_fingerprint: str


class FunctionCallDelta(Struct, frozen=True, omit_defaults=True):
    """Pieces of a call; ``arguments`` concatenates."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class CustomCallDelta(Struct, frozen=True, omit_defaults=True):
    """Pieces of the call of a custom tool; ``input`` concatenates. An extension: the reference has no such delta."""

    name: str | UnsetType = UNSET
    input: str | UnsetType = UNSET


class ToolCallDelta(Struct, frozen=True, omit_defaults=True):
    """``id``, ``type`` and the name come with the first piece of a call."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function", "custom"] | UnsetType = UNSET
    function: FunctionCallDelta | UnsetType = UNSET
    custom: CustomCallDelta | UnsetType = UNSET


class Delta(Struct, frozen=True, kw_only=True):
    """What a choice gained. ``role`` is in its first delta only."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCallDelta | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True, kw_only=True):
    """``finish_reason`` is null until the choice's last chunk."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    """One server-sent event.

    Inside the server every stream ends in one chunk with empty ``choices`` and the usage; what the client sees of it
    depends on ``stream_options``. ``obfuscation`` is random padding (reference: stream_options.include_obfuscation).
    """

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    service_tier: ServiceTier
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    obfuscation: str | UnsetType = UNSET


class Model(Struct, frozen=True, kw_only=True):
    """A served model. Reference: the model object."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "antiphon"
    context_length: int | None = None
    """Extension: tokens of prompt and answer together; null while it is unknown."""
    input_modalities: list[Literal["text"]] = field(default_factory=lambda: ["text"])
    """Extension: what messages may contain."""


class ModelList(Struct, frozen=True, kw_only=True):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The reference's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Struct, frozen=True):
    """The body of every answer that is an error."""

    error: ErrorBody
