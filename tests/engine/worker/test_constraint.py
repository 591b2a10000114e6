"""Tests of the work on one grammar: its thread, its processor time and its errors."""

from collections.abc import Iterator

import numpy as np
import pytest

from antiphon.engine.grammars.grammar import SLOW, GrammarError
from antiphon.engine.grammars.mask_threads import MaskThreads
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker import constraint as module
from antiphon.engine.worker.constraint import (
    ANSWER_SECONDS,
    DRAFT_SECONDS,
    FIRST_CHECKED,
    STEP_WAIT,
    TOKEN_SECONDS,
    Constraint,
    Constraints,
)
from tests.engine.engine_trial import request
from tests.engine.fake_model import EOG_IDS, N_VOCAB
from tests.engine.scripted_grammar import WAIT, Script, ScriptedMatcher, allows


class Made:
    """A constraint whose script sets the processor time of each piece of work."""

    def __init__(self, script: Script, *, eog_ids: frozenset[int] = EOG_IDS) -> None:
        self.now = 0.0
        self.script = script
        self.threads = MaskThreads(lambda: self.now)
        self.matcher = ScriptedMatcher(script)
        self.constraint = Constraint(self.matcher, self.threads, N_VOCAB, eog_ids)

    def idle(self) -> None:
        assert self.threads.wait(lambda: not self.constraint.is_pending, WAIT)

    def masks(self) -> list[int]:
        self.constraint.start_mask()
        self.idle()
        return np.flatnonzero(self.constraint.allowed(N_VOCAB)).tolist()

    def accept(self, token: int = 4, room: int = 100) -> list[int]:
        self.constraint.accept(token, None, room)
        self.idle()
        self.constraint.check()
        return self.constraint.gained


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made(Script())
    yield made
    made.threads.close()


@pytest.fixture
def slow() -> Iterator[Made]:
    made = Made(Script(slow=True))
    yield made
    made.threads.close()


def test_mask_has_the_tokens_that_the_grammar_allows(made: Made) -> None:
    assert [token for token in range(N_VOCAB) if allows([], token)] == made.masks()


def test_mask_is_made_once_for_each_token(made: Made) -> None:
    assert made.masks() == made.masks()
    assert 1 == made.script.masks
    made.accept()
    made.masks()
    assert 2 == made.script.masks


@pytest.mark.parametrize("slow", [False, True])
def test_forced_tokens_are_gained_with_the_accepted_one(slow: bool) -> None:  # noqa: FBT001 (a table)
    made = Made(Script(slow=slow))
    forced = made.matcher.copy()
    forced.accept([4])
    assert [4, *forced.forced()] == made.accept()
    assert 3 == len(made.matcher.tokens)
    assert [token for token in range(N_VOCAB) if allows(made.matcher.tokens, token)] == made.masks()
    made.threads.close()


@pytest.mark.parametrize("room", [0, 1])
def test_forced_tokens_are_limited_to_the_room(made: Made, room: int) -> None:
    assert 1 + room == len(made.accept(room=room))
    assert 1 + room == len(made.matcher.tokens)


def test_forced_tokens_end_before_an_end_of_generation_token() -> None:
    forced = ScriptedMatcher(Script(), [4]).forced()
    made = Made(Script(), eog_ids=frozenset(forced[1:]))
    assert [4, forced[0]] == made.accept()


@pytest.mark.parametrize("slow", [False, True])
def test_last_token_of_the_grammar_finishes_it(slow: bool) -> None:  # noqa: FBT001 (a table)
    made = Made(Script(slow=slow, length=2, forces=False))
    first = (made.accept(4), made.constraint.is_finished)
    assert (([4], False), ([4], True)) == (first, (made.accept(4), made.constraint.is_finished))
    made.threads.close()


def test_quick_work_is_done_at_once(made: Made) -> None:
    made.constraint.accept(4, None, 100)
    assert not made.constraint.is_pending
    assert made.constraint.wait_for_mask(0.0)


def test_step_does_not_wait_for_slow_work(slow: Made) -> None:
    slow.script.gate.clear()
    slow.constraint.start_mask()
    assert not slow.constraint.wait_for_mask(WAIT)
    slow.constraint.start_mask()
    slow.script.gate.set()
    slow.idle()
    assert slow.constraint.wait_for_mask(0.0)


def test_queued_work_of_a_slow_grammar_leaves_the_quick_thread(made: Made) -> None:
    other = Constraint(made.matcher.copy(), made.threads, N_VOCAB, EOG_IDS)
    made.script.gate.clear()
    made.constraint.start_mask()
    other.start_mask()
    assert made.script.at_gate.acquire(timeout=WAIT)
    made.script.cost.observe(2 * SLOW)
    made.script.gate.set()
    assert made.threads.wait(lambda: not other.is_pending, WAIT)
    assert ["quick-masks", "slow-masks"] == made.script.threads


def test_step_waits_for_quick_work_in_a_thread(made: Made) -> None:
    made.script.gate.clear()
    made.constraint.start_mask()
    late = made.constraint.wait_for_mask(0.001)
    made.script.gate.set()
    assert (False, True) == (late, made.constraint.wait_for_mask(WAIT))


def test_forced_tokens_of_a_long_grammar_are_computed_in_a_thread() -> None:
    script = Script()
    script.cost = type(script.cost)(is_long=True)
    made = Made(script)
    script.gate.clear()
    made.constraint.accept(4, None, 100)
    assert made.constraint.is_pending
    script.gate.set()
    made.idle()
    assert 3 == len(made.constraint.gained)
    made.threads.close()


def test_work_on_a_grammar_in_use_by_another_choice_goes_to_a_thread(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEP_WAIT", 0.001)
    with made.script.cost.lock:
        made.constraint.accept(4, None, 0)
        assert made.constraint.is_pending
        assert 0 == made.constraint.count_allowed([4])
    made.idle()
    assert [4] == made.constraint.gained


def costs(made: Made, method: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each call of a matcher's method take that much processor time."""
    original = getattr(ScriptedMatcher, method)

    def costly(self: ScriptedMatcher, *arguments: object) -> object:
        made.now += seconds
        return original(self, *arguments)

    monkeypatch.setattr(ScriptedMatcher, method, costly)


def test_costly_work_makes_a_grammar_slow(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    costs(made, "allowed", 2 * SLOW, monkeypatch)
    made.masks()
    assert made.script.cost.is_slow


@pytest.mark.parametrize(("share", "ends"), [(0.9, False), (1.1, True)])
def test_answer_beyond_its_processor_time_ends_with_an_error(
    made: Made,
    share: float,
    ends: bool,  # noqa: FBT001 (a table)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made.accept(room=0)
    costs(made, "allowed", share * (ANSWER_SECONDS + TOKEN_SECONDS), monkeypatch)
    made.constraint.start_mask()
    made.idle()
    if not ends:
        made.constraint.check()
        return
    with pytest.raises(GrammarError, match=r"it took 5\.5 seconds of processor time for 1 tokens, more than 5\.0"):
        made.constraint.check()


def test_each_token_adds_processor_time_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(Script(length=2000, forces=False))
    for _ in range(100):
        made.accept(next(token for token in range(3, N_VOCAB) if allows(made.matcher.tokens, token)))
    costs(made, "allowed", ANSWER_SECONDS + 90 * TOKEN_SECONDS, monkeypatch)
    made.masks()
    made.threads.close()


def admitted(n: int) -> list[int]:
    """Return ``n`` tokens that the grammar allows one after another."""
    tokens: list[int] = []
    for _ in range(n):
        tokens.append(next(token for token in range(3, N_VOCAB) if allows(tokens, token)))
    return tokens


def test_draft_is_cut_where_the_grammar_forbids_it(made: Made) -> None:
    draft = admitted(6)
    refused = next(token for token in range(3, N_VOCAB) if not allows(draft, token))
    assert [6, 6, 3] == [made.constraint.count_allowed(each) for each in (draft, [*draft, refused, 4], draft[:3])]
    assert [] == made.matcher.tokens


def test_long_draft_is_checked_to_its_end(made: Made) -> None:
    assert 21 == made.constraint.count_allowed(admitted(21))


def test_draft_is_cut_when_its_check_is_costly(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    costs(made, "count_allowed", 1.5 * DRAFT_SECONDS, monkeypatch)
    assert FIRST_CHECKED == made.constraint.count_allowed(admitted(20))


def test_draft_for_a_slow_grammar_is_not_checked(slow: Made) -> None:
    assert 0 == slow.constraint.count_allowed([4])


def test_error_is_raised_in_the_step_that_needs_the_mask() -> None:
    made = Made(Script(fails_at=0))
    made.constraint.start_mask()
    made.idle()
    assert made.constraint.wait_for_mask(0.0)
    with pytest.raises(GrammarError):
        made.constraint.allowed(N_VOCAB)
    made.threads.close()


@pytest.mark.parametrize("slow", [False, True])
def test_token_is_gained_even_if_the_next_mask_fails(slow: bool) -> None:  # noqa: FBT001 (a table)
    made = Made(Script(slow=slow, fails_at=1, forces=False))
    assert ([4], False) == (made.accept(), made.constraint.is_finished)
    with pytest.raises(GrammarError, match="scripted failure"):
        made.masks()
    made.threads.close()


def test_cancelled_work_is_not_done(slow: Made) -> None:
    slow.constraint.cancel()
    slow.constraint.start_mask()
    slow.idle()
    assert 0 == slow.script.masks


def held(made: Made) -> tuple[Constraints, Sequence]:
    """Return the constraints of an engine, and a choice whose mask is late."""
    constraints, sequence = Constraints(N_VOCAB, EOG_IDS, made.threads), Sequence(request("a", [5, 6]), 0, 1, 0.0)
    constraints.add(sequence, made.constraint)
    made.script.gate.clear()
    constraints.start_masks([sequence, Sequence(request("b", [5, 6]), 0, 1, 0.0)])
    return constraints, sequence


def test_held_choice_keeps_a_copy_of_its_logits(slow: Made) -> None:
    constraints, sequence = held(slow)
    logits = np.ones(3, dtype=np.float32)
    constraints.hold(sequence, logits)
    logits[:] = 0.0
    slow.script.gate.set()
    assert constraints.wait(WAIT)
    ((resumed, kept),) = constraints.resume()
    assert kept is not None
    assert (sequence, False, [1.0] * 3) == (resumed, sequence.is_held, kept.tolist())
    assert ([], False) == (constraints.resume(), constraints.wait(0.0))


def test_choice_is_held_until_the_work_on_its_grammar_ends(slow: Made) -> None:
    constraints, sequence = held(slow)
    constraints.hold(sequence, None)
    assert ([], True) == (constraints.resume(), sequence.is_held)
    constraints.remove(sequence)
    slow.script.gate.set()
    assert not constraints.wait(WAIT)


def test_step_waits_once_for_quick_work(made: Made) -> None:
    constraints, _ = held(made)
    waited: list[float] = []

    def late(patience: float) -> bool:
        waited.append(patience)
        return False

    for _ in range(2):
        constraints.begin_step()
        constraints.wait_within_step(late)
        constraints.wait_within_step(late)
    made.script.gate.set()
    assert [STEP_WAIT, 0.0] * 2 == waited
