"""The span of an answer by OpenTelemetry's semantic conventions for generative AI: counts and parameters, no content.

Names: semantic-conventions-genai, spans of inference, with the attributes of OpenAI's API (``openai.*``).
"""

from collections.abc import Mapping
from typing import Final

from antiphon.backends.backend import Call
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.tools import ResponseFormatText
from antiphon.service.records import RequestRecord
from antiphon.telemetry.spans import Attribute, FinishedSpan

PROVIDER: Final = "openai"
"""The provider whose attributes are used. The answering server is the resource's ``service.name``."""
FIRST_TOKEN: Final = "gen_ai.first_token"  # noqa: S105 (an event)
"""The event of the first chunk."""


def chat_span(call: Call, record: RequestRecord) -> FinishedSpan:
    """Return the span of an ended answer, whether completed, failed or cancelled."""
    first = record.time_to_first_token
    return FinishedSpan(
        name=f"chat {record.model}",
        attributes=_present(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": PROVIDER,
                "openai.api.type": "chat_completions",
                **_request(call.request, record),
                **_response(record),
                "antiphon.project": record.project,
                "antiphon.outcome": record.outcome,
            }
        ),
        duration=record.duration,
        events={} if first is None else {FIRST_TOKEN: first},
        error=record.error,
    )


def _request(request: CreateChatCompletion, record: RequestRecord) -> dict[str, Attribute | None]:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    tier = record.requested_service_tier
    return {
        "gen_ai.request.model": record.model,
        "gen_ai.request.stream": record.stream or None,
        "gen_ai.request.choice.count": None if request.n == 1 else request.n,
        "gen_ai.request.max_tokens": request.answer_limit,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.top_k": request.top_k,
        "gen_ai.request.frequency_penalty": request.frequency_penalty,
        "gen_ai.request.presence_penalty": request.presence_penalty,
        "gen_ai.request.seed": request.chosen_seed,
        "gen_ai.request.stop_sequences": stop,
        "gen_ai.output.type": _output_type(request),
        "openai.request.service_tier": None if tier == "auto" else tier,
    }


def _response(record: RequestRecord) -> dict[str, Attribute | None]:
    return {
        "gen_ai.response.id": record.completion_id,
        "gen_ai.response.model": None if record.service_tier is None else record.model,
        "gen_ai.response.finish_reasons": record.finish_reasons or None,
        "gen_ai.response.time_to_first_chunk": record.time_to_first_token if record.stream else None,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
        "openai.response.service_tier": record.service_tier,
    }


def _output_type(request: CreateChatCompletion) -> str | None:
    if request.response_format is None:
        return None
    return "text" if isinstance(request.response_format, ResponseFormatText) else "json"


def _present(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in attributes.items() if value is not None}
