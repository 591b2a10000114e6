import io
from collections.abc import Sequence
from pathlib import Path

from mutants.listed import Listed
from mutants.modules import held_by, source_of
from mutants.mutant import Mutant
from mutants.trials import Outcome, Times, Trials
from mutants.trying import Module, try_all

SOURCE = "a = 1\n"
NAME = "engine/cache/lease"
TIMES = Times(1.5, 2.5)


class Script(Trials):
    """Trials whose outcomes are known: a mutant's text is the name of its outcome."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.ran: list[tuple[Path, str]] = []

    def unchanged(self, tests: Sequence[Path], limit: float) -> Times:
        assert 0 < limit
        assert tests
        if self.failure:
            raise ValueError(self.failure)
        return TIMES

    def tried(self, path: Path, mutated: str, tests: Sequence[Path], usual: Times) -> Outcome:
        assert (held_by(path.relative_to("src/antiphon").as_posix().removesuffix(".py")), TIMES) == (tests, usual)
        self.ran.append((path, mutated))
        return Outcome[mutated.removeprefix("a = ").split("#")[0].strip()]


def mutants(*outcomes: str) -> list[Mutant]:
    texts = [f"{outcome}#{number}" for number, outcome in enumerate(outcomes)]
    return [Mutant(function="f", line=1, before="a = 1", after=f"a = {t}", start=4, end=5, text=t) for t in texts]


def module(*outcomes: str, name: str = NAME, entries: Sequence[Listed] = (), seed: int = 0) -> Module:
    return Module(name, SOURCE, mutants(*outcomes), list(entries), seed)


def entry(mutant: Mutant, name: str = NAME) -> Listed:
    return Listed(name, *mutant.name, reason="A reason.")


def test_outcomes_are_counted_and_survivors_are_listed() -> None:
    one = module("KILLED", "SURVIVED", "TIMED_OUT", "KILLED")
    try_all([one], Script(), 60, io.StringIO())
    assert {Outcome.KILLED: 2, Outcome.TIMED_OUT: 1, Outcome.SURVIVED: 1} == one.findings.outcomes
    assert ["a = SURVIVED#1"] == [mutant.after for mutant in one.findings.survivors]
    assert ([], 0, 4) == (one.findings.stale, one.findings.equivalent, one.findings.mutants)


def test_mutated_text_replaces_the_module() -> None:
    script = Script()
    try_all([module("KILLED")], script, 60, io.StringIO())
    assert [(source_of(NAME), "a = KILLED#0\n")] == script.ran


def test_listed_mutants_are_tried_first_without_a_time_limit_and_are_not_counted() -> None:
    made = mutants("KILLED", "SURVIVED", "KILLED")
    one = Module(NAME, SOURCE, made, [entry(made[1])], 0)
    try_all([one], Script(), 0, io.StringIO())
    assert (1, 0, []) == (one.findings.equivalent, one.findings.tried, one.findings.stale)
    assert 2 == len(one.left)


def test_killed_listed_mutant_is_stale() -> None:
    made = mutants("KILLED")
    one = Module(NAME, SOURCE, made, [entry(made[0])], 0)
    try_all([one], Script(), 0, io.StringIO())
    assert [entry(made[0])] == one.findings.stale


def test_listed_mutant_with_changed_code_is_stale_before_the_first_trial() -> None:
    other = mutants("SURVIVED")[0]
    assert [entry(other)] == module("KILLED", entries=[entry(other)]).findings.stale
    assert [] == module("KILLED", entries=[entry(other, "engine/worker/core")]).findings.stale


def test_no_mutant_is_tried_when_the_tests_fail_without_one() -> None:
    one, script = module("KILLED"), Script("1 failed")
    try_all([one], script, 60, io.StringIO())
    assert ("1 failed", 0, []) == (one.findings.failure, one.findings.tried, script.ran)


def test_modules_take_turns() -> None:
    script = Script()
    try_all([module("KILLED", "KILLED"), module("KILLED", name="engine/worker/core")], script, 60, io.StringIO())
    assert [source_of(name) for name in (NAME, "engine/worker/core", NAME)] == [path for path, _ in script.ran]


def test_order_depends_on_the_seed_only() -> None:
    def order(seed: int) -> list[str]:
        return [mutant.text for mutant in module(*["KILLED"] * 30, seed=seed).left]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))


def test_last_line_has_the_counts() -> None:
    out = io.StringIO()
    try_all([module("KILLED", "SURVIVED")], Script(), 60, out)
    assert "2 of 2 mutants, 1 killed, 1 survived" == out.getvalue().strip().splitlines()[-1]
