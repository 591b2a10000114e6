"""The report of a run: a table by module, and the mutants that survived."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from mutants.listed import Listed, row
from mutants.mutant import Mutant
from mutants.trials import Outcome


class Findings(Struct):
    """The results of one module."""

    module: str
    mutants: int
    """The number of mutants."""
    failure: str = ""
    """The reason why no mutant was tried."""
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    """The outcomes of mutants that are not listed as equivalent."""
    survivors: list[Mutant] = field(default_factory=list)
    equivalent: int = 0
    """Listed mutants that survived."""
    stale: list[Listed] = field(default_factory=list)
    """Listed mutants that were killed, or whose code has changed."""

    @property
    def tried(self) -> int:
        """The number of tried mutants without the listed ones."""
        return sum(self.outcomes.values())

    @property
    def killed(self) -> int:
        """The number of mutants that a test found or that timed out."""
        return self.tried - self.outcomes[Outcome.SURVIVED]


def table(found: Sequence[Findings]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| Module | Mutants | Tried | Killed | of them by time | Survived | Equivalent | Share killed |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        *map(_line, found),
    ]
    if len(found) > 1:
        lines.append(_line(total(found)))
    return "\n".join(lines)


def total(found: Sequence[Findings]) -> Findings:
    """Return the sums of all modules."""
    outcomes = {outcome: sum(one.outcomes[outcome] for one in found) for outcome in Outcome}
    return Findings(
        module="all",
        mutants=sum(one.mutants for one in found),
        outcomes=outcomes,
        equivalent=sum(one.equivalent for one in found),
    )


def survivors(found: Sequence[Findings], source: Path) -> str:
    """Return the survivors, each with its place and its line before and after."""
    return "\n".join(
        f"{source / one.module}.py:{mutant.line} {mutant.function}\n  - {mutant.before}\n  + {mutant.after}"
        for one in found
        for mutant in sorted(one.survivors, key=lambda mutant: mutant.line)
    )


def mistakes(found: Sequence[Findings]) -> list[str]:
    """Return the problems: tests that fail without a mutant, and stale rows of the list."""
    failures = [f"{one.module}: {one.failure}" for one in found if one.failure]
    return failures + [f"killed, or its code has changed: {row(entry)}" for one in found for entry in one.stale]


def _line(one: Findings) -> str:
    share = f"{one.killed / one.tried:.0%}" if one.tried else "not measured"
    counts = (one.mutants, one.tried, one.killed, one.outcomes[Outcome.TIMED_OUT], one.tried - one.killed)
    return "| " + " | ".join([one.module, *map(str, counts), str(one.equivalent), share]) + " |"
