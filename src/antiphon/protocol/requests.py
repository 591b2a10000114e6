"""The request of ``POST /v1/chat/completions``: decoded and checked once, then immutable.

Reference: create chat completion. An optional attribute is None if its field is absent or null. The renderer sets
defaults that depend on the model.
"""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from antiphon.errors import InvalidRequestError
from antiphon.protocol import validation
from antiphon.protocol.bounds import (
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_MESSAGES,
    MAX_METADATA,
    MAX_METADATA_KEY,
    MAX_METADATA_VALUE,
    MAX_MODEL,
    MAX_N,
    MAX_PROMPT_CACHE_KEY,
    MAX_SAFETY_IDENTIFIER,
    MAX_STOP,
    MAX_STOPS,
    MAX_TEMPLATE_BYTES,
    MAX_TEMPLATE_NESTING,
    MAX_TOOLS,
    MAX_USER,
)
from antiphon.protocol.combined_errors import all_results
from antiphon.protocol.decoding import decode, nests_deeper
from antiphon.protocol.decoding_extensions import (
    NO_LIMIT,
    AnswerTokens,
    check_answer_length,
    check_best_of,
    check_min_tokens,
    check_prompt_logprobs,
    check_repeat_penalty,
    check_special_tokens,
)
from antiphon.protocol.message_order import check_conversation
from antiphon.protocol.messages import Message, TextContent, drop_empty_lists
from antiphon.protocol.prefill import check_prefill
from antiphon.protocol.reasoning_fields import Reasoning, ReasoningEffort, reasoning_of
from antiphon.protocol.refusals import refuse_unsupported
from antiphon.protocol.rendering_extensions import RenderingExtensions, check_forms
from antiphon.protocol.tolerance import DEFAULT_TOLERANCE, Tolerance, UnknownMembers
from antiphon.protocol.tool_rules import check_forced_call, check_functions, check_tools
from antiphon.protocol.tools import (
    FunctionCallOption,
    JSONObject,
    LegacyFunction,
    ResponseFormat,
    ResponseFormatText,
    Tool,
    ToolChoice,
)

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
TokenId = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,9})$(?!\n)")]
"""A token id without leading zeros, so that no two keys name one token."""
LogitBias = Annotated[dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=MAX_LOGIT_BIAS)]
MetadataKey = Annotated[str, Meta(max_length=MAX_METADATA_KEY)]
MetadataValue = Annotated[str, Meta(max_length=MAX_METADATA_VALUE)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=MAX_METADATA)]
StopString = Annotated[str, Meta(min_length=1, max_length=MAX_STOP)]
Stop = StopString | Annotated[list[StopString], Meta(max_length=MAX_STOPS)]
RequestServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast"]


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a stream. None means the reference's default: no usage chunk, obfuscation on."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None
    """Extension: every chunk carries the usage so far. Only with ``include_usage``."""


class VoiceID(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A custom voice, by id."""

    id: str


class AudioOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Format and voice of an audio answer."""

    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]
    voice: str | VoiceID


class ModerationMode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The action on flagged text: report scores or block it."""

    mode: Literal["score", "block"]


class ModerationPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The moderation modes of prompt and answer."""

    input: ModerationMode | None = None
    output: ModerationMode | None = None


class ModerationOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model and the policy of moderation."""

    model: str
    policy: ModerationPolicy | None = None


class Prediction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Text that the answer is expected to resemble."""

    type: Literal["content"]
    content: TextContent


class PromptCacheOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The choice of cached prefixes and their lifetime."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class ApproximateLocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place; ``country`` is an ISO 3166-1 code, ``timezone`` an IANA name."""

    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class UserLocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The location of the user."""

    type: Literal["approximate"]
    approximate: ApproximateLocation


class WebSearchOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a web search before the answer."""

    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None


class CreateChatCompletion(RenderingExtensions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of the reference, then the extensions of local servers."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Meta(min_length=1, max_length=MAX_MODEL)]
    audio: AudioOptions | None = None
    frequency_penalty: Penalty | None = None
    function_call: FunctionCallOption | None = None
    functions: Annotated[list[LegacyFunction], Meta(max_length=MAX_TOOLS)] | None = None
    logit_bias: LogitBias | None = None
    logprobs: bool | None = None
    max_completion_tokens: AnswerTokens | None = None
    max_tokens: AnswerTokens | None = None
    metadata: Metadata | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Meta(max_length=2)] | None = None
    moderation: ModerationOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_N)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    presence_penalty: Penalty | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=MAX_PROMPT_CACHE_KEY)] | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: ResponseFormat | None = None
    safety_identifier: Annotated[str, Meta(max_length=MAX_SAFETY_IDENTIFIER)] | None = None
    seed: Int64 | None = None
    service_tier: RequestServiceTier | None = None
    stop: Stop | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    tool_choice: ToolChoice | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    top_p: Probability | None = None
    user: Annotated[str, Meta(max_length=MAX_USER)] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: WebSearchOptions | None = None

    chat_template_kwargs: JSONObject | None = None
    """Extension: variables of the model's chat template."""
    min_p: Probability | None = None
    """Extension: the smallest probability of a candidate token, relative to the most likely token."""
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    """Extension: divides the positive logits of earlier tokens and multiplies their negative logits."""
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    """Extension: the number of most likely tokens to sample from; 0 and -1 turn it off."""

    def __post_init__(self) -> None:
        """Replace empty lists by None: they ask for nothing, as an absent field does."""
        drop_empty_lists(self, "functions", "modalities", "stop", "tools")

    @property
    def answer_limit(self) -> int | None:
        """The number of tokens of one choice at most; None without a limit."""
        given = (self.max_completion_tokens, self.max_tokens, self.n_predict)
        limit = next((limit for limit in given if limit is not None), NO_LIMIT)
        return None if limit == NO_LIMIT else limit

    @property
    def chosen_seed(self) -> int | None:
        """The seed; None for a random one, which -1 asks for, too."""
        return None if self.seed == NO_LIMIT else self.seed

    @property
    def reasoning_asked(self) -> Reasoning:
        """The reasoning that the fields about it ask for together."""
        return reasoning_of(
            self.reasoning_effort, self.reasoning, self.thinking, self.enable_thinking, self.thinking_budget
        )

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def includes_running_usage(self) -> bool:
        """Whether every chunk of a stream carries the usage so far."""
        return self.stream_options is not None and self.stream_options.continuous_usage_stats is True

    @property
    def includes_obfuscation(self) -> bool:
        """Whether padding hides the length of chunks; on unless the request turns it off."""
        return self.stream_options is None or self.stream_options.include_obfuscation is not False


_ANSWER_LIMITS = ("max_completion_tokens", "max_tokens", "n_predict")
_DECODER = msgspec.json.Decoder(CreateChatCompletion)


class ReceivedRequest(Struct, frozen=True, kw_only=True):
    """A decoded request, and a report of the members that were ignored."""

    request: CreateChatCompletion
    ignored: tuple[str, ...] = ()
    """The paths of unknown members that were ignored, in ASCII."""


def receive_request(body: bytes, tolerance: Tolerance = DEFAULT_TOLERANCE) -> ReceivedRequest:
    """Decode and check a body. Raises InvalidRequestError as :func:`decode_request` does."""
    unknown = UnknownMembers(tolerance)
    request = _checked(decode(_DECODER, body, unknown.removes))
    return ReceivedRequest(request=request, ignored=unknown.ignored)


def decode_request(body: bytes) -> CreateChatCompletion:
    """Decode and check a body. Raises InvalidRequestError with message, param and code.

    The message names up to five errors; param and code are those of the first.
    """
    return receive_request(body).request


def _checked(request: CreateChatCompletion) -> CreateChatCompletion:
    """Return the request. Raises InvalidRequestError with the errors of all checks that fail."""
    try:
        for check in _CHECKS:
            check(request)
    except InvalidRequestError:
        all_results(partial(each, request) for each in _CHECKS)
    return request


def _check_messages(request: CreateChatCompletion) -> None:
    check_conversation(request.messages)


def _check_streaming(request: CreateChatCompletion) -> None:
    options = request.stream_options
    if options not in {None, StreamOptions()} and not request.stream:
        raise _only_when("stream_options", "'stream' is enabled")
    if options is not None and options.continuous_usage_stats and not options.include_usage:
        raise _only_when("stream_options.continuous_usage_stats", "'stream_options.include_usage' is enabled")


def _check_metadata(request: CreateChatCompletion) -> None:
    if request.metadata and not request.store:
        raise _only_when("metadata", "'store' is enabled")


def _check_logprobs(request: CreateChatCompletion) -> None:
    check_prompt_logprobs(request.prompt_logprobs, stream=bool(request.stream))
    if request.top_logprobs and not request.logprobs:
        raise _only_when("top_logprobs", "'logprobs' is enabled")


def _check_rendering(request: CreateChatCompletion) -> None:
    reasoning = request.reasoning_asked  # raises for fields that contradict each other
    if request.continue_final_message:
        check_prefill(request.messages, reasoning, adds_turn=request.add_generation_prompt)
    check_forms(request, has_format=not isinstance(request.response_format, ResponseFormatText | None))


def _check_tools(request: CreateChatCompletion) -> None:
    check_tools(request.tools, request.tool_choice)
    check_functions(request.functions, request.function_call, request.tools)
    check_forced_call(request.tool_choice, request.function_call, request.response_format)


def _check_lengths(request: CreateChatCompletion) -> None:
    check_answer_length({name: getattr(request, name) for name in _ANSWER_LIMITS})
    check_min_tokens(request.min_tokens, request.answer_limit)
    check_repeat_penalty(request.repeat_penalty, request.repetition_penalty)


def _check_choices(request: CreateChatCompletion) -> None:
    check_best_of(request.best_of, request.n)


def _check_template_kwargs(request: CreateChatCompletion) -> None:
    if request.chat_template_kwargs and len(msgspec.json.encode(request.chat_template_kwargs)) > MAX_TEMPLATE_BYTES:
        reason = f"it has more than {MAX_TEMPLATE_BYTES} bytes as JSON."
        raise validation.invalid_value("chat_template_kwargs", reason)
    if nests_deeper(request.chat_template_kwargs, MAX_TEMPLATE_NESTING):
        reason = f"it is nested more than {MAX_TEMPLATE_NESTING} levels deep."
        raise validation.invalid_value("chat_template_kwargs", reason)


_CHECKS = (
    _check_messages,
    _check_streaming,
    _check_metadata,
    _check_logprobs,
    _check_rendering,
    _check_tools,
    _check_lengths,
    _check_choices,
    check_special_tokens,
    _check_template_kwargs,
    refuse_unsupported,
)
"""The checks of a decoded request, in the order in which an error names their findings."""


def _only_when(path: str, condition: str) -> InvalidRequestError:
    return validation.invalid_value(path, f"'{path}' is only allowed when {condition}.")
