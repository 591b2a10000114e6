"""What the one line that is logged about a request says of its answer, and what is watched for it."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from antiphon.backends.backend import AnswerPart, Call, Spent
from antiphon.protocol.responses import ChatCompletionChunk, CompletionUsage
from antiphon.protocol.validation import shorten
from antiphon.service.end_user import end_user_name
from antiphon.telemetry.request_line import Outcome, RequestLine, current_line, error_name


class RequestRecord(Struct, frozen=True, kw_only=True):
    """What is known of a request at its end; never what was said. Token counts are None when it did not finish."""

    completion_id: str
    model: str
    project: str
    end_user: str | None
    """Names the end user by a hash, None when the request names none."""
    stream: bool
    requested_service_tier: str | None
    """What the request says, None when it says nothing."""
    service_tier: str | None
    """What was used, None when no chunk came."""
    outcome: Outcome
    error: str | None
    """The error's code, or its class when it has none or is none of ours."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    accepted_prediction_tokens: int | None
    rejected_prediction_tokens: int | None
    finish_reasons: list[str]
    """Of the choices that ended, in the order they did."""
    time_to_first_token: float | None
    """Seconds."""
    duration: float
    """Seconds."""


def log_request(record: RequestRecord) -> None:
    """Add it to the line that the server has opened, or log it as a line of its own where there is no server."""
    line = current_line()
    into = line or RequestLine()
    into.add(**msgspec.structs.asdict(record))
    if line is None:
        into.write()


class Observation:
    """What a request's log line and its bill tell of its chunks."""

    def __init__(
        self, timer: Callable[[], float], began: Callable[[float, str | None], None] = lambda _seconds, _tier: None
    ) -> None:
        """``began`` is told of the first chunk: the seconds that it took, and its tier."""
        self._timer = timer
        self._began = began
        self._begin = timer()
        self._first: float | None = None
        self._finish_reasons: list[str] = []
        self.usage: CompletionUsage | None = None
        self.service_tier: str | None = None
        """The tier that was used."""
        self.spent = Spent()
        """What the backend has counted so far."""
        self.chunks = 0
        self.error: str | None = None
        """The code of the error that ended the chunks, or its class; a stream tells it and ends in order."""

    def observe(self, part: AnswerPart) -> None:
        """Take note of a part of the answer."""
        self.spent = part.spent
        for chunk in part.chunks:
            self._observe(chunk)

    def _observe(self, chunk: ChatCompletionChunk) -> None:
        if self._first is None:
            self._first = self._timer()
            self.service_tier = chunk.service_tier
            self._began(self._first - self._begin, self.service_tier)
        self.chunks += 1
        if isinstance(chunk.usage, CompletionUsage):
            self.usage = chunk.usage
        self._finish_reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]

    def failed(self, error: Exception) -> None:
        """Take note of an error."""
        self.error = error_name(error)

    @property
    def outcome(self) -> Outcome:
        """How it ended. An answer whose usage came is complete, whether or not that chunk was taken."""
        if self.error:
            return "failed"
        return "completed" if self.usage else "cancelled"

    def record(self, call: Call, project: str) -> RequestRecord:
        """Return what is logged, now."""
        usage = self.usage
        details = usage.completion_tokens_details if usage else None
        return RequestRecord(
            completion_id=call.completion_id,
            model=shorten(call.request.model),
            project=project,
            end_user=end_user_name(project, call.request),
            stream=call.request.stream is True,
            requested_service_tier=call.request.service_tier,
            service_tier=self.service_tier,
            outcome=self.outcome,
            error=self.error,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            cached_tokens=usage.prompt_tokens_details.cached_tokens if usage else None,
            reasoning_tokens=details.reasoning_tokens if details else None,
            accepted_prediction_tokens=details.accepted_prediction_tokens if details else None,
            rejected_prediction_tokens=details.rejected_prediction_tokens if details else None,
            finish_reasons=self._finish_reasons,
            time_to_first_token=None if self._first is None else round(self._first - self._begin, 6),
            duration=round(self._timer() - self._begin, 6),
        )
