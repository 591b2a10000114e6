"""Statistics of a running request, and the record of an ended one for the log line, the metrics and the trace."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from antiphon.backends.backend import AnswerPart, Call, Spent, Validity
from antiphon.protocol.responses import ChatCompletionChunk, CompletionUsage
from antiphon.protocol.validation import shorten
from antiphon.service.end_user import end_user_name
from antiphon.telemetry.request_line import Outcome, RequestLine, current_line, error_name


class RequestRecord(Struct, frozen=True, kw_only=True):
    """The record of an ended request, without texts. Token counts are None unless the answer is complete."""

    completion_id: str
    model: str
    project: str
    end_user: str | None
    """The hash of the end user's identifier, or None."""
    stream: bool
    requested_service_tier: str | None
    """The request's tier, or None."""
    service_tier: str | None
    """The tier used; None without a chunk."""
    outcome: Outcome
    error: str | None
    """The error's code, or its class when it has none or is no ``APIError``."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    accepted_prediction_tokens: int | None
    rejected_prediction_tokens: int | None
    finish_reasons: list[str]
    """The finish reasons of the choices, in the order in which they ended."""
    time_to_first_token: float | None
    """Seconds."""
    duration: float
    """Seconds."""
    unenforced: tuple[str, ...] = ()
    """The keywords of schemas that were not enforced, by their paths in the request. No part of a line without any."""
    validity: Validity | None = None
    """Whether the finished answer is valid against these keywords; None without any, and for an unfinished answer."""


def log_request(record: RequestRecord) -> None:
    """Add the record to the server's log line of the request, or log it as a line of its own without a server."""
    current = current_line()
    line = current or RequestLine()
    fields = msgspec.structs.asdict(record)
    if not record.unenforced:
        del fields["unenforced"], fields["validity"]
    line.add(**fields)
    if current is None:
        line.write()


class RequestStats:
    """The times and counts of a running request, from the parts of its answer."""

    def __init__(
        self,
        timer: Callable[[], float],
        on_first_chunk: Callable[[float, str | None], None] = lambda _seconds, _tier: None,
    ) -> None:
        """``on_first_chunk`` gets the seconds from the request to the first chunk, and the chunk's tier."""
        self._timer = timer
        self._on_first_chunk = on_first_chunk
        self._begin = timer()
        self._first: float | None = None
        self._finish_reasons: list[str] = []
        self.usage: CompletionUsage | None = None
        self.service_tier: str | None = None
        """The tier used."""
        self.spent = Spent()
        """The tokens that the backend has counted so far."""
        self.chunks = 0
        self.unenforced: tuple[str, ...] = ()
        """The keywords of schemas that are not enforced, by their paths in the request."""
        self._validity: Validity | None = None
        self.error: str | None = None
        """The code or the class of the error that ended the answer."""

    def add(self, part: AnswerPart) -> None:
        """Count a part of the answer."""
        self.spent = part.spent
        self.unenforced = self.unenforced or part.unenforced
        self._validity = self._validity or part.validity
        for chunk in part.chunks:
            self._add_chunk(chunk)

    def _add_chunk(self, chunk: ChatCompletionChunk) -> None:
        if self._first is None:
            self._first = self._timer()
            self.service_tier = chunk.service_tier
            self._on_first_chunk(self._first - self._begin, self.service_tier)
        self.chunks += 1
        if isinstance(chunk.usage, CompletionUsage) and not chunk.choices:
            self.usage = chunk.usage
        self._finish_reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]

    def fail(self, error: Exception) -> None:
        """Record the error that ended the answer."""
        self.error = error_name(error)

    @property
    def outcome(self) -> Outcome:
        """The outcome now. An answer is complete once it has its usage, even if the client does not read that chunk."""
        if self.error:
            return "failed"
        return "completed" if self.usage else "cancelled"

    def record(self, call: Call, project: str) -> RequestRecord:
        """Return the record of the request as it is now."""
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
            unenforced=self.unenforced,
            validity=self._validity,
        )
