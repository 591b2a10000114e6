"""Where each draft comes from, and to whom it is charged."""

from antiphon.engine.draft_model import DraftModel
from antiphon.engine.drafting import Drafting
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
