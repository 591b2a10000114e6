from typing import Any

import msgspec
import pytest

from antiphon.backends.backend import Call
from antiphon.protocol.requests import decode_request
from antiphon.service.chat_spans import chat_span
from antiphon.service.records import RequestRecord

RECORD = RequestRecord(
    completion_id="c",
    model="m",
    project="p",
    end_user=None,
    stream=True,
    requested_service_tier="auto",
    service_tier="default",
    outcome="completed",
    error=None,
    prompt_tokens=7,
    completion_tokens=5,
    cached_tokens=3,
    reasoning_tokens=2,
    accepted_prediction_tokens=0,
    rejected_prediction_tokens=0,
    finish_reasons=["stop", "length"],
    time_to_first_token=0.25,
    duration=2.0,
)
UNFINISHED = msgspec.structs.replace(
    RECORD,
    service_tier=None,
    outcome="cancelled",
    prompt_tokens=None,
    completion_tokens=None,
    cached_tokens=None,
    reasoning_tokens=None,
    finish_reasons=[],
    time_to_first_token=None,
)


def call(**fields: object) -> Call:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hush"}]} | fields
    return Call(completion_id="c", created=1, request=decode_request(msgspec.json.encode(asked)))


def attributes(record: RequestRecord = RECORD, /, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (of the body)
    return dict(chat_span(call(**fields), record).attributes)


def test_span_of_a_plain_request_has_the_attributes_of_the_conventions() -> None:
    span = chat_span(call(stream=True), RECORD)
    assert ("chat m", 2.0, {"gen_ai.first_token": 0.25}, None) == (span.name, span.duration, span.events, span.error)
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "c",
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ["stop", "length"],
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "openai.api.type": "chat_completions",
        "openai.response.service_tier": "default",
        "antiphon.project": "p",
        "antiphon.outcome": "completed",
    } == dict(span.attributes)


@pytest.mark.parametrize(
    ("field", "value", "name", "expected"),
    [
        ("temperature", 0, "temperature", 0),
        ("top_p", 0.5, "top_p", 0.5),
        ("top_k", 40, "top_k", 40),
        ("max_tokens", 9, "max_tokens", 9),
        ("max_completion_tokens", 9, "max_tokens", 9),
        ("n", 3, "choice.count", 3),
        ("seed", 11, "seed", 11),
        ("stop", "x", "stop_sequences", ["x"]),
        ("stop", ["x", "y"], "stop_sequences", ["x", "y"]),
        ("frequency_penalty", 0.5, "frequency_penalty", 0.5),
        ("presence_penalty", -0.5, "presence_penalty", -0.5),
    ],
)
def test_a_parameter_of_the_request_is_an_attribute(field: str, value: object, name: str, expected: object) -> None:
    assert expected == attributes(**{field: value})[f"gen_ai.request.{name}"]
    assert f"gen_ai.request.{name}" not in attributes()


def test_single_choice_has_no_count_attribute() -> None:
    assert "gen_ai.request.choice.count" not in attributes(n=1)


@pytest.mark.parametrize(("kind", "expected"), [("text", "text"), ("json_object", "json")])
def test_requested_response_format_is_an_attribute(kind: str, expected: str) -> None:
    assert expected == attributes(response_format={"type": kind})["gen_ai.output.type"]


def test_requested_tier_is_an_attribute_unless_auto() -> None:
    asked = attributes(msgspec.structs.replace(RECORD, requested_service_tier="flex"))
    assert ("flex", False) == (asked["openai.request.service_tier"], "openai.request.service_tier" in attributes())


def test_answer_that_never_began_has_no_response_attributes() -> None:
    span = chat_span(call(), UNFINISHED)
    names = [name for name in span.attributes if ".usage." in name or name.startswith("gen_ai.response.")]
    assert ({}, ["gen_ai.response.id"], "cancelled") == (span.events, names, span.attributes["antiphon.outcome"])


def test_error_of_the_record_is_the_error_of_the_span() -> None:
    record = msgspec.structs.replace(UNFINISHED, outcome="failed", error="model_not_found")
    assert "model_not_found" == chat_span(call(), record).error


def test_span_has_no_text_of_the_conversation() -> None:
    asked = call(user="hush", messages=[{"role": "system", "content": "hush"}, {"role": "user", "content": "hush"}])
    assert "hush" not in str(chat_span(asked, RECORD))
