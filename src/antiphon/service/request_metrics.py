"""The metrics of a service: counts of requests, and readings of backends and engines for the metrics page."""

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from antiphon.backends.backend import Validity
from antiphon.backends.engine_counters import EngineCounters, engine_readings
from antiphon.protocol.validation import shorten
from antiphon.routing.router import Router
from antiphon.service.records import RequestRecord
from antiphon.telemetry import catalogue
from antiphon.telemetry.metrics import Metrics, Reading
from antiphon.telemetry.request_line import Outcome

UNKNOWN: Final = "unknown"
"""The label of all models that are not served: clients must not be able to add labels."""
DEFAULT_TIER: Final = "default"
"""The label of answers without a tier."""


class RequestMetrics:
    """The metrics of one service."""

    def __init__(self, router: Router, engines: Mapping[str, EngineCounters]) -> None:
        self._router = router
        self._engines = engines
        self._models = {shorten(name): name for name in router} | {name: name for name in router}
        """Names of models by their shortened form in records, and by themselves."""
        self.metrics: Final = Metrics(self._readings)
        for model in router:
            self._expect(model)

    def record_first_chunk(self, model: str, seconds: float, service_tier: str | None) -> None:
        """Record an answer's first chunk, ``seconds`` after the request."""
        self.metrics.observe(
            catalogue.FIRST_TOKEN, seconds, self._models.get(model, UNKNOWN), service_tier or DEFAULT_TIER
        )

    def record_end(self, record: RequestRecord) -> None:
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
        for validity in get_args(Validity):
            self.metrics.expect(catalogue.UNENFORCED_ANSWERS, model, validity)
        for reason in ("stop", "length"):
            self.metrics.expect(catalogue.REQUEST_SUCCESS, model, reason)
        tokens = (catalogue.REASONING_TOKENS, catalogue.REQUEST_PROMPT_TOKENS, catalogue.REQUEST_GENERATION_TOKENS)
        for metric in tokens:
            self.metrics.expect(metric, model)
        for metric in (catalogue.FIRST_TOKEN, catalogue.END_TO_END):
            self.metrics.expect(metric, model, DEFAULT_TIER)

    def _completed(self, record: RequestRecord, model: str) -> None:
        if record.validity is not None:
            self.metrics.count(catalogue.UNENFORCED_ANSWERS, model, record.validity)
        for reason in record.finish_reasons:
            self.metrics.count(catalogue.REQUEST_SUCCESS, model, reason)
        self.metrics.count(catalogue.REASONING_TOKENS, model, by=record.reasoning_tokens or 0)
        self.metrics.observe(catalogue.REQUEST_PROMPT_TOKENS, record.prompt_tokens or 0, model)
        self.metrics.observe(catalogue.REQUEST_GENERATION_TOKENS, record.completion_tokens or 0, model)

    def _readings(self) -> Iterator[Reading]:
        for model in self._router:
            yield Reading(catalogue.READY, (model,), float(self._router.status(model).ready))
        yield from engine_readings(self._engines)
