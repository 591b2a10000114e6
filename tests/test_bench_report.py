"""The benchmark's arithmetic and pages, and the independence of its rows."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console
from rich.progress import Progress

from antiphon.load_testing.figures import Aim, Figure
from antiphon.load_testing.load import Answer, LoadError, Target
from antiphon.load_testing.workloads import QUICK, Prompts, Sizes
from bench import report
from bench.bare import BareLoop
from bench.memory import private_bytes
from bench.plot import LIMIT, margin
from bench.report import Results, page
from bench.rows import Found, Line, Round, Row, Site
from bench.rows_decode import summary
from bench.run import Plan, Run, all_rows, chosen, needs_peer
from bench.servers import Kind, Server, ServerError, free_port, processes

SMAPS = """\
7f0000000000-7f0000100000 r--s 00000000 08:01 42                         /models/a model.gguf
Rss:                 100 kB
Private_Clean:        60 kB
Private_Dirty:        40 kB
7f0000200000-7f0000300000 rw-p 00000000 00:00 0
Private_Clean:         1 kB
Private_Dirty:         2 kB
Anonymous:             3 kB
7f0000400000-7f0000500000 r-xp 00000000 08:01 43                         /usr/lib/libc.so
Shared_Clean:         50 kB
Private_Clean:         4 kB
Private_Dirty:         0 kB
"""


class Idle(Server):
    """A server that is never started."""

    def __init__(self, name: str) -> None:
        super().__init__(Kind(name, "", lambda _: []))
        self.ensured = 0

    def ensure(self) -> None:
        self.ensured += 1


def site() -> Site:
    bare = BareLoop("no model", 1)
    return Site(ours=Idle("antiphon"), theirs=Idle("peer"), bare=bare, model="", threads=1, sizes=QUICK, quick=True)


def results() -> Results:
    return Results([], "model.gguf", 2, "a peer", 1024)


def row(name: str, work: Callable[[Round], Awaitable[list[Found]]], max_rounds: int = 100) -> Row:
    return Row(name, (Line(f"{name} work", "ms", "peer", Aim("<=", 0.5)),), work, max_rounds)


def measured(rows: list[Row], rounds: int = 1, seconds: float = 1000) -> tuple[Results, list[str]]:
    found, pages = results(), []
    bench = Run(site(), rows, found, lambda so_far: pages.append(page(so_far)))
    with Progress(disable=True) as progress:
        asyncio.run(bench.measure(Plan(rounds, seconds), progress))
    return found, pages


async def good(turn: Round) -> list[Found]:
    return [(10.0 + turn.number, 20.0)]


def failing(error: Exception) -> Callable[[Round], Awaitable[list[Found]]]:
    async def fail(_: Round) -> list[Found]:
        raise error

    return fail


def test_figure_has_the_values_of_every_round() -> None:
    (figure,) = measured([row("a", good)], rounds=3)[0].figures
    assert ([10, 11, 12], [20, 20, 20]) == (figure.measured, figure.baseline_values)


def test_row_has_at_most_its_maximum_of_rounds() -> None:
    figures = measured([row("a", good, max_rounds=1), row("b", good)], rounds=3)[0].figures
    assert [1, 3] == [len(figure.measured) for figure in figures]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LoadError("no answer"), "no answer"),
        (TimeoutError(), "not done within 900 s"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_failed_row_has_its_error_and_other_rows_are_measured(error: Exception, reason: str) -> None:
    first, second = measured([row("a", failing(error)), row("b", good)])[0].figures
    assert (reason, [], "", [10]) == (first.failure, first.measured, second.failure, second.measured)


def test_every_row_is_measured_once_without_time() -> None:
    figures = measured([row("a", good), row("b", good)], rounds=3, seconds=0)[0].figures
    assert [1, 1] == [len(figure.measured) for figure in figures]


def test_results_are_written_after_every_row() -> None:
    _, pages = measured([row("a", good), row("b", good)])
    assert [True, False, False] == ["not finished: it ended after round 1 of a" in text for text in pages]
    assert [1, 2, 2] == [text.count("missed") + text.count("| met |") for text in pages]
    assert "not finished" not in pages[-1]


def test_servers_are_checked_before_each_row() -> None:
    place = site()
    bench = Run(place, [row("a", good), row("b", good)], results(), lambda _: None)
    with Progress(disable=True) as progress:
        asyncio.run(bench.measure(Plan(1, 10), progress))
    assert 2 == cast("Idle", place.theirs).ensured


def test_peer_is_needed_only_for_rows_that_are_compared_with_it() -> None:
    rows = all_rows(QUICK)
    assert (False, True) == (needs_peer(chosen(rows, ["api", "prediction"])), needs_peer(chosen(rows, ["api", "gaps"])))


def test_run_without_a_peer_checks_its_own_server_only() -> None:
    place = site()
    place.theirs = None
    found = results()
    with Progress(disable=True) as progress:
        asyncio.run(Run(place, [row("a", good)], found, lambda _: None).measure(Plan(1, 10), progress))
    assert ([10], 1) == (found.figures[0].measured, cast("Idle", place.ours).ensured)


def test_servers_take_turns_in_going_first() -> None:
    asked: list[str] = []
    place = site()
    cast("Idle", place.theirs).port = 1

    async def work(target: Target, prompts: Prompts) -> str:
        asked.append("theirs" if target.port else "ours")
        return prompts.words(3)

    async def both(turn: Round) -> tuple[str, str]:
        return await turn.both(work)

    words = [word for number in (0, 1) for word in asyncio.run(both(Round(place, "a", number)))]
    assert ["ours", "theirs", "theirs", "ours"] == asked
    assert 4 == len(set(words))


def test_page_of_a_run_without_a_peer_names_none() -> None:
    without = Results([], "model.gguf", 2, "", 1024)
    assert "model.gguf, 2 threads, 1,024 KV cells, same for both servers. Peer: a peer." in page(results()).splitlines()
    assert "model.gguf, 2 threads, 1,024 KV cells." in page(without).splitlines()


def test_page_has_every_line() -> None:
    found = results()
    found.figures = [Figure("a | b", "ms", "peer", Aim("<=", 0.5), [10, 30], [20, 20]), Figure("c", "x", failure="no")]
    lines = page(found).splitlines()
    assert "| a \\| b | 20 ms | peer: 20 ms | 1.00 | ≤ 0.5 | missed | 2 |" in lines
    assert "| c |  |  |  |  | failed: no |  |" in lines
    assert "0 of 1 aims are met." in lines


def test_page_and_plot_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = results()
    found.figures = [Figure("a", "ms", "peer", Aim("<=", 0.5), [10], [20]), Figure("c", "x", failure="no")]
    report.write(found, tmp_path / "docs")
    assert ["benchmark.md", "benchmark.png"] == sorted(path.name for path in (tmp_path / "docs").iterdir())


def test_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = results()
    found.figures = [Figure("a", "ms", "peer", Aim("<=", 0.5), [10], [20])]
    report.show(found, Console(width=120))
    assert "peer: 20 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("aim", "times"),
    [
        (Aim(">=", 0.25), 2),
        (Aim("<=", 0.25), 0.5),
        (Aim("<=", 20, "figure"), 2),
        (Aim(">=", 20, "figure"), 0.5),
        (Aim(">=", 1e-9), LIMIT),
        (Aim(">=", 1e9), 1 / LIMIT),
        (None, None),
    ],
)
def test_margin_is_the_factor_over_the_aim(aim: Aim | None, times: float | None) -> None:
    assert times == margin(Figure("a", "ms", "peer", aim, [10], [20]))


def test_margin_of_zero_cost_is_the_limit() -> None:
    assert [LIMIT] * 2 == [margin(Figure("a", "MB", "", Aim("<=", 2, "figure"), [value])) for value in (0, -1)]


def test_private_bytes_leave_out_one_mapping() -> None:
    assert (100 + 3 + 4) * 1024 == private_bytes(SMAPS)
    assert (3 + 4) * 1024 == private_bytes(SMAPS, "/models/a model.gguf")


def test_summary_has_rate_and_gap() -> None:
    usage = b'data: {"choices":[],"usage":{"completion_tokens":4}}\n\n'
    found = summary([Answer(0, [1, 2, 3, 4], 4, usage), Answer(0, [1, 2, 3, 5], 5, usage)])
    assert (5 / 3, 2) == (found.rate, found.gap)


def test_streams_one_after_the_other_are_an_error() -> None:
    usage = b'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n'
    with pytest.raises(LoadError, match="same time"):
        summary([Answer(0, [1, 2], 2, usage), Answer(0, [3, 4], 4, usage)])


def test_rows_are_chosen_by_name_or_family() -> None:
    rows = all_rows(Sizes())
    assert rows == chosen(rows, [])
    assert ["decode-1", "decode-4", "decode-16", "decode-64", "n"] == [r.name for r in chosen(rows, ["n", "decode"])]
    assert ["decode-1"] == [r.name for r in chosen(rows, ["decode-1"])]
    with pytest.raises(SystemExit, match="No row is called speed"):
        chosen(rows, ["speed"])


def test_names_of_rows_and_lines_are_unique() -> None:
    rows = all_rows(Sizes())
    works = [line.work for row in rows for line in row.lines]
    assert len(set(works)) == len(works)
    assert len({row.name for row in rows}) == len(rows)


def test_processes_begin_with_the_process_itself() -> None:
    assert os.getpid() == processes(os.getpid())[0]


def test_free_port_is_a_valid_port() -> None:
    assert 0 < free_port() < 1 << 16


def test_error_of_an_ended_server_has_its_last_output() -> None:
    server = Server(Kind("peer", "", lambda _: ["/bin/sh", "-c", "echo broken; exit 3"]))
    with pytest.raises(ServerError, match="peer has ended with 3: broken"):
        server.start()
    server.close()
