import itertools

import structlog

from antiphon.backends.base import Call
from antiphon.errors import ServiceUnavailableError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, CompletionUsage, Delta
from antiphon.service.records import Observation, log_request

CALL = Call(
    completion_id="c",
    created=1,
    request=decode_request(b'{"model": "m", "messages": [{"role": "user", "content": "secret"}], "stream": true}'),
)
USAGE = CompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
HEAD = {"id": "c", "created": 1, "model": "m", "service_tier": None, "system_fingerprint": "f"}


def observation(*, whole: bool) -> Observation:
    ticks = itertools.count()
    seen = Observation(lambda: float(next(ticks)))
    delta = Delta(content="secret")
    seen.see(ChatCompletionChunk(**HEAD, choices=[ChunkChoice(index=0, delta=delta, finish_reason="stop")]))  # type: ignore[arg-type]
    if whole:
        seen.see(ChatCompletionChunk(**HEAD, choices=[], usage=USAGE))  # type: ignore[arg-type]
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


def test_the_line_names_the_project_and_nothing_that_was_said() -> None:
    with structlog.testing.capture_logs() as lines:
        log_request(observation(whole=True).record(CALL, "proj_1"))
    assert ["proj_1"] == [line["project"] for line in lines]
    assert "secret" not in str(lines)
