"""Every check of the soak passes what is right, and can fail."""

from typing import Any

import pytest

from soak.invariants import CHECKS, Request, contents, error_code, violations
from soak.wire import Reply
from tests.soak.answers import (
    DONE,
    GOOD,
    PATH,
    USAGE,
    call,
    choice,
    chunk,
    error,
    error_event,
    reply,
    request,
    stream,
    usage_chunk,
    whole,
)

SCHEMA = {"json_schema": {"schema": {"required": ["a"]}}}
TOOLS = [{"function": {"name": "weather"}}]
STREAM = request(stream=True)
TOP = {"logprobs": True, "top_logprobs": 1}


def logprobs(*alternatives: int) -> dict[str, Any]:
    entries = [{"token": "t", "top_logprobs": [{}] * number} for number in alternatives]
    return {**choice(), "logprobs": {"content": entries}}


RIGHT = {
    "whole": (request(), whole()),
    "stream": (STREAM, stream()),
    "stream with usage": (
        request(stream=True, stream_options={"include_usage": True}),
        stream(chunk("Hi"), chunk(finish_reason="stop"), usage_chunk(), DONE),
    ),
    "choices": (request(n=2), whole(choice(), choice())),
    "choices in a stream": (
        request(stream=True, n=2),
        stream(
            chunk("a"), chunk("b", index=1), chunk(finish_reason="stop", index=1), chunk(finish_reason="length"), DONE
        ),
    ),
    "refusal": (request(), error(429, retry_after="1")),
    "schema": (request(response_format=SCHEMA), whole(choice('{"a": 1}'))),
    "schema, cut off": (request(response_format=SCHEMA), whole(choice('{"a', "length"))),
    "tool": (request(tools=TOOLS), whole(choice("", "tool_calls", tool_calls=[call("weather", "{}")]))),
    "stop": (request(stop="x"), whole()),
    "logprobs": (request(**TOP), whole(logprobs(1, 1))),
    "expected error": (Request(kind="x", method="POST", path=PATH, expected=frozenset({400})), error(400)),
}


@pytest.mark.parametrize(("sent", "answer"), RIGHT.values(), ids=RIGHT)
def test_correct_answer_has_no_violation(sent: Request, answer: Reply) -> None:
    assert [] == violations(sent, answer, excused=False)


WRONG = {
    "status": [(request(), error(500)), (request(), error(503, retry_after="1")), (request(), reply(0))],
    "request_id": [(request(), reply(200, whole().body, x_request_id=""))],
    "completeness": [(request(), reply(200, whole().body, complete=False)), (STREAM, stream(complete=False))],
    "error_shape": [
        (request(), error(429, {"error": "full"}, retry_after="1")),
        (request(), error(429, {"detail": "full"}, retry_after="1")),
        (request(), reply(429, b"Too many", retry_after="1")),
    ],
    "retry_after": [(request(), error(429)), (request(), error(503, retry_after="0"))],
    "one_end": [
        (STREAM, stream(chunk("Hi"))),
        (STREAM, stream(*GOOD, DONE)),
        (STREAM, stream(*GOOD, chunk("more"))),
        (STREAM, stream(*GOOD, error_event())),
        (STREAM, stream(chunk("Hi"), error_event())),
        (STREAM, stream(error_event({"error": "broken"}))),
    ],
    "one_finish": [
        (request(n=2), whole(choice())),
        (request(), whole(choice(finish_reason=None))),
        (STREAM, stream(chunk("Hi"), DONE)),
        (STREAM, stream(chunk(finish_reason="stop"), chunk("more"), DONE)),
        (request(stream=True, n=2), stream(*GOOD)),
    ],
    "usage": [
        (request(), whole(usage={**USAGE, "total_tokens": 6})),
        (request(stream=True, stream_options={"include_usage": True}), stream()),
        (STREAM, stream(chunk(finish_reason="stop"), usage_chunk(), DONE)),
    ],
    "schema": [
        (request(response_format=SCHEMA), whole(choice('{"b": 1}'))),
        (request(response_format=SCHEMA), whole(choice('{"a": '))),
    ],
    "tool_arguments": [
        (request(tools=TOOLS), whole(choice("", "tool_calls", tool_calls=[call("nothing", "{}")]))),
        (request(tools=TOOLS), whole(choice("", "tool_calls", tool_calls=[call("weather", "{")]))),
    ],
    "stop": [(request(stop="i"), whole())],
    "logprobs": [(request(**TOP), whole(logprobs(1, 0))), (request(**TOP), whole())],
}


@pytest.mark.parametrize(
    ("expected", "sent", "answer"), [(name, *case) for name, cases in WRONG.items() for case in cases]
)
def test_wrong_answer_has_its_violation(expected: str, sent: Request, answer: Reply) -> None:
    assert expected in [text.split(":")[0] for text in violations(sent, answer, excused=False)]


def test_every_check_fails_on_some_wrong_answer() -> None:
    assert {check.__name__ for check in CHECKS} == set(WRONG)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(request(), error(503, retry_after="1")), (STREAM, stream(chunk("Hi"), error_event()))],
)
def test_fault_excuses_unavailability(sent: Request, answer: Reply) -> None:
    assert [] == violations(sent, answer, excused=True)
    assert [] != violations(sent, answer, excused=False)


def test_fault_excuses_no_other_error() -> None:
    assert [] != violations(request(), error(500), excused=True)


def test_content_of_a_stream_is_joined_from_its_chunks() -> None:
    (said,) = contents(STREAM, stream(chunk("H"), chunk("i"), chunk(finish_reason="length"), DONE))
    assert ("Hi", "length") == (said.content, said.finish_reason)


def test_error_code_has_status_and_code() -> None:
    assert "503 service_unavailable" == error_code(error(503))
    assert "in a stream: service_unavailable" == error_code(stream(chunk("a"), error_event()))
    assert "" == error_code(whole())
