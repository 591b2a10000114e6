"""Spans as the SDK makes them, and as a collector gets them over OTLP/HTTP."""

import itertools
import socket
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from antiphon import __version__
from antiphon.telemetry.spans import FinishedSpan
from antiphon.telemetry.traces import Tracing, otlp_processor
from tests.telemetry.collector import WAIT, Collector, collecting

PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=x"}
ANSWER = FinishedSpan(
    name="chat m",
    attributes={
        "gen_ai.request.model": "m",
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ["stop"],
    },
    duration=2.0,
    events={"gen_ai.first_token": 0.5},
)


class Traced:
    """Tracing into memory, with a clock that advances one second per call."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        ticks = itertools.count(100)
        self.tracing = Tracing(SimpleSpanProcessor(self._exporter), clock=lambda: next(ticks) * 10**9)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's OpenTelemetry variables and proxies."""
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def test_a_request_is_a_server_span_of_its_duration() -> None:
    traced = Traced()
    with traced.tracing.request({}) as span:
        span.describe("GET /x", {"http.response.status_code": 200})
    made = traced.spans["GET /x"]
    assert (SpanKind.SERVER, 100 * 10**9, 101 * 10**9) == (made.kind, made.start_time, made.end_time)
    assert ({"http.response.status_code": 200}, StatusCode.UNSET) == (made.attributes, made.status.status_code)


def test_failed_span_has_the_error() -> None:
    traced = Traced()
    with traced.tracing.request({}) as span:
        span.describe("GET /x", {}, "ValueError")
    made = traced.spans["GET /x"]
    assert ({"error.type": "ValueError"}, StatusCode.ERROR) == (made.attributes, made.status.status_code)


def test_request_continues_the_trace_of_the_client() -> None:
    traced = Traced()
    with traced.tracing.request(PARENT) as span:
        assert "0af7651916cd43dd8448eb211c80319c" == span.ids["trace_id"]
        span.describe("x", {})
    made = traced.spans["x"]
    assert made.parent is not None
    assert "b7ad6b7169203331" == trace.format_span_id(made.parent.span_id)
    assert made.context is not None
    assert "x" == made.context.trace_state["vendor"]


@pytest.mark.parametrize("value", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_invalid_traceparent_begins_a_new_trace(value: str) -> None:
    traced = Traced()
    with traced.tracing.request({"traceparent": value}) as span:
        span.describe("x", {})
        assert span.ids["trace_id"] != "0" * 32
    assert traced.spans["x"].parent is None


def test_span_of_the_request_is_the_current_one_for_other_libraries() -> None:
    with Traced().tracing.request({}) as span:
        inside = trace.get_current_span().get_span_context()
    assert span.ids["span_id"] == trace.format_span_id(inside.span_id)
    assert not trace.get_current_span().get_span_context().is_valid


def test_answer_is_a_child_span_with_the_time_of_its_first_token() -> None:
    traced = Traced()
    with traced.tracing.request({}) as span:
        span.record(ANSWER)
        span.describe("x", {})
    made, request = traced.spans["chat m"], traced.spans["x"]
    assert made.parent == request.context
    assert (99 * 10**9, 101 * 10**9, SpanKind.INTERNAL) == (made.start_time, made.end_time, made.kind)
    assert [("gen_ai.first_token", 99_500_000_000)] == [(event.name, event.timestamp) for event in made.events]
    assert {**ANSWER.attributes, "gen_ai.response.finish_reasons": ("stop",)} == dict(made.attributes or {})


def test_an_answer_that_failed_is_a_failed_span() -> None:
    traced = Traced()
    with traced.tracing.request({}) as span:
        span.record(FinishedSpan(name="chat m", attributes={}, duration=1.0, error="service_unavailable"))
    made = traced.spans["chat m"]
    assert ("service_unavailable", StatusCode.ERROR) == ((made.attributes or {})["error.type"], made.status.status_code)


def test_exception_ends_the_span_without_its_text() -> None:
    traced = Traced()
    with pytest.raises(ValueError, match="hush"), traced.tracing.request({}):
        raise ValueError("hush")
    assert "hush" not in traced.spans["HTTP"].to_json()


def test_keys_are_masked_in_names_and_attributes() -> None:
    leak = "sk-antiphon-0123456789abcdef"
    traced = Traced()
    with traced.tracing.request({}) as span:
        span.record(FinishedSpan(name=f"chat {leak}", attributes={"a": leak, "b": [leak, "x"]}, duration=1.0))
    made = traced.spans["chat [key]"]
    assert {"a": "[key]", "b": ("[key]", "x")} == made.attributes


@pytest.mark.parametrize(("variables", "name"), [({}, "antiphon"), ({"OTEL_SERVICE_NAME": "mine"}, "mine")])
def test_environment_overrides_the_name_of_the_service(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    traced = Traced()
    with traced.tracing.request({}):
        pass
    resource = traced.spans["HTTP"].resource.attributes
    assert (name, __version__) == (resource["service.name"], resource["service.version"])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


def test_a_collector_gets_both_spans_when_the_server_ends(collector: Collector) -> None:
    tracing = Tracing(otlp_processor(collector.url))
    with tracing.request(PARENT) as span:
        span.record(ANSWER)
        span.describe("POST /v1/chat/completions", {"http.response.status_code": 200})
    assert tracing.close(WAIT)
    spans = collector.spans
    answer, request = spans["chat m"], spans["POST /v1/chat/completions"]
    assert ["/v1/traces"] == [path for path, _ in collector.bodies]
    assert "0af7651916cd43dd8448eb211c80319c" == request.trace_id.hex() == answer.trace_id.hex()
    assert request.span_id == answer.parent_span_id
    assert 3 == {pair.key: pair.value for pair in answer.attributes}["gen_ai.usage.output_tokens"].int_value
    assert ["gen_ai.first_token"] == [event.name for event in answer.events]


def test_sdk_reads_the_endpoint_from_the_environment(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    tracing = Tracing(otlp_processor(None))
    with tracing.request({}):
        pass
    assert tracing.close(WAIT)
    assert ["/v1/traces"] == [path for path, _ in collector.bodies]


def dead_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_dead_collector_does_not_delay_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")  # seconds: no second attempt
    tracing = Tracing(otlp_processor(f"http://127.0.0.1:{dead_port()}/v1/traces"))
    for _ in range(3000):  # more than the queue holds
        with tracing.request({}) as span:
            span.describe("x", {})
    assert tracing.close(WAIT)
    with tracing.request({}) as span:
        span.record(ANSWER)
        span.describe("after the end", {})


def test_close_gives_up_on_a_collector_that_does_not_answer(collector: Collector) -> None:
    collector.answers.clear()
    tracing = Tracing(otlp_processor(collector.url))
    with tracing.request({}):
        pass
    assert not tracing.close(0.05)
    collector.answers.set()
