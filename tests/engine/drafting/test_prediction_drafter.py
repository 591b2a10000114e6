"""How a draft follows the answer: simulated, with an answer that is known. That nothing changes is for test_core."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.cache.radix_tree import common_length
from antiphon.engine.drafting.prediction_drafter import (
    FIRST_DRAFT,
    LOOKED_AT_AHEAD,
    LOOKED_AT_BEHIND,
    MAX_DRAFT,
    MAX_PAUSE,
    NEAR,
    Drafter,
    PredictionIndex,
)

TEXT = random.Random(5).choices(range(60), k=400)  # noqa: S311 (a text)
OTHER = random.Random(6).choices(range(60), k=400)  # noqa: S311


def follow(prediction: list[int], answer: list[int]) -> tuple[int, Drafter]:
    """Give the steps that an answer takes, each of them a draft and a token of the model's own."""
    drafter, said, steps = Drafter(PredictionIndex(prediction)), 0, 0
    while said < len(answer):
        draft = drafter.draft(len(answer) - said - 1)
        accepted = common_length(draft, answer, said, min(said + len(draft), len(answer)))
        gained = answer[said : said + accepted + 1]
        drafter.observe(gained)
        drafter.report(len(draft), accepted)
        said += len(gained)
        steps += 1
    return steps, drafter


def test_a_right_prediction_is_said_in_few_steps_and_nothing_is_rejected() -> None:
    steps, drafter = follow(TEXT, TEXT)
    assert (0, len(TEXT)) == (drafter.rejected, drafter.accepted + steps)
    assert steps < 20


def test_drafts_grow_while_they_are_accepted_and_shrink_when_not() -> None:
    drafter = Drafter(PredictionIndex(TEXT))
    assert FIRST_DRAFT == len(drafter.draft(100))
    for _ in range(8):
        drafter.report(1, 1)
    assert MAX_DRAFT == len(drafter.draft(100))
    drafter.report(MAX_DRAFT, 3)
    assert 3 == len(drafter.draft(100))


def test_a_draft_keeps_to_its_limit() -> None:
    assert [TEXT[:2], []] == [Drafter(PredictionIndex(TEXT)).draft(limit) for limit in (2, 0)]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([*TEXT[:100], 61, *TEXT[101:]], id="a token replaced"),
        pytest.param([*TEXT[:100], 61, 62, 63, *TEXT[100:]], id="tokens inserted"),
        pytest.param([*TEXT[:100], *TEXT[110:]], id="tokens deleted"),
        pytest.param([*TEXT[:100], *TEXT[200:]], id="a block deleted"),
        pytest.param([*TEXT[:100], *range(61, 90), *TEXT[130:]], id="a block replaced"),
        pytest.param([*range(61, 70), *TEXT], id="starts earlier"),
        pytest.param(TEXT[50:], id="starts later"),
        pytest.param([*TEXT, *range(61, 70)], id="ends later"),
        pytest.param([*TEXT[200:], *TEXT[:200]], id="halves swapped"),
        pytest.param([*TEXT[:90], 61, *TEXT[91:150], 62, *TEXT[151:220], 63, *TEXT[221:]], id="three words"),
    ],
)
def test_after_a_mismatch_it_finds_its_place_again(answer: list[int]) -> None:
    steps, drafter = follow(TEXT, answer)
    new = len([token for token in answer if token > 60])
    assert steps < 50 + new
    assert drafter.rejected < 100


@pytest.mark.parametrize("prediction", [OTHER, [7] * 400, OTHER[:3]])
def test_a_useless_prediction_costs_little(prediction: list[int]) -> None:
    _, drafter = follow(prediction, TEXT)
    assert drafter.rejected <= 0.05 * len(TEXT)


def test_an_answer_beyond_the_prediction_is_not_drafted() -> None:
    drafter = Drafter(PredictionIndex([1, 2]))
    drafter.observe([1, 2])
    assert [] == drafter.draft(10)


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_any_answer_is_followed_to_its_end(prediction: list[int], answer: list[int]) -> None:
    steps, drafter = follow(prediction, answer)
    assert len(answer) == drafter.accepted + steps


STRANGE = 999
"""A token that no prediction has."""


def after(prediction: list[int], said: list[int], *, limit: int = 1) -> list[int]:
    """Give what is drafted when an answer has begun in this way, without a draft so far."""
    drafter = Drafter(PredictionIndex(prediction))
    drafter.observe(said)
    return drafter.draft(limit)


@pytest.mark.parametrize(("token", "expected"), [(0, [1]), (NEAR - 1, [NEAR]), (NEAR, []), (90, [])])
def test_one_equal_token_is_the_place_only_near_ahead_of_the_last_one(token: int, expected: list[int]) -> None:
    assert expected == after(list(range(100)), [STRANGE, token])


@pytest.mark.parametrize(("token", "expected"), [(61, [62]), (91, [92]), (92, []), (59, []), (20, [])])
def test_near_is_meant_from_the_last_place_that_was_sure(token: int, expected: list[int]) -> None:
    assert expected == after(list(range(200)), [*range(60), STRANGE, token])


@pytest.mark.parametrize("place", [0, 50, 90])
def test_two_equal_tokens_are_the_place_wherever_it_is(place: int) -> None:
    assert [place + 2] == after(list(range(100)), [*range(20), STRANGE, place, place + 1])


def test_a_place_that_four_tokens_speak_for_is_drafted_from_as_at_the_start() -> None:
    drafter = Drafter(PredictionIndex([1, 2, 3, 4, 10, 11, 1, 2, 3, 4, *range(20, 40)]))
    drafter.report(FIRST_DRAFT, FIRST_DRAFT)
    drafter.observe([1, 2, 3, 4, 20])
    assert [21, 22, 23, 24] == drafter.draft(100)


def test_a_place_that_fewer_tokens_speak_for_is_drafted_from_with_care() -> None:
    assert [21, 22] == after([1, 2, 3, 10, 11, 2, 3, *range(20, 40)], [1, 2, 3, 20], limit=100)


def test_of_two_places_the_one_that_more_tokens_speak_for_is_taken() -> None:
    prediction = [9, 2, 3, 50, *range(100, 140), 1, 2, 4, *range(140, 180), 1, 2, 3, 60]
    assert [60] == after(prediction, [STRANGE, 1, 2, 3])


def test_of_two_places_one_ahead_goes_before_a_nearer_one_behind_and_the_nearest_ahead_goes_first() -> None:
    prediction = [100, 101, 102, 103, 104, 105, 106, 107, 108, 7, *range(110, 129), 7, *range(130, 134), 7, 135]
    assert [130] == after(prediction, [*prediction[:10], STRANGE, 7])


def test_the_start_of_a_prediction_does_not_come_behind_its_end() -> None:
    assert [] == after([5, 6, 7, 8], [5, 6, 7, 8, 5])


@pytest.mark.parametrize(("number", "expected"), [(14, 115), (13, 131)])
def test_places_behind_are_looked_at_up_to_a_number(number: int, expected: int) -> None:
    prediction = [token for i in range(40) for token in (100 + i, 7)]
    assert 30 - LOOKED_AT_BEHIND == 14
    assert [expected] == after(prediction, [*prediction[:60], STRANGE, 100 + number, 7])


@pytest.mark.parametrize(("number", "expected"), [(LOOKED_AT_AHEAD - 1, 100 + LOOKED_AT_AHEAD), (LOOKED_AT_AHEAD, 101)])
def test_places_ahead_are_looked_at_up_to_a_number(number: int, expected: int) -> None:
    prediction = [token for i in range(90) for token in (100 + i, 7)]
    assert [expected] == after(prediction, [STRANGE, 100 + number, 7])


@pytest.mark.parametrize(("failures", "tokens"), [(0, 0), (1, 0), (3, 16), (4, 32), (5, 64), (9, MAX_PAUSE)])
def test_drafts_that_are_refused_in_a_row_delay_the_next(failures: int, tokens: int) -> None:
    drafter = Drafter(PredictionIndex(list(range(200))))
    for _ in range(failures):
        drafter.report(1, 0)
    waited = 0
    while not drafter.draft(1) and waited < 100:
        drafter.observe([waited])
        waited += 1
    assert tokens == waited


def test_a_place_that_is_sure_ends_the_pause_after_two_refusals() -> None:
    drafter = Drafter(PredictionIndex(list(range(100))))
    for _ in range(2):
        drafter.report(FIRST_DRAFT, 0)
    assert [] == drafter.draft(100)
    drafter.observe([0])
    assert [1, 2] == drafter.draft(100)


def test_a_place_becomes_sure_by_the_tokens_that_go_on_as_predicted() -> None:
    drafter = Drafter(PredictionIndex(list(range(100))))
    drafter.observe([STRANGE])
    for _ in range(2):
        drafter.report(1, 0)
    drafter.observe([50, 51])
    drafted = []
    for token in (52, 53):
        drafted.append(drafter.draft(1))
        drafter.observe([token])
    assert ([[], []], [54]) == (drafted, drafter.draft(1))


def test_one_accepted_token_ends_the_row_of_refusals() -> None:
    drafter = Drafter(PredictionIndex(list(range(100))))
    for drafted, accepted in ((4, 0), (4, 1), (4, 0)):
        drafter.report(drafted, accepted)
    assert [0] == drafter.draft(100)
    assert (1, 11) == (drafter.accepted, drafter.rejected)


def test_no_draft_is_no_refusal() -> None:
    drafter = Drafter(PredictionIndex(list(range(100))))
    for _ in range(4):
        drafter.report(0, 0)
    assert [0, 1, 2, 3] == drafter.draft(100)


def test_of_two_places_behind_the_nearest_goes_first() -> None:
    prediction = [5, 7, 20, *range(100, 140), 5, 7, 30, *range(140, 160)]
    assert [30] == after(prediction, [*prediction, STRANGE, 5, 7])


def test_an_accepted_draft_doubles_the_next() -> None:
    drafter = Drafter(PredictionIndex(TEXT))
    lengths = []
    for _ in range(4):
        lengths.append(len(drafter.draft(100)))
        drafter.report(lengths[-1], lengths[-1])
    assert [FIRST_DRAFT, 2 * FIRST_DRAFT, 4 * FIRST_DRAFT, MAX_DRAFT] == lengths
