"""The origin of each draft, and the charge for it."""

import itertools

import pytest

from antiphon.engine.drafting.draft_length import NEW_STEP_WEIGHT
from antiphon.engine.drafting.draft_model import DraftModel
from antiphon.engine.drafting.draft_proposals import MAX_MODEL_DRAFT, Drafting
from antiphon.engine.drafting.prompt_lookup import RETRY_TOKENS
from antiphon.engine.sequence import Sequence
from tests.engine.engine_trial import request
from tests.engine.fake_model import FakeModel, logits_after, media

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


def test_prediction_is_drafted_before_the_conversation_and_charged() -> None:
    drafts, answer = drafting([20, 21])
    assert [20, 21] == propose(drafts, answer)
    drafts.report(answer, 2, 1)
    assert (1, 1) == drafts.finish(answer)


def test_conversation_is_drafted_without_charge_where_the_prediction_gives_nothing() -> None:
    drafts, answer = drafting([30])
    answer.tokens += [40, 10, 11, 12]
    drafts.observe(answer, [40, 10, 11, 12])
    assert [13] == propose(drafts, answer)[:1]
    drafts.report(answer, 1, 0)
    assert (0, 0) == drafts.finish(answer)


def test_conversation_is_not_drafted_without_prompt_lookup() -> None:
    drafts, answer = drafting([], prompt_lookup=False)
    assert [] == propose(drafts, answer)


def test_draft_model_drafts_where_prediction_and_conversation_give_nothing() -> None:
    drafts, answer = drafting([], prompt_lookup=False, model=greedy_model())
    draft = propose(drafts, answer)
    assert [int(logits_after(PROMPT).argmax())] == draft[:1]
    drafts.report(answer, len(draft), len(draft))
    assert (0, 0) == drafts.finish(answer)


def test_room_for_one_token_leaves_none_for_a_draft() -> None:
    drafts, answer = drafting([20, 21], model=greedy_model())
    assert [[], [20]] == [propose(drafts, answer, room) for room in (1, 2)]


def test_grammar_cuts_a_draft() -> None:
    drafts, answer = drafting([20, 21, 22])
    drafts.propose([answer], lambda _: 20, lambda _, draft: draft[:1])
    assert [20] == answer.draft


def after_many(drafts: Drafting, answer: Sequence, *, accepted: bool) -> None:
    """Report many drafts of the same origin as the last one."""
    for _ in range(40):
        drafts.report(answer, 8, 8 if accepted else 0)


def test_draft_of_a_draft_model_grows_with_its_acceptance_up_to_a_limit() -> None:
    drafts, answer = drafting([], prompt_lookup=False, model=greedy_model())
    assert 1 == len(propose(drafts, answer))
    after_many(drafts, answer, accepted=True)
    assert [MAX_MODEL_DRAFT, 2, 1] == [len(propose(drafts, answer, room)) for room in (20, 3, 2)]


def test_grammar_cuts_the_draft_of_a_draft_model() -> None:
    drafts, answer = drafting([], prompt_lookup=False, model=greedy_model())
    propose(drafts, answer)
    after_many(drafts, answer, accepted=True)
    drafts.propose([answer], lambda _: 20, lambda _, draft: draft[:3])
    assert 3 == len(answer.draft)


def test_slow_draft_model_drafts_one_token_every_retry_interval() -> None:
    clock = itertools.count(0.0, 1.0)
    drafts = Drafting(prompt_lookup=False, clock=lambda: next(clock), draft_model=greedy_model())
    answer = sequence([])
    drafts.add([answer], PROMPT, [])
    drafts.costs.observe(1, 0.1)
    lengths = [len(propose(drafts, answer)) for _ in range(2 * RETRY_TOKENS + 1)]
    assert [0, RETRY_TOKENS, 2 * RETRY_TOKENS] == [place for place, length in enumerate(lengths) if length]
    assert {0, 1} == set(lengths)


def test_time_of_a_draft_model_is_a_mean_over_its_tokens() -> None:
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


def test_refused_predictions_do_not_lower_the_rate_of_lookups() -> None:
    drafts, answer = drafting([20, 21])
    propose(drafts, answer)
    after_many(drafts, answer, accepted=False)
    other = sequence([])
    drafts.add([other], PROMPT, [])
    for each in (answer, other):
        each.tokens += [10, 11, 12]
        drafts.observe(each, [10, 11, 12])
        assert [13] == propose(drafts, each)


def test_lookups_of_a_new_answer_start_at_the_rate_of_earlier_answers() -> None:
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


def test_each_choice_of_a_request_has_its_own_place_in_the_prediction() -> None:
    drafts = Drafting(prompt_lookup=True, clock=lambda: 0.0)
    first, second = sequence([20, 21]), sequence([20, 21])
    drafts.add([first, second], PROMPT, [20, 21])
    drafts.observe(first, [20])
    drafts.propose([first, second], lambda _: 20, lambda _, draft: draft)
    assert ([21], [20, 21]) == (first.draft, second.draft)


def test_finished_sequence_holds_no_cells_and_no_state() -> None:
    model = FakeModel(100, eog_ids=frozenset())
    drafts, answer = drafting([], model=DraftModel(model, n_cells=100, n_seq_ids=2, max_batch=16))
    propose(drafts, answer)
    assert model.cells
    assert (0, 0) == drafts.finish(answer)
    assert (set(), {}, {}) == (model.cells, drafts._lookups, drafts._origins)


def test_closing_the_proposals_closes_the_draft_model() -> None:
    model = FakeModel(100)
    Drafting(
        prompt_lookup=False,
        clock=lambda: 0.0,
        draft_model=DraftModel(model, n_cells=100, n_seq_ids=2, max_batch=16),
    ).close()
    assert model.closed


def test_useless_draft_model_is_retried_after_enough_steps_without_other_drafts() -> None:
    drafts, predicted = drafting([20, 21], prompt_lookup=False, model=greedy_model())
    for tokens, seconds in ((1, 0.02), (4, 0.08)):
        drafts.costs.observe(tokens, seconds)
    assert [[20, 21]] * 100 == [propose(drafts, predicted) for _ in range(100)]
    answer = sequence([])
    drafts.add([answer], PROMPT, [])
    lengths = [len(propose(drafts, answer)) for _ in range(RETRY_TOKENS)]
    assert [0] * (RETRY_TOKENS - 1) + [1] == lengths


def test_text_of_the_answer_itself_is_looked_up() -> None:
    drafts, answer = drafting([])
    for token in (40, 41, 42, 43, 40, 41, 42):
        answer.tokens.append(token)
        drafts.observe(answer, [token])
    assert [43] == propose(drafts, answer)


def test_retried_lookup_does_not_exceed_the_room() -> None:
    drafts, answer = drafting([])
    answer.tokens += [40] * RETRY_TOKENS
    drafts.observe(answer, [40] * RETRY_TOKENS)
    assert [[], [40]] == [propose(drafts, answer, room) for room in (1, 2)]


def test_draft_model_drafts_for_no_sequence_with_media() -> None:
    drafts = Drafting(prompt_lookup=False, clock=lambda: 0.0, draft_model=greedy_model())
    asked = [request("a", PROMPT, max_tokens=20), request("b", PROMPT, max_tokens=20, pictures=[media(1, 4)])]
    plain, pictured = (Sequence(each, 0, 1, 0.0) for each in asked)
    drafts.propose([plain, pictured], lambda _: 20, lambda _, draft: draft)
    assert (True, []) == (bool(plain.draft), pictured.draft)
