import sys

import pytest
import structlog

from antiphon.cli.tracing import _traces_url, traced
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


def test_nobody_traces_unless_told() -> None:
    with traced(None) as tracer:
        assert tracer is None


def test_the_option_turns_traces_on() -> None:
    with traced(URL) as tracer:
        assert isinstance(tracer, Tracing)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_the_variables_of_opentelemetry_turn_traces_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, URL)
    with traced(None) as tracer:
        assert isinstance(tracer, Tracing)


@pytest.mark.usefixtures("without_extra")
def test_the_option_without_the_extra_is_an_error_that_names_it() -> None:
    with pytest.raises(CommandError) as caught, traced(URL):
        pass
    assert "antiphon[otel]" in caught.value.advice


@pytest.mark.usefixtures("without_extra")
def test_a_variable_without_the_extra_is_a_warning_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", URL)
    with structlog.testing.capture_logs() as lines, traced(None) as tracer:
        assert tracer is None
    assert [("traces_off", True)] == [(line["event"], "antiphon[otel]" in line["advice"]) for line in lines]


def test_a_protocol_that_is_not_spoken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(CommandError, match="grpc"), traced(URL):
        pass


@pytest.mark.parametrize("endpoint", ["", "collector:4317", "grpc://127.0.0.1:4317", "http://", "http://x:y/"])
def test_an_address_that_cannot_be_one_is_refused(endpoint: str) -> None:
    with pytest.raises(CommandError, match="Traces cannot be sent"), traced(endpoint):
        pass


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("http://127.0.0.1:4318/other/path", "http://127.0.0.1:4318/other/path"),
    ],
)
def test_an_address_without_a_path_gets_the_collector_s(endpoint: str, expected: str) -> None:
    assert expected == _traces_url(endpoint)
