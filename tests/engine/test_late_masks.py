"""Tests of late masks: a held choice waits alone, and gains the same tokens as with a quick mask.

The test says when masks are made: work on a grammar waits at its script's gate. No result depends on a clock.
"""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engine.interface import Finished, GenerateRequest
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker import constraint
from tests.engine.engine_trial import Trial, request, text
from tests.engine.scripted_grammar import WAIT, Script, ScriptedCompiler, allows

MANY_STEPS = 2000


def trial(script: Script, ctx_size: int = 256) -> Trial:
    """Return a trial in which the grammar ``g`` follows a script."""
    return Trial(ctx_size, compiler=ScriptedCompiler(g=script), eog_ids=frozenset())


def constrained(request_id: str = "g", prompt: int = 1, **fields: object) -> GenerateRequest:
    return request(request_id, text(prompt, 10), grammar="g", max_tokens=20, **fields)  # type: ignore[arg-type]


def finish(made: Trial) -> None:
    """Step until no request is left; a step without other sequences waits for the masks."""
    made.run(MANY_STEPS)
    made.check_end()


def held(made: Trial) -> list[Sequence]:
    return [each for each in made.scheduler.running + made.scheduler.waiting if each.is_held]


def step_until_late(made: Trial, choices: int = 1) -> None:
    """Step until that many choices are held, and the work on their masks waits at the gate."""
    for _ in range(MANY_STEPS):
        if len(held(made)) == choices:
            return
        made.step()
    raise AssertionError(f"{len(held(made))} choices wait")


def resume(made: Trial, script: Script) -> None:
    """Open the gate, and wait until the work at it has ended."""
    script.gate.set()
    late = [made.core._constraints._constraints[each] for each in held(made)]
    assert made.core._constraints._threads.wait(lambda: not any(each.is_pending for each in late), WAIT)


def answers(script: Script, *requests: GenerateRequest) -> dict[tuple[str, int], list[int]]:
    """Return the tokens of the requests' choices, all of which end with ``stop``."""
    made = trial(script)
    made.add(*requests)
    finish(made)
    reasons = {choice: end.reason for choice, end in made.finished.items()}
    assert {"stop"} == set(reasons.values()), {choice: end.message for choice, end in made.finished.items()}
    return dict(made.tokens)


def test_another_stream_continues_while_a_mask_is_late() -> None:
    script = Script(slow=True)
    made = trial(script)
    script.gate.clear()
    made.add(constrained(), request("free", text(2, 10), max_tokens=40))
    finish_free(made)
    assert ([], 40) == (made.tokens["g", 0], len(made.tokens["free", 0]))
    resume(made, script)
    finish(made)


def finish_free(made: Trial) -> None:
    for _ in range(60):
        made.step()
    assert "length" == made.finished["free", 0].reason


def test_held_choice_draws_its_token_from_the_kept_logits() -> None:
    expected = answers(Script(), constrained())["g", 0]
    script = Script(slow=True)
    made = trial(script)
    script.gate.clear()
    made.add(constrained(), request("free", text(2, 10), max_tokens=40))
    finish_free(made)
    resume(made, script)
    finish(made)
    assert expected == made.tokens["g", 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 3])
def test_slow_and_quick_grammar_give_the_same_answer(n: int, temperature: float) -> None:
    asked = constrained(n=n, temperature=temperature, seed=5)
    quick, slow = answers(Script(), asked), answers(Script(slow=True), asked)
    assert quick == slow
    assert n == len(quick)


def test_slow_grammar_allows_every_token_of_its_answer() -> None:
    tokens = answers(Script(slow=True), constrained(temperature=1.0, seed=3))["g", 0]
    assert all(allows(tokens[:at], token) for at, token in enumerate(tokens))


@pytest.mark.parametrize("slow", [False, True])
def test_forced_tokens_end_at_max_tokens(slow: bool) -> None:  # noqa: FBT001 (a table)
    made = trial(Script(slow=slow))
    made.add(request("g", text(1, 10), grammar="g", max_tokens=2))
    finish(made)
    end = made.finished["g", 0]
    assert ("length", 2, 2) == (end.reason, end.completion_tokens, len(made.tokens["g", 0]))


def test_masks_are_made_in_other_threads() -> None:
    for slow in (False, True):
        script = Script(slow=slow)
        answers(script, constrained())
        assert {"slow-masks" if slow else "quick-masks"} == set(script.threads)


def test_held_choice_has_the_logprobs_of_its_tokens() -> None:
    def logprobs(*, slow: bool) -> list[float]:
        made = trial(Script(slow=slow))
        made.add(constrained(logprobs=2))
        finish(made)
        assert len(made.tokens["g", 0]) == len(made.logprobs["g", 0])
        return [each.logprob for each in made.logprobs["g", 0]]

    assert logprobs(slow=False) == logprobs(slow=True)


def test_step_waits_for_a_quick_mask_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraint, "STEP_WAIT", 0.0)
    script = Script()
    made = trial(script)
    script.gate.clear()
    made.add(constrained(), request("free", text(2, 10), max_tokens=40))
    finish_free(made)
    expected = answers(Script(), constrained())["g", 0]
    resume(made, script)
    finish(made)
    assert expected == made.tokens["g", 0]


def test_choices_of_one_request_are_held_separately() -> None:
    script = Script(slow=True)
    made = trial(script)
    script.gate.clear()
    asked = constrained(n=3, temperature=1.0, seed=1)
    made.add(asked)
    step_until_late(made, 3)
    made.core.abort("g", 1)
    assert 2 == len(held(made))
    resume(made, script)
    finish(made)
    alone = answers(Script(), asked)
    assert [alone["g", 0], [], alone["g", 2]] == [made.tokens["g", index] for index in range(3)]


def test_abort_frees_a_held_choice_at_once() -> None:
    script = Script(slow=True)
    made = trial(script)
    script.gate.clear()
    made.add(constrained())
    step_until_late(made)
    made.core.abort("g")
    stats = made.core.stats()
    assert (0, 0, 0) == (stats.running, stats.waiting, stats.kv_cells_used - stats.kv_cells_cached)
    made.step()
    assert ("abort", False) == (made.finished["g", 0].reason, made.core.has_work)
    script.gate.set()
    made.add(constrained("g2"))
    finish(made)


def test_queued_work_of_an_aborted_choice_is_not_done() -> None:
    script = Script(slow=True)
    made = trial(script)
    script.gate.clear()
    made.add(constrained("a"), constrained("b", 2))
    step_until_late(made, 2)
    assert script.at_gate.acquire(timeout=WAIT)
    made.core.abort_all()
    script.gate.set()
    assert made.core._constraints.close()
    assert 1 == script.masks


def test_error_of_a_late_mask_ends_its_choice_alone_with_a_message() -> None:
    script = Script(slow=True, fails_at=4, forces=False)
    made = trial(script)
    made.add(constrained(), request("free", text(2, 10), max_tokens=40))
    made.run(MANY_STEPS)
    end = made.finished["g", 0]
    assert ("grammar", "the grammar could not be followed: scripted failure") == (end.reason, end.message)
    assert (4, 4) == (end.completion_tokens, len(made.tokens["g", 0]))
    assert "length" == made.finished["free", 0].reason


def test_failed_grammar_is_compiled_again_for_the_next_request() -> None:
    compiler = ScriptedCompiler(g=Script(fails_at=3))
    made = Trial(compiler=compiler, eog_ids=frozenset())
    made.add(constrained())
    made.run(MANY_STEPS)
    assert ["g"] == compiler.forgotten


def test_error_of_a_broken_library_is_raised_by_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trial(Script(slow=True))

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tests.engine.scripted_grammar.ScriptedMatcher.allowed", broken)
    made.add(constrained())
    with pytest.raises(MemoryError):
        made.run(MANY_STEPS)


@pytest.mark.parametrize("slow", [False, True])
def test_prediction_changes_the_steps_of_a_constrained_choice_and_not_its_answer(slow: bool) -> None:  # noqa: FBT001 (a table)
    expected = answers(Script(forces=False), constrained())["g", 0]
    made = trial(Script(slow=slow, forces=False))
    made.add(constrained(prediction=expected))
    finish(made)
    assert expected == made.tokens["g", 0]
    assert slow == (0 == made.core.stats().drafts), "a slow grammar's drafts are not worth their masks"


@pytest.mark.parametrize("at", [1, 3, 5])
def test_choice_held_within_a_draft_gains_the_same_tokens(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(Script(forces=False), constrained())["g", 0]
    script = Script(forces=False)
    made = trial(script)
    make = constraint.Constraint._make_mask

    def becomes_slow(self: constraint.Constraint) -> None:
        make(self)
        if script.masks == at:
            script.cost.observe(1e9)

    monkeypatch.setattr(constraint.Constraint, "_make_mask", becomes_slow)
    made.add(constrained(prediction=expected))
    finish(made)
    assert expected == made.tokens["g", 0]


def test_held_choice_may_be_preempted_and_is_recomputed() -> None:
    script = Script(slow=True)
    made = trial(script, ctx_size=64)
    script.gate.clear()
    made.add(request("free", text(2, 20), max_tokens=40), constrained())
    step_until_late(made)
    for _ in range(MANY_STEPS):
        if made.scheduler.preemptions:
            break
        made.step()
    while ("free", 0) not in made.finished:
        made.step()
    made.step()
    assert (held(made), []) == (made.scheduler.waiting, made.scheduler.running), "nothing is computed for it twice"
    resume(made, script)
    finish(made)
    assert answers(Script(), constrained())["g", 0] == made.tokens["g", 0]


def test_close_does_not_wait_for_a_mask_that_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engine.grammars.mask_threads.CLOSE_SECONDS", 0.01)
    script = Script(slow=True)
    made = trial(script)
    script.gate.clear()
    made.add(constrained())
    step_until_late(made)
    assert script.at_gate.acquire(timeout=WAIT)
    ends = [event for event in made.core.abort_all("abort") if isinstance(event, Finished)]
    began = time.monotonic()
    made.core._constraints.close()
    made.core.close()
    assert (1, True) == (len(ends), time.monotonic() - began < WAIT / 2)
    assert not made.model.closed, "the work at the gate may still read the vocabulary"
    script.gate.set()


def test_close_without_work_on_masks_releases_the_model() -> None:
    made = trial(Script())
    made.add(constrained())
    finish(made)
    made.core.close()
    assert made.model.closed


WORKLOADS = st.lists(
    st.tuples(
        st.integers(0, 8),  # the step of its arrival
        st.sampled_from(["", "quick", "slow", "slow"]),
        st.integers(1, 3),  # choices
        st.sampled_from([0.0, 1.0]),
        st.none() | st.integers(0, 20),  # steps until it is aborted
        st.booleans(),  # with a prediction
    ),
    min_size=1,
    max_size=5,
)


@given(WORKLOADS, st.integers(70, 200))
@settings(max_examples=40, deadline=None)
def test_answers_do_not_depend_on_which_masks_are_late(
    workload: list[tuple[int, str, int, float, int | None, bool]], ctx_size: int
) -> None:
    def asked(at: int) -> GenerateRequest:
        _, grammar, n, temperature, _, predicts = workload[at]
        prediction = text(at + 1, 6) if predicts else []
        fields = {"n": n, "temperature": temperature, "seed": at, "grammar": grammar, "prediction": prediction}
        return request(f"r{at}", text(at, 12), max_tokens=14, **fields)  # type: ignore[arg-type]

    made = Trial(
        ctx_size, compiler=ScriptedCompiler(quick=Script(), slow=Script(slow=True)), eog_ids=frozenset(), max_num_seqs=4
    )
    for step in range(30):
        for at, (arrival, _, _, _, aborted, _) in enumerate(workload):
            if arrival == step:
                made.add(asked(at))
            if aborted is not None and arrival + aborted == step:
                made.core.abort(f"r{at}")
                made.check()
        made.step()
    finish(made)
    made.core.close()
    for at, (_, grammar, n, _, aborted, _) in enumerate(workload):
        if grammar and aborted is None:
            alone = Trial(compiler=ScriptedCompiler(**{grammar: Script()}), eog_ids=frozenset())
            alone.add(asked(at))
            finish(alone)
            alone.core.close()
            names = [(f"r{at}", index) for index in range(n)]
            assert [alone.tokens[name] for name in names] == [made.tokens[name] for name in names]
