"""The counters of engines on this machine, for the metrics and the health page. Other backends have none."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from antiphon.engine.interface import EngineReport, EngineStats
from antiphon.isolation.process_pool import PoolLoad
from antiphon.telemetry import catalogue
from antiphon.telemetry.catalogue import Metric
from antiphon.telemetry.distribution import Distribution
from antiphon.telemetry.metrics import Reading


class EngineCounters(Protocol):
    """The counters of one engine."""

    @property
    def report(self) -> EngineReport:
        """Counts and measurements since the engine's first start."""

    @property
    def preparing(self) -> PoolLoad:
        """The numbers of requests that are rendered now and that wait for a process."""


def engine_readings(engines: Mapping[str, EngineCounters]) -> Iterator[Reading]:
    """Yield the counters of all engines as readings; ``engines`` maps names of models to engines."""
    for model, engine in engines.items():
        report = engine.report
        yield Reading(catalogue.RESTARTS, (model,), report.restarts)
        yield Reading(catalogue.INTER_TOKEN, (model,), report.inter_token_latency)
        for tier, distribution in report.queue_time.items():
            yield Reading(catalogue.QUEUE_TIME, (model, tier), distribution)
        if report.stats is not None:
            yield from _stats_readings(model, report.stats)


def _stats_readings(model: str, stats: EngineStats) -> Iterator[Reading]:
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
