"""`make soak`: random requests and faults on a real server; exit status 1 when an invariant is broken.

Time and requests are limited. The server listens on loopback, with its database in a temporary folder.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.servers import served_model
from soak import report
from soak.clients import Plan, Soak
from soak.settling import problems, settle, warm_up
from soak.target import Target, serving

REFRESH: Final = 0.5
"""Seconds."""
LINE: Final = 15.0
"""Seconds between two lines without a terminal."""


async def soak(target: Target, plan: Plan, console: Console) -> report.Result:
    """Warm up, run, and check the server's state at the end."""
    run = Soak(target, plan)
    run.began = time.monotonic()
    before = await warm_up(run)
    watching = asyncio.create_task(watch(run, console))
    began = time.monotonic()
    try:
        await run.run()
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    seconds = time.monotonic() - began
    settled = await settle(target, before)
    run.tally.object_to(problems(settled))
    run.tally.object_to([f"log: {line[:500]}" for line in target.mistakes()])
    machine = f"{platform.system()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    return report.Result(soak=run, settled=settled, machine=machine, seconds=seconds)


async def watch(run: Soak, console: Console) -> None:
    """Show the state of the run until cancelled."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(LINE)
            console.print(line(run), soft_wrap=True)
    with Live(view(run), console=console, transient=True) as live:
        while True:
            live.update(view(run))
            await asyncio.sleep(REFRESH)


def line(run: Soak) -> str:
    """Return the run's state in one line."""
    tally = run.tally
    seconds, memory = time.monotonic() - run.began, run.target.memory() >> 20
    return (
        f"{seconds:.0f} s: {tally.requests} requests, {run.in_flight} in flight, {tally.refusals} refused, "
        f"{sum(tally.errors.values())} errors, {len(run.faults.all)} faults, {tally.n_violations} broken, {memory} MiB"
    )


def view(run: Soak) -> Table:
    """Return the run's state as a table."""
    tally = run.tally
    seconds = time.monotonic() - run.began
    now = next((fault.kind for fault in run.faults.all if fault.recovered is None), "")
    table = Table(title=f"soak: {seconds:.0f} of {run.plan.seconds:.0f} s", min_width=50)
    table.add_column("figure")
    table.add_column("so far", justify="right")
    table.add_row("requests", f"{tally.requests} ({run.in_flight} in flight)")
    table.add_row("tokens", str(tally.tokens))
    table.add_row("refused", str(tally.refusals))
    table.add_row("disconnected clients", str(tally.left))
    for code, number in sorted(tally.errors.items()):
        table.add_row(f"  {code}", str(number))
    table.add_row("stored", str(run.ledger.acknowledged))
    table.add_row("faults", f"{len(run.faults.all)} {now}")
    table.add_row("memory", f"{run.target.memory() >> 20} MiB")
    style = "bold red" if tally.n_violations else "green"
    table.add_row("invariants broken", str(tally.n_violations), style=style)
    return table


def main() -> int:
    """Parse the options, run, print and write the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m soak.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--max-requests", type=int, default=200_000)
    parser.add_argument("--fault-every", type=float, default=20.0, help="seconds between two faults, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="", type=served_model)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    plan = Plan(
        seconds=options.minutes * 60,
        clients=options.clients,
        max_requests=options.max_requests,
        fault_every=options.fault_every,
        seed=options.seed,
    )
    console = Console()
    with tempfile.TemporaryDirectory(prefix="antiphon-soak-") as folder, serving(options.model, Path(folder)) as target:
        result = asyncio.run(soak(target, plan, console))
    report.show(result, console)
    report.write(result, options.out)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
