"""The one line that is logged about a request, and what is watched for it."""

from collections.abc import Callable
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from antiphon.backends.base import Call
from antiphon.errors import APIError
from antiphon.protocol.responses import ChatCompletionChunk, CompletionUsage
from antiphon.protocol.validation import shorten

Outcome = Literal["completed", "failed", "cancelled"]


class RequestRecord(Struct, frozen=True, kw_only=True):
    """What is known of a request at its end; never what was said. Token counts are None when it did not finish."""

    completion_id: str
    model: str
    project: str
    stream: bool
    outcome: Outcome
    error: str | None
    """The error's code, or its class when it is none of ours."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    finish_reasons: list[str]
    """Of the choices that ended, in the order they did."""
    time_to_first_token: float | None
    """Seconds."""
    duration: float
    """Seconds."""


def log_request(record: RequestRecord) -> None:
    """Log it as one structured line; the request's id comes from the context variables that the server bound."""
    structlog.get_logger(__name__).info("request", **msgspec.structs.asdict(record))


class Observation:
    """What a request's log line and its bill tell of its chunks."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._begin = timer()
        self._first: float | None = None
        self._finish_reasons: list[str] = []
        self.usage: CompletionUsage | None = None
        self.chunks = 0
        self.error: str | None = None
        """The code of the error that ended the chunks, or its class; a stream tells it and ends in order."""

    def see(self, chunk: ChatCompletionChunk) -> None:
        """Take note of a chunk."""
        if self._first is None:
            self._first = self._timer()
        self.chunks += 1
        if isinstance(chunk.usage, CompletionUsage):
            self.usage = chunk.usage
        self._finish_reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]

    def failed(self, error: Exception) -> None:
        """Take note of an error."""
        self.error = (error.code if isinstance(error, APIError) else None) or type(error).__name__

    @property
    def outcome(self) -> Outcome:
        """How it ended. An answer whose usage came is complete, whether or not that chunk was taken."""
        if self.error:
            return "failed"
        return "completed" if self.usage else "cancelled"

    def record(self, call: Call, project: str) -> RequestRecord:
        """Return what is logged, now."""
        usage = self.usage
        return RequestRecord(
            completion_id=call.completion_id,
            model=shorten(call.request.model),
            project=project,
            stream=call.request.stream is True,
            outcome=self.outcome,
            error=self.error,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            cached_tokens=usage.prompt_tokens_details.cached_tokens if usage else None,
            reasoning_tokens=usage.completion_tokens_details.reasoning_tokens if usage else None,
            finish_reasons=self._finish_reasons,
            time_to_first_token=None if self._first is None else self._first - self._begin,
            duration=self._timer() - self._begin,
        )
