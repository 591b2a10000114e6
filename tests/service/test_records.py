import itertools

import structlog
from msgspec import UNSET, UnsetType

from antiphon.backends.backend import AnswerPart, Call
from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, CompletionUsage, Delta, ServiceTier
from antiphon.service.records import Observation, log_request
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


def observation(*, whole: bool, tier: ServiceTier = "default") -> Observation:
    ticks = itertools.count()
    seen = Observation(lambda: float(next(ticks)))
    said = ChunkChoice(index=0, delta=Delta(content="secret"), finish_reason="stop")
    seen.observe(AnswerPart([chunk(said, tier=tier)]))
    if whole:
        seen.observe(AnswerPart([chunk(tier=tier, usage=USAGE)]))
    return seen


def test_a_whole_answer_is_completed_with_its_counts() -> None:
    record = observation(whole=True).record(CALL, "default")
    assert ("completed", 1, 2, ["stop"]) == (
        record.outcome,
        record.prompt_tokens,
        record.completion_tokens,
        record.finish_reasons,
    )
    assert (1.0, 2.0, True) == (record.time_to_first_token, record.duration, record.stream)


def test_without_usage_it_was_cancelled_and_with_an_error_it_failed() -> None:
    seen = observation(whole=False)
    assert ("cancelled", 1) == (seen.outcome, seen.chunks)
    seen.failed(ServiceUnavailableError("died"))
    assert ("failed", "service_unavailable") == (seen.outcome, seen.error)
    seen.failed(ValueError("ours"))
    assert "ValueError" == seen.error


def test_the_tier_is_the_one_that_the_answer_names() -> None:
    record = observation(whole=True, tier="flex").record(CALL, "default")
    assert (None, "flex") == (record.requested_service_tier, record.service_tier)


def test_in_a_request_of_the_server_it_is_a_part_of_the_server_s_line() -> None:
    with structlog.testing.capture_logs() as lines, request_line() as line:
        log_request(observation(whole=True).record(CALL, "proj_1"))
    assert ([], "c") == (lines, line.fields["completion_id"])


def test_the_line_names_the_project_and_nothing_that_was_said() -> None:
    with structlog.testing.capture_logs() as lines:
        log_request(observation(whole=True).record(CALL, "proj_1"))
    assert ["proj_1"] == [line["project"] for line in lines]
    assert "secret" not in str(lines)


def test_the_first_chunk_is_told_once_with_the_time_that_it_took() -> None:
    ticks, told = itertools.count(), list[tuple[float, str | None]]()
    seen = Observation(lambda: float(next(ticks)), lambda seconds, tier: told.append((seconds, tier)))
    for _ in range(2):
        seen.observe(AnswerPart([chunk(tier="flex")]))
    assert [(1.0, "flex")] == told
