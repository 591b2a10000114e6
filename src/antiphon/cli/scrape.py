"""A server's metrics page at two moments, and what happened between them."""

import math
from collections.abc import Iterator

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from antiphon.console.command_error import CommandError
from antiphon.telemetry import catalogue
from antiphon.telemetry.catalogue import Metric

Labels = frozenset[tuple[str, str]]


class Scrape(Struct, frozen=True):
    """Every series of a page."""

    time: float
    """Seconds, of any clock."""
    series: dict[str, list[tuple[Labels, float]]]

    @classmethod
    def parse(cls, text: str, time: float) -> "Scrape":
        """Read a page in Prometheus's text format. Raises :class:`CommandError` when it is none, or not one of ours."""
        series: dict[str, list[tuple[Labels, float]]] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    series.setdefault(sample.name, []).append((frozenset(sample.labels.items()), sample.value))
        except ValueError as error:
            raise CommandError("What the server calls its metrics cannot be read.", str(error)) from error
        if catalogue.BUILD.full_name not in series:
            raise CommandError("The server has metrics, but not those of Antiphon.")
        return cls(time, series)

    def models(self) -> list[str]:
        """Name the served models, in the server's order."""
        return [dict(labels)["model_name"] for labels, _ in self.series.get(catalogue.READY.full_name, ())]

    def value(self, name: str, **labels: str) -> float:
        """Sum the series of this name whose labels are these, and any others."""
        return sum(value for _, value in self._select(name, labels))

    def values(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Sum them by another label."""
        sums: dict[str, float] = {}
        for found, value in self._select(name, labels):
            key = dict(found)[label]
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def _select(self, name: str, labels: dict[str, str]) -> Iterator[tuple[Labels, float]]:
        return (entry for entry in self.series.get(name, ()) if labels.items() <= entry[0])


class Span(Struct, frozen=True):
    """What a server counted from one page to a later one; from its start where there is no first."""

    first: Scrape | None
    last: Scrape

    def increase(self, metric: Metric | str, **labels: str) -> float:
        """Tell by how much a counter has grown. One that fell began anew, as that of a server started again."""
        name = metric if isinstance(metric, str) else metric.full_name
        after = self.last.value(name, **labels)
        before = self.first.value(name, **labels) if self.first else 0.0
        return after - before if after >= before else after

    def rate(self, metric: Metric, **labels: str) -> float | None:
        """Tell by how much a counter has grown each second; None where no time has passed."""
        seconds = self.last.time - self.first.time if self.first else 0.0
        return self.increase(metric, **labels) / seconds if seconds > 0 else None

    def share(self, part: Metric, whole: Metric, **labels: str) -> float | None:
        """Tell how much of one counter's growth another one's is; None where it did not grow."""
        total = self.increase(whole, **labels)
        return self.increase(part, **labels) / total if total else None

    def quantile(self, metric: Metric, q: float, **labels: str) -> float | None:
        """Estimate a quantile of what a histogram gained, as PromQL's ``histogram_quantile``; None where nothing was.

        Within a bucket values are taken to lie evenly; behind the last bound it is that bound.
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
