"""The response's half of the table of fields: completions and chunks together."""

from antiphon.protocol.field import Field, Owner, Row

RESPONSES = ("antiphon.protocol.responses", "tests/protocol/test_responses.py")
ASSEMBLER = ("antiphon.assembly.assembler", "tests/assembly/test_assembler.py")
CALL_CHUNKS = ("antiphon.assembly.assembler", "tests/assembly/test_choice.py")
PROMPT_LOGPROBS = ("antiphon.assembly.prompt_logprobs", "tests/assembly/test_prompt_logprobs.py")
COLLECTOR = ("antiphon.assembly.collector", "tests/assembly/test_collector.py")
TOKEN_LOGPROBS = ("antiphon.assembly.token_logprobs", "tests/assembly/test_token_logprobs.py")
BACKEND = ("antiphon.backends.local", "tests/backends/test_local.py")
SERVICE = ("antiphon.service.service", "tests/service/test_service.py")
ANSWERS = ("antiphon.service.answers", "tests/service/test_answers.py")
EVENTS = ("antiphon.protocol.sse", "tests/protocol/test_sse.py")


def sent(path: str, owner: Owner, note: str = "", *, nested: tuple[str, ...] = (), extension: bool = False) -> Row:
    """Make the row of a field that answers carry."""
    module, test = owner
    field = Field(
        path=path, side="response", status="honoured", module=module, test=test, note=note, extension=extension
    )
    return Row(field=field, nested=nested)


def not_sent(path: str, why: str, *, nested: tuple[str, ...] = ()) -> Row:
    """Make the row of a field that no answer carries yet."""
    module, test = RESPONSES
    field = Field(path=path, side="response", status="refused", module=module, test=test, note=why)
    return Row(field=field, nested=nested)


_TOOL_CALLS = (
    "When the model calls tools. Every call is one of a declared tool, with valid arguments. A call that equals an "
    "earlier one ends the message in its place."
)
_FUNCTION_CALL = "Deprecated: when functions were asked for."
_AUDIO = "Comes with audio answers."
_CALLED = (".name", ".arguments")
_SPOKEN = (".id", ".data", ".expires_at", ".transcript")
_TOKENS = ("[].token", "[].logprob", "[].bytes")
_LOGPROBS = (*_TOKENS, "[].top_logprobs", *(f"[].top_logprobs{name}" for name in _TOKENS))
_MODERATED = (
    ".type",
    ".model",
    ".results",
    ".results[].type",
    ".results[].model",
    ".results[].flagged",
    ".results[].categories",
    ".results[].category_scores",
    ".results[].category_applied_input_types",
    ".code",
    ".message",
)
_CITATION = (
    "[].type",
    "[].url_citation",
    "[].url_citation.start_index",
    "[].url_citation.end_index",
    "[].url_citation.url",
    "[].url_citation.title",
)

RESPONSE_ROWS = (
    sent("id", SERVICE, "The same in every chunk."),
    sent("object", RESPONSES),
    sent("created", SERVICE, "Seconds since 1970. The same in every chunk."),
    sent("model", BACKEND),
    sent("service_tier", BACKEND, "What was used."),
    sent("system_fingerprint", BACKEND, "Changes with model file, engine version and options."),
    not_sent("metadata", "Comes with stored completions."),
    sent("choices", ASSEMBLER, "Empty in the chunk with the usage."),
    sent("prompt_token_ids", ASSEMBLER, "With return_token_ids, in the first chunk, as in vLLM.", extension=True),
    sent(
        "prompt_logprobs",
        PROMPT_LOGPROBS,
        "With prompt_logprobs, as in vLLM: null for the first token, then the tokens by their ids.",
        extension=True,
    ),
    sent("choices[].token_ids", ASSEMBLER, "With return_token_ids, as in vLLM.", extension=True),
    sent("choices[].index", ASSEMBLER),
    sent("choices[].finish_reason", ASSEMBLER, "Null in every chunk of a choice but its last."),
    sent("choices[].message", COLLECTOR),
    sent("choices[].message.role", RESPONSES),
    sent("choices[].message.content", COLLECTOR),
    sent("choices[].message.refusal", RESPONSES, "Null: no text is recognised as a refusal."),
    sent("choices[].message.annotations", RESPONSES, "Empty without web search."),
    sent("choices[].message.reasoning_content", COLLECTOR, "Between a model's reasoning markers.", extension=True),
    sent(
        "choices[].message.tool_calls",
        COLLECTOR,
        _TOOL_CALLS,
        nested=(
            "[].id",
            "[].type",
            "[].function",
            "[].function.name",
            "[].function.arguments",
            "[].custom",
            "[].custom.name",
            "[].custom.input",
        ),
    ),
    sent("choices[].message.function_call", COLLECTOR, _FUNCTION_CALL, nested=_CALLED),
    not_sent("choices[].message.audio", _AUDIO, nested=_SPOKEN),
    sent("choices[].delta", ASSEMBLER),
    sent("choices[].delta.role", ASSEMBLER, "In a choice's first chunk only."),
    sent("choices[].delta.content", ASSEMBLER),
    sent("choices[].delta.reasoning_content", ASSEMBLER, "Between a model's reasoning markers.", extension=True),
    sent("choices[].delta.refusal", ASSEMBLER, "Null in a choice's first chunk."),
    sent(
        "choices[].delta.tool_calls",
        CALL_CHUNKS,
        "id, type and name come first.",
        nested=("[].index", "[].id", "[].type", "[].function", "[].function.name", "[].function.arguments"),
    ),
    sent(
        "choices[].delta.tool_calls[].custom",
        CALL_CHUNKS,
        "The reference has no chunk of a custom tool's call.",
        nested=(".name", ".input"),
        extension=True,
    ),
    sent("choices[].delta.function_call", CALL_CHUNKS, _FUNCTION_CALL, nested=_CALLED),
    not_sent("choices[].delta.audio", _AUDIO, nested=_SPOKEN),
    sent("choices[].logprobs", ASSEMBLER, "Null unless asked for."),
    sent("choices[].logprobs.content", ASSEMBLER, "The bytes concatenate to the content."),
    *(sent(f"choices[].logprobs.content{name}", TOKEN_LOGPROBS) for name in _LOGPROBS),
    sent("choices[].logprobs.refusal", RESPONSES, "Null, as the refusal is."),
    *(not_sent(f"choices[].logprobs.refusal{name}", "Null, as the refusal is.") for name in _LOGPROBS),
    *(not_sent(f"choices[].message.annotations{name}", "Comes with web search.") for name in _CITATION),
    sent(
        "usage",
        ANSWERS,
        "In a stream: with include_usage, null before the last chunk but for continuous_usage_stats.",
    ),
    sent("usage.prompt_tokens", ASSEMBLER),
    sent("usage.completion_tokens", ASSEMBLER, "All choices together."),
    sent("usage.total_tokens", ASSEMBLER),
    sent("usage.prompt_tokens_details", ASSEMBLER),
    sent("usage.prompt_tokens_details.cached_tokens", ASSEMBLER, "Whose KV cells were reused."),
    sent("usage.prompt_tokens_details.audio_tokens", RESPONSES, "0 without audio input."),
    not_sent("usage.prompt_tokens_details.cache_write_tokens", "Comes with explicit prompt cache breakpoints."),
    not_sent("usage.prompt_tokens_details.image_tokens", "Comes with image input."),
    not_sent("usage.prompt_tokens_details.text_tokens", "Comes with image and audio input."),
    sent("usage.completion_tokens_details", ASSEMBLER),
    sent("usage.completion_tokens_details.reasoning_tokens", ASSEMBLER),
    sent("usage.completion_tokens_details.audio_tokens", RESPONSES, "0 without audio answers."),
    sent(
        "usage.completion_tokens_details.accepted_prediction_tokens", ASSEMBLER, "Of the answer, those drafted from it."
    ),
    sent("usage.completion_tokens_details.rejected_prediction_tokens", ASSEMBLER, "Counted in completion_tokens."),
    not_sent("usage.completion_tokens_details.text_tokens", "Comes with audio answers."),
    sent("obfuscation", EVENTS, "In chunks, unless include_obfuscation is false."),
    not_sent("moderation", "Comes with moderation."),
    not_sent("moderation.input", "Comes with moderation.", nested=_MODERATED),
    not_sent("moderation.output", "Comes with moderation.", nested=_MODERATED),
)
