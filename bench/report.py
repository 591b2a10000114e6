"""The table of a run, in the terminal and as Markdown with its plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from antiphon.load_testing.figures import Figure, cells
from bench.plot import plot

TITLES: Final = ("work", "antiphon", "compared with", "ratio", "aim", "", "rounds")
EXPLANATION: Final = """\
Read the ratios: absolute figures depend on the machine. A ratio is Antiphon's figure divided by the compared one, the
median of the rounds' ratios, so for times less is better. The servers are measured in turn, round by round, and take
turns in going first; the other server is idle. Rows that take long have fewer rounds.

Decoding is measured from the start of the last stream to the end of the first one, without the prompts. Concurrent
streams and choices, and the free text that reports are compared with, are at temperature 1, where text does not repeat
itself; everything else is at temperature 0.
`logit_bias` bans end-of-generation tokens on both servers. The bare loop is `llama_decode` with an argmax on the same
file and threads, without HTTP and scheduling. Memory is the private pages of a server's processes without the mapping
of the model file; a copy of the weights counts."""


class Results(Struct):
    """The results of a run so far."""

    figures: list[Figure]
    model: str
    threads: int
    peer: str
    """A description of the peer; empty in a run without one."""
    ctx_size: int
    unfinished: str = ""
    """The reason why the run is not complete; empty: it is."""
    name: str = "benchmark"
    """The name of the page and its plot."""
    command: str = "make bench"

    def headline(self) -> str:
        """Return the settings of the run in one line."""
        settings = f"{self.model}, {self.threads} threads, {self.ctx_size:,} KV cells"
        return f"{settings}, same for both servers" if self.peer else settings


def lines(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """Return the cells of every line; the number of rounds is the last."""
    return [(*cells(figure), str(len(figure.measured) or "")) for figure in figures]


def show(results: Results, console: Console) -> None:
    """Print the table."""
    table = Table(*TITLES, title=results.headline())
    for line in lines(results.figures):
        table.add_row(*line)
    console.print(table)
    if results.peer:
        console.print(f"Peer: {results.peer}", markup=False, highlight=False)


def page(results: Results) -> str:
    """Return the page in Markdown."""
    met = [figure.met for figure in results.figures if figure.met is not None]
    text = [
        "# Benchmark",
        "",
        f"Written by `{results.command}`.",
        "",
        f"{results.headline()}." + (f" Peer: {results.peer}." if results.peer else ""),
        "",
    ]
    if results.unfinished:
        text += [f"This run was not finished: {results.unfinished}.", ""]
    text += [EXPLANATION, "", f"{sum(met)} of {len(met)} aims are met.", ""]
    text += [_row(TITLES), _row(["---"] * len(TITLES))]
    text += [_row(line) for line in lines(results.figures)]
    return "\n".join([*text, "", f"![the margin of every figure over its aim]({results.name}.png)", ""])


def _row(line: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |"


def write(results: Results, folder: Path) -> None:
    """Write the page and its plot into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{results.name}.md").write_text(page(results), encoding="utf-8")
    plot(results.figures, results.headline(), folder / f"{results.name}.png")
