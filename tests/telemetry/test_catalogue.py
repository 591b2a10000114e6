import re

from antiphon.telemetry.catalogue import METRICS


def test_names_are_unique_and_of_the_form_that_prometheus_takes() -> None:
    names = [metric.full_name for metric in METRICS]
    assert [] == [name for name in names if not re.fullmatch(r"antiphon:[a-z0-9_]+", name)]
    assert len(names) == len(set(names))


def test_only_counters_get_the_suffix_of_a_total() -> None:
    assert [True] * len(METRICS) == [
        metric.full_name == f"antiphon:{metric.name}_total"
        if metric.kind == "counter"
        else metric.full_name == f"antiphon:{metric.name}"
        for metric in METRICS
    ]


def test_no_metric_has_a_label_for_projects_keys_or_requests() -> None:
    assert {
        *("model_name", "outcome", "finished_reason", "error", "service_tier"),
        *("handler", "method", "status", "validity", "version", "python_version"),
    } == {label for metric in METRICS for label in metric.labels}


def test_bounds_ascend() -> None:
    assert [] == [metric.name for metric in METRICS if list(metric.bounds) != sorted(set(metric.bounds))]


def test_every_metric_has_a_help_sentence() -> None:
    assert [] == [metric.name for metric in METRICS if not re.fullmatch(r"[A-Z0-9].+\.", metric.help)]
