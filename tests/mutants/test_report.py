from pathlib import Path

from mutants.listed import Listed
from mutants.mutant import Mutant
from mutants.report import Findings, mistakes, survivors, table, total
from mutants.trials import Outcome

FIRST = Mutant(function="f", line=2, before="b = 2", after="b = 3", start=10, end=11, text="3")
LATER = Mutant(function="C.g", line=9, before="if a:", after="if not a:", start=80, end=81, text="not a")
ENTRY = Listed("engine/cache/lease", "Lease.length", "a", "b", "A reason.")


def findings(module: str = "engine/cache/lease") -> Findings:
    outcomes = {Outcome.KILLED: 5, Outcome.TIMED_OUT: 1, Outcome.SURVIVED: 2}
    return Findings(module=module, mutants=20, outcomes=outcomes, survivors=[LATER, FIRST], equivalent=3)


def test_timed_out_mutants_count_as_killed_and_equivalent_ones_do_not_count() -> None:
    assert "| engine/cache/lease | 20 | 8 | 6 | 1 | 2 | 3 | 75% |" == table([findings()]).splitlines()[-1]


def test_total_has_the_sums_of_the_modules() -> None:
    lines = table([findings("a"), findings("b")]).splitlines()
    assert ["| a ", "| b ", "| all "] == [line[: line.index("|", 1)] for line in lines[2:]]
    assert "| all | 40 | 16 | 12 | 2 | 4 | 6 | 75% |" == lines[-1]
    assert (16, 12) == (total([findings(), findings()]).tried, total([findings(), findings()]).killed)


def test_module_without_trials_has_no_share() -> None:
    assert "| a | 7 | 0 | 0 | 0 | 0 | 0 | not measured |" == table([Findings("a", 7)]).splitlines()[-1]


def test_survivors_are_sorted_by_line() -> None:
    expected = [
        "src/engine/cache/lease.py:2 f",
        "  - b = 2",
        "  + b = 3",
        "src/engine/cache/lease.py:9 C.g",
        "  - if a:",
        "  + if not a:",
    ]
    assert expected == survivors([findings()], Path("src")).splitlines()


def test_stale_rows_and_failing_tests_are_mistakes() -> None:
    assert [] == mistakes([findings()])
    found = mistakes([Findings("a", 7, failure="1 failed"), Findings("engine/cache/lease", 7, stale=[ENTRY])])
    stale = "killed, or its code has changed: | `engine/cache/lease` | `Lease.length` | `a` | `b` | A reason. |"
    assert ["a: 1 failed", stale] == found
