"""What the service tells the metrics: each request at its end, and what engines count when the page is asked for."""

from collections.abc import Iterator
from typing import Final, get_args

from antiphon.backends.backend import Backend
from antiphon.backends.router import Router
from antiphon.engine.interface import EngineStats
from antiphon.protocol.validation import shorten
from antiphon.service.records import RequestRecord
from antiphon.telemetry import catalogue
from antiphon.telemetry.catalogue import Metric
from antiphon.telemetry.distribution import Distribution
from antiphon.telemetry.metrics import Metrics, Reading
from antiphon.telemetry.request_line import Outcome

UNKNOWN: Final = "unknown"
"""Stands for every model that is not served: what clients write must not become labels."""
DEFAULT_TIER: Final = "default"
"""Where an answer names none."""


class Measurement:
    """The metrics of one service."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._models = {shorten(name): name for name in router} | {name: name for name in router}
        """By what records call them, and by themselves."""
        self.metrics: Final = Metrics(self._readings)
        for model in router:
            self._expect(model)

    def began(self, model: str, seconds: float, service_tier: str | None) -> None:
        """Take note of an answer's first chunk, ``seconds`` after the request."""
        self.metrics.observe(
            catalogue.FIRST_TOKEN, seconds, self._models.get(model, UNKNOWN), service_tier or DEFAULT_TIER
        )

    def finished(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        metrics, model = self.metrics, self._models.get(record.model, UNKNOWN)
        metrics.count(catalogue.REQUESTS, model, record.outcome)
        if record.error is not None:
            metrics.count(catalogue.REQUEST_ERRORS, model, record.error)
        if record.outcome == "completed":
            metrics.observe(catalogue.END_TO_END, record.duration, model, record.service_tier or DEFAULT_TIER)
            self._completed(record, model)

    def _expect(self, model: str) -> None:
        for outcome in get_args(Outcome):
            self.metrics.expect(catalogue.REQUESTS, model, outcome)
        for reason in ("stop", "length"):
            self.metrics.expect(catalogue.REQUEST_SUCCESS, model, reason)
        tokens = (catalogue.REASONING_TOKENS, catalogue.REQUEST_PROMPT_TOKENS, catalogue.REQUEST_GENERATION_TOKENS)
        for metric in tokens:
            self.metrics.expect(metric, model)
        for metric in (catalogue.FIRST_TOKEN, catalogue.END_TO_END):
            self.metrics.expect(metric, model, DEFAULT_TIER)

    def _completed(self, record: RequestRecord, model: str) -> None:
        for reason in record.finish_reasons:
            self.metrics.count(catalogue.REQUEST_SUCCESS, model, reason)
        self.metrics.count(catalogue.REASONING_TOKENS, model, by=record.reasoning_tokens or 0)
        self.metrics.observe(catalogue.REQUEST_PROMPT_TOKENS, record.prompt_tokens or 0, model)
        self.metrics.observe(catalogue.REQUEST_GENERATION_TOKENS, record.completion_tokens or 0, model)

    def _readings(self) -> Iterator[Reading]:
        for model in self._router:
            yield from _engine(model, self._router.backend(model))


def _engine(model: str, backend: Backend) -> Iterator[Reading]:
    report = backend.report
    yield Reading(catalogue.READY, (model,), float(backend.ready))
    yield Reading(catalogue.RESTARTS, (model,), report.restarts)
    yield Reading(catalogue.INTER_TOKEN, (model,), report.inter_token_latency)
    for tier, distribution in report.queue_time.items():
        yield Reading(catalogue.QUEUE_TIME, (model, tier), distribution)
    if report.stats is not None:
        yield from _counted(model, report.stats)


def _counted(model: str, stats: EngineStats) -> Iterator[Reading]:
    values: dict[Metric, float | Distribution] = {
        catalogue.RUNNING: stats.running,
        catalogue.WAITING: stats.waiting,
        catalogue.TOKENS_PER_STEP: stats.tokens_per_step,
        catalogue.SEQUENCES_PER_STEP: stats.sequences_per_step,
        catalogue.PREEMPTIONS: stats.preemptions,
        catalogue.PROMPT_TOKENS: stats.prompt_tokens,
        catalogue.PROMPT_TOKENS_CACHED: stats.cached_tokens,
        catalogue.GENERATION_TOKENS: stats.generated_tokens,
        catalogue.KV_USAGE: _share(stats.kv_cells_used - stats.kv_cells_cached, stats.kv_cells_total),
        catalogue.KV_CACHED: _share(stats.kv_cells_cached, stats.kv_cells_total),
        catalogue.KV_SIZE: stats.kv_cells_total,
        catalogue.PREFIX_QUERIES: stats.prompt_tokens,
        catalogue.PREFIX_HITS: stats.cached_tokens,
        catalogue.DRAFTS: stats.drafts,
        catalogue.DRAFT_TOKENS: stats.draft_tokens,
        catalogue.ACCEPTED_TOKENS: stats.accepted_tokens,
    }
    for metric, value in values.items():
        yield Reading(metric, (model,), value)


def _share(cells: int, total: int) -> float:
    return cells / total if total else 0.0
