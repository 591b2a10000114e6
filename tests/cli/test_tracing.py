import sys

import pytest
import structlog

from antiphon.cli.tracing import _traces_url, open_tracer
from antiphon.console.command_error import CommandError
from antiphon.telemetry.traces import Tracing

URL = "http://127.0.0.1:9/v1/traces"


@pytest.fixture(autouse=True)
def _no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("", "_TRACES"):
        for what in ("ENDPOINT", "PROTOCOL"):
            monkeypatch.delenv(f"OTEL_EXPORTER_OTLP{kind}_{what}", raising=False)


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "antiphon.telemetry.traces", None)


def test_traces_are_off_by_default() -> None:
    with open_tracer(None) as tracer:
        assert tracer is None


def test_option_turns_traces_on() -> None:
    with open_tracer(URL) as tracer:
        assert isinstance(tracer, Tracing)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_variables_of_opentelemetry_turn_traces_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, URL)
    with open_tracer(None) as tracer:
        assert isinstance(tracer, Tracing)


@pytest.mark.usefixtures("without_extra")
def test_option_without_the_extra_is_an_error_that_names_it() -> None:
    with pytest.raises(CommandError) as caught, open_tracer(URL):
        pass
    assert "antiphon[otel]" in caught.value.advice


@pytest.mark.usefixtures("without_extra")
def test_variable_without_the_extra_is_a_warning_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", URL)
    with structlog.testing.capture_logs() as lines, open_tracer(None) as tracer:
        assert tracer is None
    assert [("traces_off", True)] == [(line["event"], "antiphon[otel]" in line["advice"]) for line in lines]


def test_unsupported_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(CommandError, match="grpc"), open_tracer(URL):
        pass


@pytest.mark.parametrize("endpoint", ["", "collector:4317", "grpc://127.0.0.1:4317", "http://", "http://x:y/"])
def test_invalid_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(CommandError, match="Traces cannot be sent"), open_tracer(endpoint):
        pass


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("http://127.0.0.1:4318/other/path", "http://127.0.0.1:4318/other/path"),
    ],
)
def test_endpoint_without_a_path_gets_the_collectors_path(endpoint: str, expected: str) -> None:
    assert expected == _traces_url(endpoint)
