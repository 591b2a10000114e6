"""The table of a run, in the terminal and as Markdown with its plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from antiphon.load_testing.figures import Figure, cells
from bench.plot import plot

TITLES: Final = ("work", "antiphon", "beside it", "ratio", "aim", "", "rounds")
EXPLANATION: Final = """\
Absolute figures are of the machine it ran on; the ratios are what to read. A ratio is that of the measured figure over
what stands beside it, the median of the rounds' own ratios; so for times less is better. The servers are measured in
turn, round by round, the other one first each time; whoever is not asked is idle. Rows that take long have fewer
rounds.

Decoding is counted from when the last stream has begun to when the first ends, so without the prompts. Streams and
choices that decode beside others, and the free text that reports are compared with, are at temperature 1, where no text
repeats itself; everything else is at 0.
End-of-generation tokens are banned by `logit_bias` on both servers. The bare loop is `llama_decode` on the same file
and threads with an argmax, no HTTP and no scheduling. Memory is the private pages of a server's processes, anonymous or
of files, without the mapping of the model file; a copy that is made of the weights counts."""


class Results(Struct):
    """What a run has found so far."""

    figures: list[Figure]
    model: str
    threads: int
    peer: str
    """What the peer is."""
    ctx_size: int
    unfinished: str = ""
    """What is missing, when the run has not ended."""
    name: str = "benchmark"
    """Of the page and its plot."""
    command: str = "make bench"

    def headline(self) -> str:
        """Say what was run."""
        return f"{self.model}, {self.threads} threads, {self.ctx_size:,} KV cells, same for both servers"


def lines(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """Give the cells of every line, the number of its rounds last."""
    return [(*cells(figure), str(len(figure.measured) or "")) for figure in figures]


def show(results: Results, console: Console) -> None:
    """Print the table."""
    table = Table(*TITLES, title=results.headline())
    for line in lines(results.figures):
        table.add_row(*line)
    console.print(table)
    console.print(f"Peer: {results.peer}", markup=False, highlight=False)


def page(results: Results) -> str:
    """Write the table as a page."""
    met = [figure.met for figure in results.figures if figure.met is not None]
    text = [
        "# Benchmark",
        "",
        f"Written by `{results.command}`.",
        "",
        f"{results.headline()}. Peer: {results.peer}.",
        "",
    ]
    if results.unfinished:
        text += [f"This run was not finished: {results.unfinished}.", ""]
    text += [EXPLANATION, "", f"{sum(met)} of {len(met)} aims are met.", ""]
    text += [_row(TITLES), _row(["---"] * len(TITLES))]
    text += [_row(line) for line in lines(results.figures)]
    return "\n".join([*text, "", f"![every ratio beside its aim]({results.name}.png)", ""])


def _row(line: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |"


def write(results: Results, folder: Path) -> None:
    """Write the page and its plot into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{results.name}.md").write_text(page(results), encoding="utf-8")
    plot(results.figures, results.headline(), folder / f"{results.name}.png")
