"""Every check of the soak passes what is right, and can fail."""

from typing import Any

import pytest

from soak.invariants import CHECKS, Asked, contents, error_code, violations
from soak.wire import Reply
from tests.soak.answers import (
    DONE,
    GOOD,
    PATH,
    USAGE,
    asked,
    call,
    choice,
    chunk,
    error,
    error_event,
    reply,
    stream,
    usage_chunk,
    whole,
)

SCHEMA = {"json_schema": {"schema": {"required": ["a"]}}}
TOOLS = [{"function": {"name": "weather"}}]
STREAM = asked(stream=True)
TOP = {"logprobs": True, "top_logprobs": 1}


def logprobs(*alternatives: int) -> dict[str, Any]:
    entries = [{"token": "t", "top_logprobs": [{}] * number} for number in alternatives]
    return {**choice(), "logprobs": {"content": entries}}


RIGHT = {
    "whole": (asked(), whole()),
    "stream": (STREAM, stream()),
    "stream with usage": (
        asked(stream=True, stream_options={"include_usage": True}),
        stream(chunk("Hi"), chunk(finish_reason="stop"), usage_chunk(), DONE),
    ),
    "choices": (asked(n=2), whole(choice(), choice())),
    "choices in a stream": (
        asked(stream=True, n=2),
        stream(
            chunk("a"), chunk("b", index=1), chunk(finish_reason="stop", index=1), chunk(finish_reason="length"), DONE
        ),
    ),
    "refusal": (asked(), error(429, retry_after="1")),
    "schema": (asked(response_format=SCHEMA), whole(choice('{"a": 1}'))),
    "schema, cut off": (asked(response_format=SCHEMA), whole(choice('{"a', "length"))),
    "tool": (asked(tools=TOOLS), whole(choice("", "tool_calls", tool_calls=[call("weather", "{}")]))),
    "stop": (asked(stop="x"), whole()),
    "logprobs": (asked(**TOP), whole(logprobs(1, 1))),
    "expected error": (Asked(kind="x", method="POST", path=PATH, expected=frozenset({400})), error(400)),
}


@pytest.mark.parametrize(("request_", "answer"), RIGHT.values(), ids=RIGHT)
def test_what_is_right_passes(request_: Asked, answer: Reply) -> None:
    assert [] == violations(request_, answer, excused=False)


WRONG = {
    "status": [(asked(), error(500)), (asked(), error(503, retry_after="1")), (asked(), reply(0))],
    "request_id": [(asked(), reply(200, whole().body, x_request_id=""))],
    "completeness": [(asked(), reply(200, whole().body, complete=False)), (STREAM, stream(complete=False))],
    "error_shape": [
        (asked(), error(429, {"error": "full"}, retry_after="1")),
        (asked(), error(429, {"detail": "full"}, retry_after="1")),
        (asked(), reply(429, b"Too many", retry_after="1")),
    ],
    "retry_after": [(asked(), error(429)), (asked(), error(503, retry_after="0"))],
    "one_end": [
        (STREAM, stream(chunk("Hi"))),
        (STREAM, stream(*GOOD, DONE)),
        (STREAM, stream(*GOOD, chunk("more"))),
        (STREAM, stream(*GOOD, error_event())),
        (STREAM, stream(chunk("Hi"), error_event())),
        (STREAM, stream(error_event({"error": "broken"}))),
    ],
    "one_finish": [
        (asked(n=2), whole(choice())),
        (asked(), whole(choice(finish_reason=None))),
        (STREAM, stream(chunk("Hi"), DONE)),
        (STREAM, stream(chunk(finish_reason="stop"), chunk("more"), DONE)),
        (asked(stream=True, n=2), stream(*GOOD)),
    ],
    "usage": [
        (asked(), whole(usage={**USAGE, "total_tokens": 6})),
        (asked(stream=True, stream_options={"include_usage": True}), stream()),
        (STREAM, stream(chunk(finish_reason="stop"), usage_chunk(), DONE)),
    ],
    "schema": [
        (asked(response_format=SCHEMA), whole(choice('{"b": 1}'))),
        (asked(response_format=SCHEMA), whole(choice('{"a": '))),
    ],
    "tool_arguments": [
        (asked(tools=TOOLS), whole(choice("", "tool_calls", tool_calls=[call("nothing", "{}")]))),
        (asked(tools=TOOLS), whole(choice("", "tool_calls", tool_calls=[call("weather", "{")]))),
    ],
    "stop": [(asked(stop="i"), whole())],
    "logprobs": [(asked(**TOP), whole(logprobs(1, 0))), (asked(**TOP), whole())],
}


@pytest.mark.parametrize(
    ("expected", "request_", "answer"), [(name, *case) for name, cases in WRONG.items() for case in cases]
)
def test_what_is_wrong_is_found(expected: str, request_: Asked, answer: Reply) -> None:
    assert expected in [text.split(":")[0] for text in violations(request_, answer, excused=False)]


def test_every_check_was_shown_to_fail() -> None:
    assert {check.__name__ for check in CHECKS} == set(WRONG)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [(asked(), error(503, retry_after="1")), (STREAM, stream(chunk("Hi"), error_event()))],
)
def test_a_fault_excuses_unavailability_and_nothing_else(request_: Asked, answer: Reply) -> None:
    assert [] == violations(request_, answer, excused=True)
    assert [] != violations(request_, answer, excused=False)


def test_a_fault_excuses_no_other_error() -> None:
    assert [] != violations(asked(), error(500), excused=True)


def test_a_stream_says_what_its_chunks_say_together() -> None:
    (said,) = contents(STREAM, stream(chunk("H"), chunk("i"), chunk(finish_reason="length"), DONE))
    assert ("Hi", "length") == (said.content, said.finish_reason)


def test_errors_are_called_by_status_and_code() -> None:
    assert "503 service_unavailable" == error_code(error(503))
    assert "in a stream: service_unavailable" == error_code(stream(chunk("a"), error_event()))
    assert "" == error_code(whole())
