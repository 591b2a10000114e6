"""The values of the metrics, and the page with them for Prometheus.

The server's counts are kept here; the engines' counts are read when the page is requested. Reference: Prometheus,
exposition formats; OpenMetrics 1.0.
"""

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from antiphon import __version__
from antiphon.telemetry.catalogue import BUILD, METRICS, Metric
from antiphon.telemetry.distribution import Distribution

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text"

_openmetrics: Callable[..., bytes] = openmetrics.generate_latest  # the library has no types for it

Labels = tuple[str, ...]
_BY_NAME: Final = {metric.name: metric for metric in METRICS}


class Reading(Struct, frozen=True):
    """A metric's value for one set of labels."""

    metric: Metric
    labels: Labels
    value: float | Distribution


class Page(Struct, frozen=True):
    """The answer to a scraper."""

    body: bytes
    content_type: str


class Metrics:
    """All metrics of one server. They are changed on one event loop; any thread may make the page."""

    def __init__(self, readings: Callable[[], Iterable[Reading]] = tuple) -> None:
        """``readings`` returns the values that are counted elsewhere; it is called for each page."""
        self._readings = readings
        self._counts: dict[tuple[str, Labels], float] = {}
        """By the metric's name and the labels: a string caches its hash, a Metric does not."""
        self._distributions: dict[tuple[str, Labels], Distribution] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(self._all))
        ProcessCollector(registry=self._registry)
        self.count(BUILD, __version__, platform.python_version())

    def expect(self, metric: Metric, *labels: str) -> None:
        """Add a series with the value 0: Prometheus computes a rate only from a first value on."""
        if metric.kind == "histogram":
            self._distribution(metric, labels)
        else:
            self.count(metric, *labels, by=0.0)

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Add ``by`` to a counter or gauge. ``labels`` are in the metric's order."""
        assert len(metric.labels) == len(labels), f"{metric.labels} == {labels}"
        series = metric.name, labels
        self._counts[series] = self._counts.get(series, 0.0) + by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        self._distribution(metric, labels).observe(value)

    def page(self, accept: str = "") -> Page:
        """Return the page in the format that an Accept header asks for. It takes milliseconds: call it in a thread."""
        if OPENMETRICS in accept:
            # Without ALLOWUTF8 the library writes underscores for the colons in names.
            body = _openmetrics(self._registry, escaping=openmetrics.ALLOWUTF8, version="1.0.0")
            return Page(body, openmetrics.CONTENT_TYPE_LATEST)
        return Page(generate_latest(self._registry), TEXT)

    def _distribution(self, metric: Metric, labels: Labels) -> Distribution:
        assert len(metric.labels) == len(labels), f"{metric.labels} == {labels}"
        series = metric.name, labels
        distribution = self._distributions.get(series)
        if distribution is None:
            distribution = self._distributions[series] = Distribution.over(metric.bounds)
        return distribution

    def _all(self) -> Iterator[Reading]:
        # Copies, because the event loop may add keys meanwhile.
        for (name, labels), count in list(self._counts.items()):
            yield Reading(_BY_NAME[name], labels, count)
        for (name, labels), distribution in list(self._distributions.items()):
            yield Reading(_BY_NAME[name], labels, distribution)
        yield from self._readings()


class _Families(Collector):
    """Converts the readings to the library's families: one for every metric, in the order of the catalogue."""

    def __init__(self, readings: Callable[[], Iterable[Reading]]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        by_metric: dict[Metric, list[Reading]] = defaultdict(list)
        for reading in self._readings():
            by_metric[reading.metric].append(reading)
        for metric in METRICS:
            yield _family(metric, by_metric[metric])


def _family(metric: Metric, readings: Iterable[Reading]) -> Family:
    name = metric.full_name
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
        for reading in readings:
            assert isinstance(reading.value, Distribution), f"{name} is a histogram"
            histogram.add_metric(reading.labels, _buckets(reading.value), reading.value.total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name, metric.help, labels=metric.labels)
    for reading in readings:
        assert not isinstance(reading.value, Distribution), f"{name} is a number"
        family.add_metric(reading.labels, reading.value)
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Return each bound with the number of values up to it."""
    cumulative = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, distribution.bounds), "+Inf"), distribution.copy().counts, strict=True):
        cumulative += count
        buckets.append((bound, cumulative))
    return buckets
