"""Where each draft comes from, and to whom it is charged."""

import itertools

import pytest

from antiphon.engine.drafting.draft_length import NEW_STEP_WEIGHT
from antiphon.engine.drafting.draft_model import DraftModel
from antiphon.engine.drafting.draft_proposals import MAX_MODEL_DRAFT, Drafting
from antiphon.engine.drafting.prompt_lookup import TRY_AGAIN
from antiphon.engine.sequence import Sequence
from tests.engine.engine_trial import request
from tests.engine.fake_model import FakeModel, logits_after

PROMPT = [10, 11, 12, 13, 14]


def sequence(prediction: list[int]) -> Sequence:
    return Sequence(request("a", PROMPT, max_tokens=20, prediction=prediction), 0, 1, 0.0)


def drafting(
    prediction: list[int], *, prompt_lookup: bool = True, model: DraftModel | None = None
) -> tuple[Drafting, Sequence]:
    drafts = Drafting(prompt_lookup=prompt_lookup, clock=lambda: 0.0, draft_model=model)
    answer = sequence(prediction)
    drafts.add([answer], PROMPT, prediction)
    return drafts, answer


def propose(drafts: Drafting, answer: Sequence, room: int = 20) -> list[int]:
    drafts.propose([answer], lambda _: room, lambda _, draft: draft)
    return answer.draft


def greedy_model() -> DraftModel:
    return DraftModel(FakeModel(100, eog_ids=frozenset()), n_cells=100, n_seq_ids=2, max_batch=16)


def test_a_prediction_goes_before_the_conversation_and_is_charged() -> None:
    drafts, answer = drafting([20, 21])
    assert [20, 21] == propose(drafts, answer)
    drafts.report(answer, 2, 1)
    assert (1, 1) == drafts.finish(answer)


def test_the_conversation_drafts_where_the_prediction_gives_nothing_and_is_not_charged() -> None:
    drafts, answer = drafting([30])
    answer.tokens += [40, 10, 11, 12]
    drafts.observe(answer, [40, 10, 11, 12])
    assert [13] == propose(drafts, answer)[:1]
    drafts.report(answer, 1, 0)
    assert (0, 0) == drafts.finish(answer)


def test_without_prompt_lookup_nothing_of_the_conversation_is_drafted() -> None:
    drafts, answer = drafting([], prompt_lookup=False)
    assert [] == propose(drafts, answer)


def test_a_draft_model_drafts_where_nothing_else_does() -> None:
    drafts, answer = drafting([], prompt_lookup=False, model=greedy_model())
    draft = propose(drafts, answer)
    assert [int(logits_after(PROMPT).argmax())] == draft[:1]
    drafts.report(answer, len(draft), len(draft))
    assert (0, 0) == drafts.finish(answer)


def test_room_for_one_token_leaves_none_for_a_draft() -> None:
    drafts, answer = drafting([20, 21], model=greedy_model())
    assert [[], [20]] == [propose(drafts, answer, room) for room in (1, 2)]


def test_a_grammar_cuts_a_draft() -> None:
    drafts, answer = drafting([20, 21, 22])
    drafts.propose([answer], lambda _: 20, lambda _, draft: draft[:1])
    assert [20] == answer.draft


def after_many(drafts: Drafting, answer: Sequence, *, accepted: bool) -> None:
    """Report many drafts of the kind that was proposed last."""
    for _ in range(40):
        drafts.report(answer, 8, 8 if accepted else 0)


def test_a_draft_model_drafts_as_much_as_its_accepted_drafts_are_worth_up_to_a_bound() -> None:
    drafts, answer = drafting([], prompt_lookup=False, model=greedy_model())
    assert 1 == len(propose(drafts, answer))
    after_many(drafts, answer, accepted=True)
    assert [MAX_MODEL_DRAFT, 2, 1] == [len(propose(drafts, answer, room)) for room in (20, 3, 2)]


def test_a_grammar_cuts_the_draft_of_a_draft_model() -> None:
    drafts, answer = drafting([], prompt_lookup=False, model=greedy_model())
    propose(drafts, answer)
    after_many(drafts, answer, accepted=True)
    drafts.propose([answer], lambda _: 20, lambda _, draft: draft[:3])
    assert 3 == len(answer.draft)


def test_a_draft_model_that_takes_longer_than_it_saves_is_asked_for_a_token_now_and_then() -> None:
    clock = itertools.count(0.0, 1.0)
    drafts = Drafting(prompt_lookup=False, clock=lambda: next(clock), draft_model=greedy_model())
    answer = sequence([])
    drafts.add([answer], PROMPT, [])
    drafts.costs.observe(1, 0.1)
    lengths = [len(propose(drafts, answer)) for _ in range(2 * TRY_AGAIN + 1)]
    assert [0, TRY_AGAIN, 2 * TRY_AGAIN] == [place for place, length in enumerate(lengths) if length]
    assert {0, 1} == set(lengths)


def test_a_draft_model_s_time_is_a_mean_over_its_tokens() -> None:
    clock = itertools.count(0.0, 0.5)
    drafts = Drafting(prompt_lookup=False, clock=lambda: next(clock), draft_model=greedy_model())
    answer = sequence([])
    drafts.add([answer], PROMPT, [])
    propose(drafts, answer)
    assert pytest.approx(0.5 * NEW_STEP_WEIGHT) == drafts._model_seconds
    after_many(drafts, answer, accepted=True)
    propose(drafts, answer)
    expected = 0.05 + NEW_STEP_WEIGHT * (0.5 / MAX_MODEL_DRAFT - 0.05)
    assert pytest.approx(expected) == drafts._model_seconds


def test_a_prediction_s_failures_are_not_the_conversation_s() -> None:
    drafts, answer = drafting([20, 21])
    propose(drafts, answer)
    after_many(drafts, answer, accepted=False)
    other = sequence([])
    drafts.add([other], PROMPT, [])
    for each in (answer, other):
        each.tokens += [10, 11, 12]
        drafts.observe(each, [10, 11, 12])
        assert [13] == propose(drafts, each)


def test_a_new_answer_begins_with_what_lookups_were_worth_in_others() -> None:
    drafts, answer = drafting([])
    answer.tokens += [10, 11, 12]
    drafts.observe(answer, [10, 11, 12])
    assert [13] == propose(drafts, answer)
    after_many(drafts, answer, accepted=False)
    other = sequence([])
    drafts.add([other], PROMPT, [])
    other.tokens += [10, 11, 12]
    drafts.observe(other, [10, 11, 12])
    assert [] == propose(drafts, other)


def test_each_choice_of_a_request_follows_its_prediction_by_itself() -> None:
    drafts = Drafting(prompt_lookup=True, clock=lambda: 0.0)
    first, second = sequence([20, 21]), sequence([20, 21])
    drafts.add([first, second], PROMPT, [20, 21])
    drafts.observe(first, [20])
    drafts.propose([first, second], lambda _: 20, lambda _, draft: draft)
    assert ([21], [20, 21]) == (first.draft, second.draft)


def test_a_sequence_that_ends_leaves_nothing_behind() -> None:
    model = FakeModel(100, eog_ids=frozenset())
    drafts, answer = drafting([], model=DraftModel(model, n_cells=100, n_seq_ids=2, max_batch=16))
    propose(drafts, answer)
    assert model.cells
    assert (0, 0) == drafts.finish(answer)
    assert (set(), {}, {}) == (model.cells, drafts._lookups, drafts._origins)


def test_the_draft_model_is_closed_with_the_drafting() -> None:
    model = FakeModel(100)
    Drafting(
        prompt_lookup=False,
        clock=lambda: 0.0,
        draft_model=DraftModel(model, n_cells=100, n_seq_ids=2, max_batch=16),
    ).close()
    assert model.closed


def test_a_draft_model_that_is_not_worth_it_is_tried_after_so_many_steps_in_which_nothing_else_drafts() -> None:
    drafts, predicted = drafting([20, 21], prompt_lookup=False, model=greedy_model())
    for tokens, seconds in ((1, 0.02), (4, 0.08)):
        drafts.costs.observe(tokens, seconds)
    assert [[20, 21]] * 100 == [propose(drafts, predicted) for _ in range(100)]
    answer = sequence([])
    drafts.add([answer], PROMPT, [])
    lengths = [len(propose(drafts, answer)) for _ in range(TRY_AGAIN)]
    assert [0] * (TRY_AGAIN - 1) + [1] == lengths


def test_the_answer_s_own_text_is_looked_up() -> None:
    drafts, answer = drafting([])
    for token in (40, 41, 42, 43, 40, 41, 42):
        answer.tokens.append(token)
        drafts.observe(answer, [token])
    assert [43] == propose(drafts, answer)


def test_a_lookup_that_is_tried_again_keeps_to_the_room() -> None:
    drafts, answer = drafting([])
    answer.tokens += [40] * TRY_AGAIN
    drafts.observe(answer, [40] * TRY_AGAIN)
    assert [[], [40]] == [propose(drafts, answer, room) for room in (1, 2)]
