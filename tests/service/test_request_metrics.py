import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from antiphon.routing.router import Router
from antiphon.service.records import RequestRecord
from antiphon.service.request_metrics import RequestMetrics
from tests.scripted_engine import ScriptedEngine, scripted_backend

RECORD = RequestRecord(
    completion_id="c1",
    model="m",
    project="proj_secret",
    end_user=None,
    stream=True,
    requested_service_tier=None,
    service_tier="flex",
    outcome="completed",
    error=None,
    prompt_tokens=4,
    completion_tokens=5,
    cached_tokens=2,
    reasoning_tokens=3,
    accepted_prediction_tokens=0,
    rejected_prediction_tokens=0,
    finish_reasons=["stop", "length"],
    time_to_first_token=0.25,
    duration=2.0,
)


class Harness:
    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        backend = scripted_backend(self.engine)
        self.request_metrics = RequestMetrics(Router({"m": [backend]}), {"m": backend})

    def page(self) -> str:
        return self.request_metrics.metrics.page().body.decode()

    def value(self, name: str, **labels: str) -> float | None:
        found = {
            sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name == f"antiphon:{name}" and sample.labels == labels
        }
        assert len(found) <= 1, found
        return found.pop() if found else None


def finished(**changes: object) -> Harness:
    harness = Harness()
    harness.request_metrics.record_end(msgspec.structs.replace(RECORD, **changes))
    return harness


def test_a_completed_request_is_counted_with_its_durations_by_tier() -> None:
    harness = finished()
    assert 1 == harness.value("requests_total", model_name="m", outcome="completed")
    assert 2.0 == harness.value("e2e_request_latency_seconds_sum", model_name="m", service_tier="flex")


@pytest.mark.parametrize(("expected", "tier"), [("flex", "flex"), ("default", None)])
def test_time_to_first_token_is_recorded_at_the_first_chunk(expected: str, tier: str | None) -> None:
    harness = Harness()
    harness.request_metrics.record_first_chunk("m", 0.25, tier)
    assert 0.25 == harness.value("time_to_first_token_seconds_sum", model_name="m", service_tier=expected)


def test_completed_request_is_counted_with_tokens_and_finish_reasons() -> None:
    harness = finished()
    assert (4, 5, 3) == (
        harness.value("request_prompt_tokens_sum", model_name="m"),
        harness.value("request_generation_tokens_sum", model_name="m"),
        harness.value("reasoning_tokens_total", model_name="m"),
    )
    assert (1, 1) == (
        harness.value("request_success_total", model_name="m", finished_reason="stop"),
        harness.value("request_success_total", model_name="m", finished_reason="length"),
    )


def test_failed_request_is_counted_by_its_error_without_latency() -> None:
    harness = finished(outcome="failed", error="rate_limit_exceeded", time_to_first_token=None)
    assert 1 == harness.value("requests_total", model_name="m", outcome="failed")
    assert 1 == harness.value("request_errors_total", model_name="m", error="rate_limit_exceeded")
    assert None is harness.value("e2e_request_latency_seconds_count", model_name="m", service_tier="flex")


def test_cancelled_request_is_counted_without_latency() -> None:
    harness = finished(outcome="cancelled", service_tier=None)
    assert 1 == harness.value("requests_total", model_name="m", outcome="cancelled")
    assert 0 == harness.value("e2e_request_latency_seconds_count", model_name="m", service_tier="default")


def test_unknown_model_adds_no_label() -> None:
    harness = finished(model="what a client wrote", outcome="failed", error="model_not_found")
    assert 1 == harness.value("requests_total", model_name="unknown", outcome="failed")
    assert "what a client wrote" not in harness.page()


def test_the_page_names_no_project_and_no_request() -> None:
    page = finished().page()
    assert (False, False) == ("proj_secret" in page, "c1" in page)


def test_engine_ready_comes_from_the_router() -> None:
    harness = Harness()
    assert 1 == harness.value("engine_ready", model_name="m")
    harness.engine.ready = False
    assert 0 == harness.value("engine_ready", model_name="m")


def test_the_engines_counters_are_on_the_page() -> None:
    harness = Harness()
    harness.engine.restarts = 2
    assert 2 == harness.value("engine_restarts_total", model_name="m")


def test_finished_answers_to_partly_enforced_schemas_are_counted_by_validity() -> None:
    assert 1 == finished(validity="invalid").value("unenforced_answers_total", model_name="m", validity="invalid")
    assert 0 == finished().value("unenforced_answers_total", model_name="m", validity="invalid")
