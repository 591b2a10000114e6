from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from antiphon import __version__
from antiphon.telemetry.catalogue import (
    BUILD,
    FIRST_TOKEN,
    INTER_TOKEN,
    METRICS,
    REASONING_TOKENS,
    REQUEST_PROMPT_TOKENS,
    RESTARTS,
    RUNNING,
)
from antiphon.telemetry.distribution import Distribution
from antiphon.telemetry.metrics import Metrics, Reading

parse_openmetrics: Callable[[str], Iterable[Metric]] = openmetrics.text_string_to_metric_families
Series = dict[tuple[str, tuple[str, ...]], float]


def series(metrics: Metrics) -> Series:
    text = metrics.page().body.decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def test_counts_are_on_the_page() -> None:
    metrics = Metrics()
    metrics.count(REASONING_TOKENS, "m", by=3)
    metrics.count(REASONING_TOKENS, "m")
    assert 4 == series(metrics)["antiphon:reasoning_tokens_total", ("m",)]


def test_buckets_of_the_page_are_cumulative() -> None:
    metrics = Metrics()
    for value in (1, 2, 3, 10**9):
        metrics.observe(REQUEST_PROMPT_TOKENS, value, "m")
    page = series(metrics)
    assert [1, 2, 3, 4] == [
        page["antiphon:request_prompt_tokens_bucket", labels]
        for labels in (("1.0", "m"), ("2.0", "m"), ("5.0", "m"), ("+Inf", "m"))
    ]
    assert (4, 6 + 10**9) == (
        page["antiphon:request_prompt_tokens_count", ("m",)],
        page["antiphon:request_prompt_tokens_sum", ("m",)],
    )


def test_readings_are_taken_when_the_page_is_made() -> None:
    distribution = Distribution.over((0.5, 1.0))
    readings = [Reading(RUNNING, ("m",), 2), Reading(INTER_TOKEN, ("m",), distribution)]
    metrics = Metrics(lambda: readings)
    distribution.observe(0.75)
    readings.append(Reading(RESTARTS, ("m",), 1))
    page = series(metrics)
    assert (2, 1) == (page["antiphon:num_requests_running", ("m",)], page["antiphon:engine_restarts_total", ("m",)])
    assert [0, 1, 1] == [
        page["antiphon:inter_token_latency_seconds_bucket", (bound, "m")] for bound in ("0.5", "1.0", "+Inf")
    ]


def test_expected_series_begins_at_0_and_keeps_its_value() -> None:
    metrics = Metrics()
    metrics.expect(REASONING_TOKENS, "m")
    metrics.expect(FIRST_TOKEN, "m", "default")
    assert 0 == series(metrics)["antiphon:reasoning_tokens_total", ("m",)]
    assert 0 == series(metrics)["antiphon:time_to_first_token_seconds_count", ("m", "default")]
    metrics.count(REASONING_TOKENS, "m")
    metrics.expect(REASONING_TOKENS, "m")
    assert 1 == series(metrics)["antiphon:reasoning_tokens_total", ("m",)]


def test_every_metric_is_on_the_page_before_it_has_a_value() -> None:
    families = {family.name for family in parse_text(Metrics().page().body.decode())}
    assert set() == {metric.full_name.removesuffix("_total") for metric in METRICS} - {
        name.removesuffix("_total") for name in families
    }


def test_page_has_the_version_and_the_resources_of_the_process() -> None:
    page = series(Metrics())
    assert [__version__] == [labels[1] for name, labels in page if name == f"antiphon:{BUILD.name}"]
    assert page["process_resident_memory_bytes", ()] > 0
    assert page["process_open_fds", ()] > 0


def test_both_formats_have_the_same_series() -> None:
    metrics = Metrics(lambda: [Reading(RUNNING, ("m",), 2), Reading(RUNNING, ('a "quoted"\nname',), 1)])
    metrics.observe(FIRST_TOKEN, 0.25, "m", "default")
    metrics.observe(FIRST_TOKEN, 0.5, "m", "flex")
    page = metrics.page("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2")
    told = {
        (sample.name, tuple(sample.labels.values()))
        for family in parse_openmetrics(page.body.decode())
        for sample in family.samples
    }
    assert ("application/openmetrics-text", set(series(metrics))) == (page.content_type.partition(";")[0], told)


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=abc", "application/json", "é;;=,,"])
def test_any_other_accept_header_gets_plain_text(accept: str) -> None:
    assert "text/plain; version=0.0.4; charset=utf-8" == Metrics().page(accept).content_type


def test_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(AssertionError, match="service_tier"):
        Metrics().observe(FIRST_TOKEN, 1, "m")
    with pytest.raises(AssertionError, match="model_name"):
        Metrics().count(REASONING_TOKENS)


def test_nothing_is_registered_for_the_whole_process() -> None:
    Metrics()
    assert [] == [family.name for family in REGISTRY.collect() if family.name.startswith("antiphon")]


def test_a_page_can_be_made_while_series_are_added() -> None:
    metrics = Metrics()
    with ThreadPoolExecutor(1) as pool:
        pages = [pool.submit(metrics.page) for _ in range(5)]
        for index in range(2000):
            metrics.count(REASONING_TOKENS, f"m{index}")
        assert [True] * 5 == [bool(page.result().body) for page in pages]
    assert 2000 == sum(name == "antiphon:reasoning_tokens_total" for name, _ in series(metrics))
