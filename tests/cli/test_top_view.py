import io
import re

import msgspec
import pytest
from rich.console import Console

from antiphon.cli.scrape import Scrape, ScrapeInterval
from antiphon.cli.top_view import BAR, bar, view
from antiphon.routing.router import Router
from antiphon.service.request_metrics import RequestMetrics
from antiphon.telemetry import catalogue
from tests.scripted_engine import STATS, ScriptedEngine, scripted_backend


class Harness:
    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        backend = scripted_backend(self.engine)
        self.request_metrics = RequestMetrics(Router({"m": [backend]}), {"m": backend})
        self.first = self.scrape(0.0)

    def scrape(self, time: float) -> Scrape:
        return Scrape.parse(self.request_metrics.metrics.page().body.decode(), time)

    def shown(self, problem: str = "") -> str:
        interval = ScrapeInterval(self.first, self.scrape(2.0))
        console = Console(file=io.StringIO(), width=80)
        console.print(view(interval, interval, title="http://there", problem=problem))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()


def test_panel_shows_queue_rates_and_caches() -> None:
    harness = Harness()
    harness.engine.stats = msgspec.structs.replace(
        STATS,
        running=12,
        waiting=5,
        prompt_tokens=1000,
        cached_tokens=250,
        generated_tokens=90,
        kv_cells_used=768,
        kv_cells_cached=256,
        draft_tokens=10,
        accepted_tokens=9,
    )
    shown = harness.shown()
    for pattern in (
        r"─ m ─",
        r"running +12 ",
        r"waiting +5 ",
        r"tokens in +500/s",
        r"tokens out +45\.0/s",
        r"50% in use, 25% cached, 1024 tokens",
        r"prefix hits +25% of prompt tokens",
        r"drafts +90% accepted",
        r"ready · 0 restarts",
    ):
        assert re.search(pattern, shown), f"{pattern}\n{shown}"


def test_latencies_are_shown_in_units_that_fit() -> None:
    harness = Harness()
    for metric, seconds in ((catalogue.FIRST_TOKEN, 0.0005), (catalogue.END_TO_END, 30.0)):
        harness.request_metrics.metrics.observe(metric, seconds, "m", "default")
    harness.engine.latencies.queue_time["flex"].observe(1.25)
    shown = harness.shown()
    for pattern in (r"first token +0\.5 ms +1\.0 ms", r"in the queue +1\.25 s", r"whole answer +25 s +30 s"):
        assert re.search(pattern, shown), f"{pattern}\n{shown}"
    assert re.search(r"next token +– +–", shown), shown  # noqa: RUF001 (a dash stands for no value)


def test_panel_shows_restarts_and_readiness() -> None:
    harness = Harness()
    harness.engine.ready, harness.engine.restarts, harness.engine.stats = False, 1, None
    assert "not ready · 1 restart " in harness.shown()


def test_last_line_shows_the_servers_memory_files_and_answers() -> None:
    harness = Harness()
    harness.request_metrics.metrics.count(catalogue.HTTP_REQUESTS, "/health", "GET", "503", by=2)
    harness.request_metrics.metrics.count(catalogue.HTTP_REQUESTS, "/metrics", "GET", "200")
    assert re.search(r"server: \S+ MiB, \d+ open files; recent answers: 1 x 200, 2 x 503", harness.shown())


def test_problem_replaces_the_last_line() -> None:
    shown = Harness().shown(problem="It cannot be reached.")
    assert (True, False) == ("It cannot be reached." in shown, "server:" in shown)


@pytest.mark.parametrize(
    ("used", "cached", "expected"),
    [(0.0, 0.0, (0, 0)), (0.5, 0.25, (12, 6)), (1.0, 0.5, (24, 0)), (0.99, 0.01, (24, 0))],
)
def test_a_bar_is_never_longer_than_the_whole(used: float, cached: float, expected: tuple[int, int]) -> None:
    text = bar(used, cached).plain
    assert (*expected, BAR) == (text.count("█"), text.count("▒"), len(text))
