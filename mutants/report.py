"""What a run has found, by module: as a table, and the mutants that survived."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from mutants.listed import Listed, row
from mutants.mutant import Mutant
from mutants.trials import Outcome


class Findings(Struct):
    """What is known of one module."""

    module: str
    mutants: int
    """All that there are."""
    failure: str = ""
    """Why none was tried."""
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    """Of those that are not listed as equivalent."""
    survivors: list[Mutant] = field(default_factory=list)
    equivalent: int = 0
    """Listed mutants that have survived again."""
    stale: list[Listed] = field(default_factory=list)
    """Listed mutants that were killed, or whose code is gone."""

    @property
    def tried(self) -> int:
        """Mutants that count, those listed left out."""
        return sum(self.outcomes.values())

    @property
    def killed(self) -> int:
        """Mutants that a test found, or that never ended."""
        return self.tried - self.outcomes[Outcome.SURVIVED]


def table(found: Sequence[Findings]) -> str:
    """Write the shares as Markdown."""
    lines = [
        "| Module | Mutants | Tried | Killed | of them by time | Survived | Equivalent | Share killed |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        *map(_line, found),
    ]
    if len(found) > 1:
        lines.append(_line(total(found)))
    return "\n".join(lines)


def total(found: Sequence[Findings]) -> Findings:
    """Add all modules up."""
    outcomes = {outcome: sum(one.outcomes[outcome] for one in found) for outcome in Outcome}
    return Findings(
        module="all",
        mutants=sum(one.mutants for one in found),
        outcomes=outcomes,
        equivalent=sum(one.equivalent for one in found),
    )


def survivors(found: Sequence[Findings], source: Path) -> str:
    """Write each mutant that survived: its place, and its line before and after."""
    return "\n".join(
        f"{source / one.module}.py:{mutant.line} {mutant.function}\n  - {mutant.before}\n  + {mutant.after}"
        for one in found
        for mutant in sorted(one.survivors, key=lambda mutant: mutant.line)
    )


def mistakes(found: Sequence[Findings]) -> list[str]:
    """Say what must be mended: tests that fail by themselves, and rows of the list that are not true any more."""
    failures = [f"{one.module}: {one.failure}" for one in found if one.failure]
    return failures + [f"killed, or its code is gone: {row(entry)}" for one in found for entry in one.stale]


def _line(one: Findings) -> str:
    share = f"{one.killed / one.tried:.0%}" if one.tried else "not measured"
    counts = (one.mutants, one.tried, one.killed, one.outcomes[Outcome.TIMED_OUT], one.tried - one.killed)
    return "| " + " | ".join([one.module, *map(str, counts), str(one.equivalent), share]) + " |"
