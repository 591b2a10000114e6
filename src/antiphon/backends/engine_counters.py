"""What engines on this machine count, for the metrics and the health page. Other backends have no such counters."""

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
        """What is counted and measured since the engine's first start."""

    @property
    def preparing(self) -> PoolLoad:
        """The requests that processes prepare now, and the requests that wait for a process."""


def engine_readings(engines: Mapping[str, EngineCounters]) -> Iterator[Reading]:
    """Read the counters of all engines; ``engines`` has them by the name of the model."""
    for model, engine in engines.items():
        report = engine.report
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
