"""Tries the mutants of several modules within a given time, and counts the outcomes."""

import time
from collections.abc import Iterator
from random import Random
from typing import Final, TextIO

from mutants.listed import Listed, gone
from mutants.modules import held_by, source_of
from mutants.mutant import Mutant
from mutants.report import Findings, total
from mutants.trials import Outcome, Times, Trials

LINE: Final = 15.0
"""Seconds between two lines of progress without a terminal."""
BASELINE: Final = 600.0
"""Maximum seconds of a module's tests without a fault."""


class Module:
    """One module of a run, with its mutants in order: the listed ones first."""

    def __init__(self, name: str, source: str, mutants: list[Mutant], entries: list[Listed], seed: int) -> None:
        """``entries`` has the rows of all modules; ``seed`` fixes the random order, whose beginning is a sample."""
        self.name: Final = name
        self.source: Final = source
        self.findings: Final = Findings(module=name, mutants=len(mutants))
        self.listed: Final = {entry.name: entry for entry in entries if entry.module == name}
        self.findings.stale += gone(self.listed.values(), {name: [mutant.name for mutant in mutants]})
        order = Random(f"{seed} {name}").sample(mutants, len(mutants))  # noqa: S311 (a repeatable order)
        self.left: Final = sorted(order, key=lambda mutant: mutant.name not in self.listed)
        self.usual = Times(0.0, 0.0)

    def prepare(self, trials: Trials) -> None:
        """Run the tests without a mutant; when they fail, drop the module's mutants."""
        try:
            self.usual = trials.unchanged(held_by(self.name), BASELINE)
        except ValueError as error:
            self.findings.failure = str(error)
            self.left.clear()

    def step(self, trials: Trials) -> None:
        """Try the next mutant."""
        mutant = self.left.pop(0)
        mutated = mutant.applied(self.source)
        self.note(mutant, trials.tried(source_of(self.name), mutated, held_by(self.name), self.usual))

    def note(self, mutant: Mutant, outcome: Outcome) -> None:
        """Count the outcome of a mutant."""
        entry = self.listed.get(mutant.name)
        if entry is None:
            self.findings.outcomes[outcome] += 1
            if outcome is Outcome.SURVIVED:
                self.findings.survivors.append(mutant)
        elif outcome is Outcome.SURVIVED:
            self.findings.equivalent += 1
        else:
            self.findings.stale.append(entry)


def try_all(modules: list[Module], trials: Trials, seconds: float, out: TextIO) -> None:
    """Try all listed mutants, then others of all modules in turn until the time is over."""
    end, shown = time.monotonic() + seconds, 0.0
    for module in modules:
        _show(out, f"tests of {module.name} without a fault")
        module.prepare(trials)
    for module in _turns(modules, end):
        module.step(trials)
        if time.monotonic() - shown > (0 if out.isatty() else LINE):
            shown = time.monotonic()
            _show(out, f"{_state(modules)}, {max(0, end - shown):.0f} s left, {module.name}")
    _show(out, _state(modules))
    out.write("\n")


def _turns(modules: list[Module], end: float) -> Iterator[Module]:
    for module in modules:
        while module.left and module.left[0].name in module.listed:
            yield module
    while any(module.left for module in modules):
        for module in modules:
            if time.monotonic() > end:
                return
            if module.left:
                yield module


def _state(modules: list[Module]) -> str:
    found = total([module.findings for module in modules])
    return f"{found.tried} of {found.mutants} mutants, {found.killed} killed, {found.tried - found.killed} survived"


def _show(out: TextIO, line: str) -> None:
    out.write(f"\r\033[K{line[:100]}" if out.isatty() else f"{line}\n")
    out.flush()
