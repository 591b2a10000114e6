"""`make bench`: compares both servers in one run, interleaved round by round; figures are the medians of the rounds.

The peer is compiled and started only if a row is compared with it. Both servers run during the whole run, with the same
GGUF file, threads and KV cells; one is idle while the other is measured. A row that fails shows its error, and the
others are measured. The results are written after every row. Every row is measured once, then again while there are
rounds and time.
"""

import argparse
import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from antiphon.engine.models.llama import physical_cores
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.load_testing.figures import Figure
from antiphon.load_testing.load import LoadError, ask_all
from antiphon.load_testing.workloads import QUICK, Prompts, Sizes, free_text
from bench import (
    report,
    rows_api,
    rows_decode,
    rows_prediction,
    rows_prompts,
    rows_start,
    step_cost,
    structured,
    tool_calls,
)
from bench.bare import BareLoop
from bench.report import Results
from bench.rows import Found, Round, Row, Site
from bench.servers import Capacity, Server, ServerError, antiphon, llama_server, served_model

CTX_SIZE: Final = 32768
"""KV cells of both servers. The peer shares no prefixes, so 16 requests of 1,500 tokens need most of them."""
ROW_TIMEOUT: Final = 900.0
"""Seconds for one round of one row."""
MINUTES: Final = 28.0
WIDTH: Final = 150
"""Columns of the table without a terminal."""
WHEEL_AIMS: Final = {1: 0.97, 4: 0.97, 16: 0.97}
"""Minimum ratio to the wheel's decoding rate, by the number of streams."""
WHEEL_SHARED_AIM: Final = 0.5
WHEEL_BATCH: Final = 8
_WARM_UP: Final = 4

Write = Callable[[Results], object]


class Plan(Struct, frozen=True):
    """The rounds and the time of a run."""

    rounds: int
    seconds: float
    """A round does not begin if it would end later than this."""


def wheel_rows(sizes: Sizes) -> list[Row]:
    """Return the rows that are measured against the prebuilt server."""
    return [*rows_decode.rows(WHEEL_AIMS), rows_prompts.shared_row(sizes, WHEEL_SHARED_AIM), step_cost.row(WHEEL_BATCH)]


def all_rows(sizes: Sizes) -> list[Row]:
    """Return all rows, in the order of the table."""
    return [
        *rows_decode.rows(),
        rows_decode.neighbour_row(),
        *rows_prompts.rows(sizes),
        *structured.rows(),
        tool_calls.row(),
        rows_prediction.row(sizes.predicted),
        rows_api.row(quick=sizes == QUICK),
        step_cost.row(),
        rows_start.row(),
    ]


def chosen(rows: list[Row], only: Sequence[str]) -> list[Row]:
    """Return the rows that ``only`` names, or all; ``decode`` names ``decode-1``, ``decode-4`` and so on."""
    found = [row for row in rows if not only or {row.name, row.name.partition("-")[0]} & set(only)]
    if not found:
        raise SystemExit(f"No row is called {', '.join(only)}. Rows: {', '.join(row.name for row in rows)}")
    return found


def needs_peer(rows: Sequence[Row]) -> bool:
    """Return whether a row is compared with the peer, whose compilation takes minutes."""
    return any(row.needs_peer for row in rows)


class Run:
    """Measures the rows and collects the figures."""

    def __init__(self, site: Site, rows: list[Row], results: Results, write: Write) -> None:
        self._site = site
        self._rows = rows
        self._results = results
        self._write = write
        self._figures = {
            row.name: [Figure(line.work, line.unit, line.baseline, line.aim) for line in row.lines] for row in rows
        }
        self._seconds: dict[str, float] = {}
        """Seconds of the last round of each row."""
        results.figures = [figure for row in rows for figure in self._figures[row.name]]

    async def measure(self, plan: Plan, progress: Progress) -> None:
        """Measure every row once, and again while there are rounds and time."""
        start = time.monotonic()
        task = progress.add_task("measuring", total=sum(min(plan.rounds, row.max_rounds) for row in self._rows))
        for number in range(plan.rounds):
            for row in self._rows:
                if number >= row.max_rounds:
                    continue
                expected = time.monotonic() - start + self._seconds.get(row.name, 0.0)
                if number == 0 or expected < plan.seconds:
                    progress.update(task, description=f"round {number + 1}: {row.name}")
                    await self._measure(row, number)
                progress.advance(task)
        self._results.unfinished = ""
        self._write(self._results)

    async def _measure(self, row: Row, number: int) -> None:
        figures, start = self._figures[row.name], time.monotonic()
        try:
            found = await self._round(row, number)
            for figure, (measured, baseline) in zip(figures, found, strict=True):
                figure.add(measured, baseline)
        except (LoadError, ServerError, TimeoutError) as error:
            _fail(figures, str(error) or f"not done within {ROW_TIMEOUT:.0f} s")
        except Exception as error:  # noqa: BLE001 (an error of one row must not end the run)
            _fail(figures, f"{type(error).__name__}: {error}")
        self._seconds[row.name] = time.monotonic() - start
        self._results.unfinished = f"it ended after round {number + 1} of {row.name}"
        self._write(self._results)

    async def _round(self, row: Row, number: int) -> list[Found]:
        for server in self._site.servers:
            await asyncio.to_thread(server.ensure)
        async with asyncio.timeout(ROW_TIMEOUT):
            return await row.run(Round(self._site, row.name, number))


def _fail(figures: Sequence[Figure], reason: str) -> None:
    for figure in figures:
        figure.failure = " ".join(reason.split())[:200]


async def warm_up(site: Site) -> None:
    """Send some requests to each server, so that the first measured request is not slower."""
    for server in site.servers:
        prompts = Prompts(f"warm-up of {server.kind.name}")
        await ask_all(server.target, [free_text(server.target, prompts.story(), 8) for _ in range(_WARM_UP)])


def bans(model: str) -> dict[str, object]:
    """Return the request fields that ban end-of-generation tokens."""
    tokenizer = Tokenizer.open(model)
    try:
        return {"logit_bias": {str(token): -100 for token in sorted(tokenizer.eog_ids)}}
    finally:
        tokenizer.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", default="", type=served_model, help="a GGUF file; default: the default model of antiphon serve"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no round begins that would end later")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="rows; writes no page")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a trial; writes no page")
    parser.add_argument(
        "--peer", choices=("native", "wheel"), default="native", help="llama.cpp's server: compiled here, or prebuilt"
    )
    parser.add_argument("--out", type=Path, help="folder of the page and its plot; default: docs")
    return parser.parse_args()


def _writer(out: Path | None) -> Write:
    def write(results: Results) -> None:
        if out is not None:
            report.write(results, out)

    return write


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(1)


def main() -> None:
    """Parse the options, measure, write and print the table."""
    options, console = _options(), Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    signal.signal(signal.SIGTERM, _end)
    sizes = QUICK if options.quick else Sizes()
    wheel = options.peer == "wheel"
    rows = chosen(wheel_rows(sizes) if wheel else all_rows(sizes), options.only)
    out: Path | None = options.out or (None if options.only or options.quick else Path("docs"))
    threads = physical_cores()
    capacity = Capacity(threads, max(rows_decode.AIMS), CTX_SIZE)
    fields = bans(options.model)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = llama_server(options.model, capacity, console, wheel=wheel) if needs_peer(rows) else None
        site = Site(
            ours=Server(antiphon(options.model, capacity, folder), fields),
            theirs=None if peer is None else Server(peer, fields),
            bare=BareLoop(options.model, threads),
            model=options.model,
            threads=threads,
            sizes=sizes,
            quick=options.quick,
        )
        for close in (*(server.close for server in site.servers), site.bare.close):
            stack.callback(close)
        results = Results([], Path(options.model).name, threads, "" if peer is None else peer.note, CTX_SIZE)
        if wheel:
            results.name, results.command = "benchmark-wheel", "make bench-wheel"
        run = Run(site, rows, results, _writer(out))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            asyncio.run(_whole(run, site, Plan(options.rounds, options.minutes * 60), progress))
    report.show(results, console)


async def _whole(run: Run, site: Site, plan: Plan, progress: Progress) -> None:
    for server in site.servers:
        await asyncio.to_thread(server.start)
    await warm_up(site)
    await run.measure(plan, progress)


if __name__ == "__main__":
    main()
