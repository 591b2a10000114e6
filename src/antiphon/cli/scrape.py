"""A server's metrics page, and the differences between two of them."""

import math
from collections.abc import Iterator

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from antiphon.console.command_error import CommandError
from antiphon.telemetry import catalogue
from antiphon.telemetry.catalogue import Metric

Labels = frozenset[tuple[str, str]]


class Scrape(Struct, frozen=True):
    """The series of one metrics page."""

    time: float
    """Seconds of a clock of the caller's choice."""
    series: dict[str, list[tuple[Labels, float]]]

    @classmethod
    def parse(cls, text: str, time: float) -> "Scrape":
        """Read a page in Prometheus's text format. Raises :class:`CommandError` for another text or server."""
        series: dict[str, list[tuple[Labels, float]]] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    series.setdefault(sample.name, []).append((frozenset(sample.labels.items()), sample.value))
        except ValueError as error:
            raise CommandError("The server's metrics page cannot be read.", str(error)) from error
        if catalogue.BUILD.full_name not in series:
            raise CommandError("The server has metrics, but not those of Antiphon.")
        return cls(time, series)

    def models(self) -> list[str]:
        """Return the names of the served models, in the server's order."""
        return [dict(labels)["model_name"] for labels, _ in self.series.get(catalogue.READY.full_name, ())]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series of this name that have these labels, among others."""
        return sum(value for _, value in self._select(name, labels))

    def values(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums of the series of this name that have these labels, by another label."""
        sums: dict[str, float] = {}
        for found, value in self._select(name, labels):
            key = dict(found)[label]
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def _select(self, name: str, labels: dict[str, str]) -> Iterator[tuple[Labels, float]]:
        return (entry for entry in self.series.get(name, ()) if labels.items() <= entry[0])


class ScrapeInterval(Struct, frozen=True):
    """The interval between two pages, or from the server's start when ``first`` is None."""

    first: Scrape | None
    last: Scrape

    def increase(self, metric: Metric | str, **labels: str) -> float:
        """Return the growth of a counter. A counter that fell has started again from 0, with its server."""
        name = metric if isinstance(metric, str) else metric.full_name
        after = self.last.value(name, **labels)
        before = self.first.value(name, **labels) if self.first else 0.0
        return after - before if after >= before else after

    def rate(self, metric: Metric, **labels: str) -> float | None:
        """Return the growth of a counter per second, or None when no time has passed."""
        seconds = self.last.time - self.first.time if self.first else 0.0
        return self.increase(metric, **labels) / seconds if seconds > 0 else None

    def share(self, part: Metric, whole: Metric, **labels: str) -> float | None:
        """Return the growth of ``part`` as a share of that of ``whole``, or None when ``whole`` did not grow."""
        total = self.increase(whole, **labels)
        return self.increase(part, **labels) / total if total else None

    def quantile(self, metric: Metric, q: float, **labels: str) -> float | None:
        """Estimate a quantile of a histogram's new values, or return None when there are none.

        Values count as evenly spread within a bucket; a quantile in the bucket without an upper bound is the last
        bound. Source: PromQL's ``histogram_quantile``.
        """
        name = f"{metric.full_name}_bucket"
        bounds = sorted(self.last.values(name, "le", **labels), key=float)
        counts = [self.increase(name, le=bound, **labels) for bound in bounds]
        if not counts or not counts[-1]:
            return None
        rank, below, lower = q * counts[-1], 0.0, 0.0
        for bound, count in zip(map(float, bounds), counts, strict=True):
            if count >= rank and count > below:
                return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
            below, lower = count, bound
        return lower
