"""The table of a run, in the terminal, as Markdown and as a plot."""

import statistics
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

STRUCTURED_ROUNDS: Final = 2
"""The most rounds of structured outputs: llama.cpp's server takes minutes for one."""


class Figure(Struct, frozen=True):
    """One line of the table: the same work on both servers. ``unit`` is tokens/s, ms, or x for a ratio."""

    work: str
    unit: str
    ours: list[float]
    theirs: list[float]
    aim: str

    @property
    def ratio(self) -> float:
        """Ours over theirs, median of the rounds' own ratios."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


class Results(Struct, frozen=True):
    """What one run found."""

    figures: list[Figure]
    costs: list[Any]
    bare: dict[int, float]
    compile_times: tuple[float, float]
    """Milliseconds of a new 10 kB schema: checked and written as a grammar, and that compiled."""
    peer: str
    rounds: int
    threads: int
    model: str


def rows(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Work, ours, llama.cpp's server, ratio, aim."""
    lines = []
    for figure in results.figures:
        ours, theirs = statistics.median(figure.ours), statistics.median(figure.theirs)
        digits = 2 if figure.unit == "x" else 0
        measured = (f"{ours:.{digits}f} {figure.unit}", f"{theirs:.{digits}f} {figure.unit}")
        lines.append((figure.work, *measured, f"{figure.ratio:.2f}", figure.aim))
    return lines


def own_rows(results: Results) -> list[tuple[str, str, str]]:
    """What is measured without a peer: our Python's share of a step, and the bare loop."""
    lines = [
        (f"Python's share of a step, batch {c.batch}, temperature {c.temperature:g}", f"{c.python_share:.1%}", "≤ 3 %")
        for c in results.costs
    ]
    lines += [(f"bare llama_decode loop, batch {n}", f"{rate:.0f} tokens/s", "") for n, rate in results.bare.items()]
    steps = ("checked and written as a grammar", "grammar compiled, first mask made")
    lines += [
        (f"new 10 kB schema, {step}", f"{milliseconds:.0f} ms", "")
        for step, milliseconds in zip(steps, results.compile_times, strict=True)
    ]
    return lines


def show(results: Results, console: Console) -> None:
    """Print the tables."""
    table = Table("work", "antiphon", "llama.cpp server", "ratio", "aim", title=headline(results))
    for row in rows(results):
        table.add_row(*row)
    console.print(table)
    own = Table("without HTTP", "measured", "aim")
    for line in own_rows(results):
        own.add_row(*line)
    console.print(own)


def headline(results: Results) -> str:
    """What was run."""
    return f"{results.model}, {results.threads} threads, medians of {results.rounds} interleaved rounds"


def write(results: Results, folder: Path) -> None:
    """Write ``benchmark.md`` and ``benchmark.png`` into ``folder``."""
    lines = [
        "# Benchmark",
        "",
        "Written by `make bench`; absolute figures are of the machine it ran on, the ratios are what to read.",
        "",
        f"{headline(results)}, of structured outputs at most {STRUCTURED_ROUNDS}. Peer: {results.peer}.",
        "A ratio is the median of the rounds' own ratios, not the ratio of the medians beside it.",
        "",
        "| work | antiphon | llama.cpp server | ratio | aim |",
        "| --- | --- | --- | --- | --- |",
        *("| " + " | ".join(row) + " |" for row in rows(results)),
        "",
        "| without HTTP | measured | aim |",
        "| --- | --- | --- |",
        *("| " + " | ".join(line) + " |" for line in own_rows(results)),
        "",
        "![decode throughput and time to first token](benchmark.png)",
    ]
    (folder / "benchmark.md").write_text("\n".join(lines) + "\n")
    plot(results, folder / "benchmark.png")


def plot(results: Results, path: Path) -> None:
    """Draw both servers' figures side by side."""
    import matplotlib as mpl  # noqa: PLC0415 (only `make bench` installs it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for axis, unit, title in zip(axes, ("tokens/s", "ms"), ("decode throughput", "time to first token"), strict=True):
        chosen = [f for f in results.figures if f.unit == unit]
        for offset, name, colour in ((-0.2, "ours", "#2563eb"), (0.2, "theirs", "#9ca3af")):
            heights = [statistics.median(getattr(f, name)) for f in chosen]
            label = "antiphon" if name == "ours" else "llama.cpp server"
            bars = axis.bar([i + offset for i in range(len(chosen))], heights, 0.4, label=label, color=colour)
            axis.bar_label(bars, fmt="%.0f", fontsize=8)
        labels = [
            f.work.split(", ", 1)[1]
            .replace("1,500-token system prompt, ", "")
            .replace("new 10 kB schema", "new 10 kB\nschema")
            .replace("not told to", "not told to\n")
            .replace(", ", "\n")
            for f in chosen
        ]
        axis.set_xticks(range(len(chosen)), labels, fontsize=8)
        axis.set_title(title)
        axis.set_ylabel(unit)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_yscale("log")
    axes[0].legend(frameon=False)
    figure.suptitle(headline(results), fontsize=10)
    figure.savefig(path, dpi=120, metadata={"Software": None})
