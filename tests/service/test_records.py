import itertools

import structlog
from msgspec import UNSET, UnsetType

from antiphon.backends.backend import AnswerPart, Call
from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, CompletionUsage, Delta, ServiceTier
from antiphon.service.records import RequestStats, log_request
from antiphon.telemetry.request_line import request_line

CALL = Call(
    completion_id="c",
    created=1,
    request=decode_request(b'{"model": "m", "messages": [{"role": "user", "content": "secret"}], "stream": true}'),
)
USAGE = CompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)


def chunk(*choices: ChunkChoice, tier: ServiceTier, usage: CompletionUsage | UnsetType = UNSET) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id="c", created=1, model="m", service_tier=tier, system_fingerprint="f", choices=list(choices), usage=usage
    )


def stats(*, whole: bool, tier: ServiceTier = "default") -> RequestStats:
    ticks = itertools.count()
    request_stats = RequestStats(lambda: float(next(ticks)))
    said = ChunkChoice(index=0, delta=Delta(content="secret"), finish_reason="stop")
    request_stats.add(AnswerPart([chunk(said, tier=tier)]))
    if whole:
        request_stats.add(AnswerPart([chunk(tier=tier, usage=USAGE)]))
    return request_stats


def test_answer_with_usage_is_completed_with_its_counts() -> None:
    record = stats(whole=True).record(CALL, "default")
    assert ("completed", 1, 2, ["stop"]) == (
        record.outcome,
        record.prompt_tokens,
        record.completion_tokens,
        record.finish_reasons,
    )
    assert (1.0, 2.0, True) == (record.time_to_first_token, record.duration, record.stream)


def test_answer_without_usage_is_cancelled_and_with_an_error_failed() -> None:
    request_stats = stats(whole=False)
    assert ("cancelled", 1) == (request_stats.outcome, request_stats.chunks)
    request_stats.fail(ServiceUnavailableError("died"))
    assert ("failed", "service_unavailable") == (request_stats.outcome, request_stats.error)
    request_stats.fail(ValueError("ours"))
    assert "ValueError" == request_stats.error


def test_service_tier_comes_from_the_answer() -> None:
    record = stats(whole=True, tier="flex").record(CALL, "default")
    assert (None, "flex") == (record.requested_service_tier, record.service_tier)


def test_record_is_added_to_the_line_of_the_server() -> None:
    with structlog.testing.capture_logs() as lines, request_line() as line:
        log_request(stats(whole=True).record(CALL, "proj_1"))
    assert ([], "c") == (lines, line.fields["completion_id"])


def test_line_has_the_project_and_no_text_of_the_conversation() -> None:
    with structlog.testing.capture_logs() as lines:
        log_request(stats(whole=True).record(CALL, "proj_1"))
    assert ["proj_1"] == [line["project"] for line in lines]
    assert "secret" not in str(lines)


def test_first_chunk_is_reported_once_with_its_time() -> None:
    ticks, told = itertools.count(), list[tuple[float, str | None]]()
    request_stats = RequestStats(lambda: float(next(ticks)), lambda seconds, tier: told.append((seconds, tier)))
    for _ in range(2):
        request_stats.add(AnswerPart([chunk(tier="flex")]))
    assert [(1.0, "flex")] == told


def test_answer_with_running_usage_alone_is_cancelled() -> None:
    request_stats = stats(whole=False)
    said = ChunkChoice(index=0, delta=Delta(content="secret"))
    request_stats.add(AnswerPart([chunk(said, tier="default", usage=USAGE)]))
    assert "cancelled" == request_stats.outcome


def test_line_names_the_keywords_that_were_not_enforced() -> None:
    request_stats = stats(whole=False)
    request_stats.add(AnswerPart([], unenforced=("a.b",)))
    request_stats.add(AnswerPart([], validity="invalid"))
    with request_line() as line:
        log_request(request_stats.record(CALL, "proj_1"))
    assert (("a.b",), "invalid") == (line.fields["unenforced"], line.fields["validity"])


def test_line_of_an_enforced_answer_says_nothing_of_validity() -> None:
    with request_line() as line:
        log_request(stats(whole=True).record(CALL, "proj_1"))
    assert line.fields.keys().isdisjoint({"unenforced", "validity"})
