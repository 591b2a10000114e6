"""Completions, chunks, models and errors. Reference: the Chat Completions object and chunk.

As in the reference, a field of type ``X | UnsetType`` is absent if it is unset, and a field of type ``X | None`` is
always present and may be null.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]


class TopLogprob(Struct, frozen=True):
    """An alternative to a token; ``bytes`` is null for a token without text."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Struct, frozen=True):
    """A token of the answer; ``logprob`` is -9999.0 unless it is among the 20 most likely or the reported ones."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Struct, frozen=True):
    """The logprobs of a choice. The concatenated bytes of ``content`` are the message's content."""

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


class PromptLogprob(Struct, frozen=True):
    """The logprob of a token at a position of the prompt, its rank from 1 on, and its text."""

    logprob: float
    rank: int
    decoded_token: str


PromptLogprobsEntry = dict[str, PromptLogprob] | None
"""The prompt's token and the most likely ones by their ids, the prompt's token first; null for the first token."""


class FunctionCall(Struct, frozen=True):
    """A function call; ``arguments`` is JSON text."""

    name: str
    arguments: str


class CustomCall(Struct, frozen=True):
    """A call of a custom tool; ``input`` is free text or text of the tool's grammar."""

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
    """A cited page; the indices are character offsets in the message's content."""

    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(Struct, frozen=True, tag_field="type", tag="url_citation"):
    """An annotation that cites a page."""

    url_citation: URLCitation


class ChatCompletionMessage(Struct, frozen=True, kw_only=True):
    """The answer of one choice. ``reasoning_content`` is an extension, named as in vLLM and DeepSeek."""

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
    token_ids: list[int] | UnsetType = UNSET
    """Extension: the tokens of the answer."""


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """Counts of prompt tokens; the KV cells of ``cached_tokens`` were reused."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(Struct, frozen=True, kw_only=True):
    """Counts of completion tokens, each part of ``completion_tokens``."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(Struct, frozen=True, kw_only=True):
    """Token counts of the request, for all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """The answer to a request without ``stream``."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    prompt_token_ids: list[int] | UnsetType = UNSET
    """Extension: the tokens of the prompt."""
    prompt_logprobs: list[PromptLogprobsEntry] | UnsetType = UNSET
    """Extension: the logprobs of the tokens of the prompt."""
    usage: CompletionUsage
    service_tier: ServiceTier
    system_fingerprint: str


class FunctionCallDelta(Struct, frozen=True, omit_defaults=True):
    """A piece of a function call; the pieces of ``arguments`` are concatenated."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class CustomCallDelta(Struct, frozen=True, omit_defaults=True):
    """A piece of a custom tool call; the pieces of ``input`` are concatenated. An extension of the reference."""

    name: str | UnsetType = UNSET
    input: str | UnsetType = UNSET


class ToolCallDelta(Struct, frozen=True, omit_defaults=True):
    """A piece of a tool call; the first piece has ``id``, ``type`` and the name."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function", "custom"] | UnsetType = UNSET
    function: FunctionCallDelta | UnsetType = UNSET
    custom: CustomCallDelta | UnsetType = UNSET


class Delta(Struct, frozen=True, kw_only=True):
    """New text or calls of a choice; only the first delta has ``role``."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCallDelta | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True, kw_only=True):
    """A choice in a chunk; ``finish_reason`` is null before the choice's last chunk."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None
    token_ids: list[int] | UnsetType = UNSET
    """Extension: the tokens since the choice's last chunk."""


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    """A server-sent event of a stream.

    Inside the server every stream ends with one chunk of empty ``choices`` and the usage; it is sent if
    ``stream_options`` asks for it. ``obfuscation`` is random padding (reference: stream_options.include_obfuscation).
    """

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    service_tier: ServiceTier
    system_fingerprint: str
    choices: list[ChunkChoice]
    prompt_token_ids: list[int] | UnsetType = UNSET
    """Extension: the tokens of the prompt, in the first chunk only."""
    prompt_logprobs: list[PromptLogprobsEntry] | UnsetType = UNSET
    """Inside the server: the logprobs of the next tokens of the prompt. No stream has them."""
    usage: CompletionUsage | UnsetType | None = UNSET
    obfuscation: str | UnsetType = UNSET


class Model(Struct, frozen=True, kw_only=True):
    """A served model. Reference: the model object."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "antiphon"
    context_length: int | None = None
    """Extension: the largest number of tokens of prompt and answer together; null while it is unknown."""
    input_modalities: list[Literal["text"]] = field(default_factory=lambda: ["text"])
    """Extension: the kinds of content in messages."""


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
    """The body of an error response."""

    error: ErrorBody
