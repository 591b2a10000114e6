"""`make bench-tiers`: first-token times of the service tiers on a server with more clients than sequences.

Clients of all tiers send the next request as soon as they have an answer, for longer than a flex request may be
overtaken. Then the same clients do the same without tiers. Both runs are limited in time and in requests.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from antiphon.engine.models.llama import physical_cores
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.load_testing.load import Target, ask
from bench.servers import MODEL_NAME, Kind, Server, served_model

CLIENTS: Final = {"priority": 2, "default": 6, "flex": 4}
"""Clients by tier."""
SLOTS: Final = 4
"""Sequences that the server decodes at once, fewer than clients."""
ANSWER: Final = 24
"""Tokens of every answer."""
SECONDS: Final = 60.0
"""Duration of the run with tiers: longer than a flex request can be overtaken by default requests."""
CONTROL_SECONDS: Final = 20.0
"""Duration of the run without tiers."""
MAX_REQUESTS: Final = 1000
"""Maximum requests of a run."""
COLOURS: Final = {"priority": "#dc2626", "default": "#2563eb", "flex": "#16a34a"}


class TierRequest(Struct, frozen=True):
    """One request."""

    tier: str
    at: float
    """Seconds from the start of the run."""
    first_token: float
    """Seconds to the first token."""


class Load:
    """The clients of one run."""

    def __init__(self, target: Target, seconds: float, bans: dict[str, int], progress: Progress) -> None:
        self._target = target
        self._seconds = seconds
        self._bans = bans
        self._progress = progress
        self._numbers = count()
        self.requests: list[TierRequest] = []

    async def run(self, *, tiers: bool) -> None:
        """Send requests until the time is up, and wait for all answers."""
        task = self._progress.add_task("with tiers" if tiers else "without tiers", total=self._seconds)
        start = time.perf_counter()
        async with asyncio.TaskGroup() as clients:
            for tier, number in CLIENTS.items():
                for _ in range(number):
                    clients.create_task(self._client(tier, start, used=tier if tiers else "default"))
            while (passed := time.perf_counter() - start) < self._seconds:
                self._progress.update(task, completed=passed)
                await asyncio.sleep(0.2)
        self._progress.update(task, completed=self._seconds)

    async def _client(self, tier: str, start: float, *, used: str) -> None:
        while (at := time.perf_counter() - start) < self._seconds and (number := next(self._numbers)) < MAX_REQUESTS:
            answer = await ask(self._target, self._body(used, number))
            self.requests.append(TierRequest(tier, at, answer.first_token))

    def _body(self, tier: str, number: int) -> dict[str, Any]:
        return {
            "messages": [{"role": "user", "content": f"Write a long story about the number {number}."}],
            "temperature": 0,
            "max_tokens": ANSWER,
            "logit_bias": self._bans,
            "service_tier": tier,
        }


class Results(Struct, frozen=True):
    """The requests of both runs."""

    tiers: list[TierRequest]
    control: list[TierRequest]
    threads: int
    model: str

    @property
    def headline(self) -> str:
        """The settings of the runs in one line."""
        clients = ", ".join(f"{number} {tier}" for tier, number in CLIENTS.items())
        return f"{self.model}, {self.threads} threads, {SLOTS} sequences at once, clients: {clients}"


def serving(model: str, threads: int, data_dir: Path) -> Kind:
    """Return this project's server with few sequences."""

    def command(port: int) -> list[str]:
        options = ["--model", f"{MODEL_NAME}={model}", "--port", str(port), "--data-dir", str(data_dir)]
        options += ["--threads", str(threads), "--max-num-seqs", str(SLOTS), "--log-level", "warning"]
        return [sys.executable, "-m", "antiphon", "serve", *options]

    return Kind("antiphon", "this checkout", command)


def check_tiers(target: Target) -> None:
    """Raise AssertionError unless every answer has the requested tier."""
    for tier in CLIENTS:
        body = {"model": target.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        request = urllib.request.Request(
            f"http://{target.host}:{target.port}/v1/chat/completions",
            json.dumps(body | {"service_tier": tier}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 (loopback)
            used = json.load(answer)["service_tier"]
        assert tier == used, f"the request has the tier {tier}, the answer {used}"


def measure(model: str, console: Console) -> Results:
    """Run the clients with and without tiers on one server."""
    threads = physical_cores()
    bans = {str(token): -100 for token in sorted(Tokenizer.open(model).eog_ids)}
    runs: list[list[TierRequest]] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        server = Server(serving(model, threads, Path(folder)))
        try:
            target = server.start().target
            check_tiers(target)
            for seconds, tiers in ((SECONDS, True), (CONTROL_SECONDS, False)):
                load = Load(target, seconds, bans, progress)
                asyncio.run(load.run(tiers=tiers))
                runs.append(load.requests)
        finally:
            server.close()
    with_tiers, control = runs
    return Results(with_tiers, control, threads, Path(model).name)


def rows(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield a row for each tier, and one for the run without tiers."""
    for tier, number in CLIENTS.items():
        yield (tier, str(number), *_times([request for request in results.tiers if request.tier == tier]))
    yield ("all without tiers", str(sum(CLIENTS.values())), *_times(results.control))


def _times(requests: list[TierRequest]) -> tuple[str, ...]:
    times = sorted(request.first_token for request in requests)
    return (str(len(times)), f"{statistics.median(times):.2f}", f"{_p99(times):.2f}", f"{times[-1]:.2f}")


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]


COLUMNS: Final = ("tier", "clients", "answers", "first token p50, s", "p99, s", "longest, s")


def show(results: Results, console: Console) -> None:
    """Print the table."""
    table = Table(*COLUMNS, title=results.headline)
    for row in rows(results):
        table.add_row(*row)
    console.print(table)


def write(results: Results, folder: Path) -> None:
    """Write the page ``benchmark-tiers.md`` and its plot into ``folder``."""
    lines = [
        "# Benchmark of service tiers",
        "",
        "Written by `make bench-tiers`. Read the order of the tiers: absolute figures depend on the machine. A client",
        "sends its next request as soon as it has an answer, so there are always more requests than can run at once.",
        "A flex request is overtaken by default requests that arrive up to 30 seconds later and by priority requests",
        "that arrive up to 60 seconds later; a default request is overtaken by priority requests that arrive up to 30",
        "seconds later.",
        "",
        f"{results.headline}.",
        f"The run takes {SECONDS:.0f} s, then {CONTROL_SECONDS:.0f} s without tiers; answers have {ANSWER} tokens.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *(f"| {' | '.join(row)} |" for row in rows(results)),
        "",
        "![first-token times by tier](benchmark-tiers.png)",
    ]
    (folder / "benchmark-tiers.md").write_text("\n".join(lines) + "\n")
    plot(results, folder / "benchmark-tiers.png")


def plot(results: Results, path: Path) -> None:
    """Draw the time to the first token of each request, and its distribution by tier."""
    import matplotlib as mpl  # noqa: PLC0415 (only the benchmarks install it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (over_time, shares) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for tier, colour in COLOURS.items():
        requests = [request for request in results.tiers if request.tier == tier]
        times = [request.first_token for request in requests]
        over_time.scatter([request.at for request in requests], times, s=14, color=colour, label=tier)
        shares.ecdf(times, color=colour, label=tier)
    control = [request.first_token for request in results.control]
    shares.ecdf(control, color="#9ca3af", linestyle="--", label="without tiers")
    over_time.set(title="each request", xlabel="sent at, s", ylabel="time to first token, s", yscale="log")
    shares.set(title="cumulative share of requests", xlabel="time to first token, s", xscale="log")
    for axis in (over_time, shares):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    shares.legend(frameon=False, loc="lower right")
    over_time.legend(frameon=False)
    figure.suptitle(results.headline, fontsize=10)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> None:
    """Parse the options, measure, and print and write the table and its plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", type=served_model)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    console = Console()
    results = measure(options.model, console)
    show(results, console)
    write(results, options.out)


if __name__ == "__main__":
    main()
