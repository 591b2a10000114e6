"""The report of a run: a table in the terminal, a page, and a plot over time."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from soak.clients import Soak
from soak.settling import Settled

WINDOW: Final = 10
"""Samples over which the plot averages a rate."""
COLOURS: Final = {
    "engine killed": "#dc2626",
    "engine aborted": "#ea580c",
    "engine paused": "#ca8a04",
    "engine stopped": "#7c3aed",
    "database locked": "#0891b2",
}


class Result(Struct, frozen=True, kw_only=True):
    """A run, and the state of the server after it."""

    soak: Soak
    settled: Settled
    machine: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no invariant was broken."""
        return not self.soak.tally.n_violations


def rows(result: Result) -> list[tuple[str, str]]:
    """Return the lines of the table."""
    soak, tally = result.soak, result.soak.tally
    before, after = result.settled.before, result.settled.after
    lost = sum(text.startswith("lost") for text in tally.violations)
    peak = max((sample.memory for sample in tally.samples), default=0)
    lines = [
        ("time", f"{result.seconds:.0f} s, {soak.plan.clients} clients and bursts, seed {soak.plan.seed}"),
        ("requests", f"{tally.requests}"),
        *((f"requests, {kind}", str(number)) for kind, number in sorted(tally.kinds.items())),
        ("requests whose client disconnected", str(tally.left)),
        ("refusals (429)", str(tally.refusals)),
        *((f"errors, {code}", str(number)) for code, number in sorted(tally.errors.items())),
        *fault_rows(soak),
        ("stored completions acknowledged", str(soak.ledger.acknowledged)),
        ("stored completions deleted", str(len(soak.ledger.deleted))),
        ("**lost or changed**", f"**{lost}**"),
        ("**invariants broken**", f"**{tally.n_violations}**"),
        ("maximum memory of server and engine", f"{peak >> 20} MiB"),
        ("memory of the server, before and after", f"{before.rss >> 20} and {after.rss >> 20} MiB"),
        ("sockets of the server, before and after", f"{before.sockets} and {after.sockets}"),
        ("descriptors of the server, before and after", f"{before.descriptors} and {after.descriptors}"),
    ]
    return lines + [(name, f"{value:g}") for name, value in result.settled.gauges.items()]


def fault_rows(soak: Soak) -> list[tuple[str, str]]:
    """Return the faults and recoveries by kind."""
    kinds = Counter(fault.kind for fault in soak.faults.all)
    lines = []
    for kind, number in kinds.items():
        times = [f.seconds for f in soak.faults.all if f.kind == kind and f.recovered is not None]
        slowest = f", the slowest after {max(times):.1f} s" if times else ""
        lines.append((f"faults, {kind}", f"{number}, of which {len(times)} recovered{slowest}"))
    return lines


def show(result: Result, console: Console) -> None:
    """Print the table and the broken invariants."""
    table = Table("figure", "value", title="soak")
    for name, value in rows(result):
        table.add_row(name.strip("*"), value.strip("*"))
    console.print(table)
    for text in result.soak.tally.violations:
        console.print(f"BROKEN {text}", style="red", markup=False, soft_wrap=True)
    console.print("passed" if result.passed else "FAILED", style="bold green" if result.passed else "bold red")


def write(result: Result, folder: Path) -> None:
    """Write the page ``soak.md`` and the plot ``soak.png`` into ``folder``."""
    lines = [
        "# Soak",
        "",
        f"Written by `make soak` on {result.machine}.",
        "[reliability.md](reliability.md) describes the requests, the faults and the checks.",
        "",
        f"Every invariant held: **{'yes' if result.passed else 'no'}**.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows(result)),
        "",
        *(f"- broken: {text}" for text in result.soak.tally.violations),
        *([""] if result.soak.tally.violations else []),
        "![tokens a second, refusals and memory over time, faults marked](soak.png)",
    ]
    (folder / "soak.md").write_text("\n".join(lines) + "\n")
    plot(result, folder / "soak.png")


def plot(result: Result, path: Path) -> None:
    """Draw rates and memory over time, with the faults marked."""
    import matplotlib as mpl  # noqa: PLC0415 (only `make soak` installs it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    samples = result.soak.tally.samples
    minutes = [sample.seconds / 60 for sample in samples]
    figure, (speed, memory) = plt.subplots(2, 1, figsize=(11, 5.6), sharex=True, constrained_layout=True)
    for axis in (speed, memory):
        for fault in result.soak.faults.all:
            start = (fault.began - result.soak.began) / 60
            end = minutes[-1] if fault.recovered is None else (fault.recovered - result.soak.began) / 60
            axis.axvspan(start, max(end, start + 0.01), color=COLOURS[fault.kind], alpha=0.25, lw=0)
        axis.spines[["top", "right"]].set_visible(False)
    moments, tokens = rates([(s.seconds, s.tokens) for s in samples])
    _, requests = rates([(s.seconds, s.requests) for s in samples])
    speed.plot(moments, tokens, color="#2563eb", label="tokens/s")
    speed.plot(moments, requests, color="#16a34a", label="requests/s")
    speed.set_ylabel(f"per second, over {WINDOW} s")
    speed.set_ylim(bottom=0)
    memory.plot(minutes, [sample.memory / 2**20 for sample in samples], color="#374151", label="server and engine")
    memory.set_ylabel("memory, MiB")
    memory.set_ylim(bottom=0)
    memory.set_xlabel("minutes")
    for kind in dict.fromkeys(fault.kind for fault in result.soak.faults.all):
        speed.fill_between([], [], color=COLOURS[kind], alpha=0.25, label=kind)
    speed.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.25), fontsize=9)
    memory.legend(frameon=False, loc="lower right", fontsize=9)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def rates(counts: list[tuple[float, int]]) -> tuple[list[float], list[float]]:
    """Return minutes, and the increase a second over the last :data:`WINDOW` samples at each."""
    pairs = list(zip(counts, itertools.islice(counts, WINDOW, None), strict=False))
    minutes = [now[0] / 60 for _, now in pairs]
    return minutes, [(now[1] - then[1]) / max(now[0] - then[0], 1e-9) for then, now in pairs]
