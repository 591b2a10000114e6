"""The view of ``antiphon top``: a panel for each model, and a line for the server."""

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from antiphon.cli.scrape import Scrape, ScrapeInterval
from antiphon.console import display
from antiphon.telemetry import catalogue
from antiphon.telemetry.catalogue import Metric

BAR = 24
"""Characters."""
WIDTH = 10
"""Minimum characters of a column, so that the columns of all models are aligned."""
NOTHING = "–"  # noqa: RUF001 (a dash stands for no value)
_SECOND = 1.0
_FINE = 10.0
_MANY = 100
_LATENCIES = (
    ("first token", catalogue.FIRST_TOKEN),
    ("next token", catalogue.INTER_TOKEN),
    ("in the queue", catalogue.QUEUE_TIME),
    ("whole answer", catalogue.END_TO_END),
)


def view(recent: ScrapeInterval, window: ScrapeInterval, *, title: str, problem: str = "") -> RenderableType:
    """Render all models: rates of the ``recent`` interval, latencies and shares of the longer ``window``."""
    panels = [_model(model, recent, window) for model in recent.last.models()]
    foot = Text(problem, "bold red") if problem else _server(recent)
    return Group(Text(title, "dim"), *panels, foot)


def _model(model: str, recent: ScrapeInterval, window: ScrapeInterval) -> Panel:
    now = recent.last
    ready = bool(now.value(catalogue.READY.full_name, model_name=model))
    restarts = int(now.value(catalogue.RESTARTS.full_name, model_name=model))
    state = Text("ready" if ready else "not ready", "not dim green" if ready else "bold red")
    state.append(f" · {restarts} restart{'' if restarts == 1 else 's'}", "yellow" if restarts else "dim")
    body = Table.grid(padding=(0, 4))
    body.add_row(_load(model, recent), _latencies(model, window))
    cache = _cache(model, now, window)
    return Panel(
        Group(body, Text(), cache),
        title=Text(model, "bold"),
        title_align="left",
        subtitle=state,
        subtitle_align="right",
        box=ROUNDED,
        border_style="dim" if ready else "red",
    )


def _load(model: str, recent: ScrapeInterval) -> Table:
    now = recent.last
    table = _table("", "")
    for label, metric in (("running", catalogue.RUNNING), ("waiting", catalogue.WAITING)):
        table.add_row(label, Text(f"{now.value(metric.full_name, model_name=model):.0f}", "bold"))
    for label, metric in (("tokens in", catalogue.PROMPT_TOKENS), ("tokens out", catalogue.GENERATION_TOKENS)):
        table.add_row(label, _rate(recent.rate(metric, model_name=model)))
    for outcome, style in (("completed", ""), ("failed", "red"), ("cancelled", "yellow")):
        rate = recent.rate(catalogue.REQUESTS, model_name=model, outcome=outcome)
        table.add_row(outcome, Text.assemble((str(_rate(rate)), style if rate else "")))
    return table


def _latencies(model: str, window: ScrapeInterval) -> Table:
    table = _table("", "p50", "p99")
    for label, metric in _LATENCIES:
        table.add_row(label, *(_seconds(window.quantile(metric, q, model_name=model)) for q in (0.5, 0.99)))
    return table


def _cache(model: str, now: Scrape, window: ScrapeInterval) -> Table:
    def gauge(metric: Metric) -> float:
        return now.value(metric.full_name, model_name=model)

    used, cached, size = map(gauge, (catalogue.KV_USAGE, catalogue.KV_CACHED, catalogue.KV_SIZE))
    cells = f"{used:.0%} in use, {cached:.0%} cached, {size:.0f} tokens"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_row("KV cache", Text.assemble(bar(used, cached), " ", cells))
    hits = window.share(catalogue.PREFIX_HITS, catalogue.PREFIX_QUERIES, model_name=model)
    grid.add_row("prefix hits", _share(hits, "of prompt tokens"))
    accepted = window.share(catalogue.ACCEPTED_TOKENS, catalogue.DRAFT_TOKENS, model_name=model)
    grid.add_row("drafts", _share(accepted, "accepted"))
    return grid


def bar(used: float, cached: float) -> Text:
    """Draw the used, cached and free shares of the KV cache."""
    n_used = min(BAR, round(used * BAR))
    n_cached = min(BAR - n_used, round(cached * BAR))
    return Text.assemble(
        ("█" * n_used, "cyan"), ("▒" * n_cached, "blue"), ("░" * (BAR - n_used - n_cached), "bright_black")
    )


def _server(recent: ScrapeInterval) -> Text:
    now = recent.last
    statuses = {
        status: recent.increase(catalogue.HTTP_REQUESTS, status=status)
        for status in sorted(now.values(catalogue.HTTP_REQUESTS.full_name, "status"))
    }
    answers = ", ".join(f"{count:.0f} x {status}" for status, count in statuses.items() if count)
    memory = display.size(int(now.value("process_resident_memory_bytes")))
    files = f"{now.value('process_open_fds'):.0f} open files"
    return Text(f"server: {memory}, {files}; recent answers: {answers or 'none'}", "dim")


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=any(titles))
    for at, title in enumerate(titles):
        if at:
            table.add_column(title, justify="right", no_wrap=True, min_width=WIDTH)
        else:
            table.add_column(title, style="dim", no_wrap=True, min_width=WIDTH)
    return table


def _rate(rate: float | None) -> Text:
    return Text(NOTHING if rate is None else f"{rate:.1f}/s" if rate < _MANY else f"{rate:.0f}/s")


def _seconds(seconds: float | None) -> Text:
    if seconds is None:
        return Text(NOTHING)
    if seconds < _SECOND:
        return Text(f"{seconds * 1000:.1f} ms" if seconds < _FINE / 1000 else f"{seconds * 1000:.0f} ms")
    return Text(f"{seconds:.2f} s" if seconds < _FINE else f"{seconds:.0f} s")


def _share(share: float | None, of_what: str) -> Text:
    return Text(NOTHING if share is None else f"{share:.0%} {of_what}")
