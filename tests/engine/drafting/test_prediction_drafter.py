"""Drafts from a prediction, simulated with known answers. test_core.py shows that they do not change an answer."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.cache.radix_tree import common_length
from antiphon.engine.drafting.prediction_drafter import (
    FIRST_DRAFT,
    MAX_DRAFT,
    MAX_PAUSE,
    MAX_PLACES_AHEAD,
    MAX_PLACES_BEFORE,
    NEAR_TOKENS,
    PredictionDrafter,
    PredictionIndex,
)

TEXT = random.Random(5).choices(range(60), k=400)  # noqa: S311 (a text)
OTHER = random.Random(6).choices(range(60), k=400)  # noqa: S311


def follow(prediction: list[int], answer: list[int]) -> tuple[int, PredictionDrafter]:
    """Return the steps that an answer takes; each verifies a draft and adds one token by the model."""
    drafter, said, steps = PredictionDrafter(PredictionIndex(prediction)), 0, 0
    while said < len(answer):
        draft = drafter.draft(len(answer) - said - 1)
        accepted = common_length(draft, answer, said, min(said + len(draft), len(answer)))
        gained = answer[said : said + accepted + 1]
        drafter.observe(gained)
        drafter.report(len(draft), accepted)
        said += len(gained)
        steps += 1
    return steps, drafter


def test_right_prediction_takes_few_steps_and_no_token_is_rejected() -> None:
    steps, drafter = follow(TEXT, TEXT)
    assert (0, len(TEXT)) == (drafter.rejected, drafter.accepted + steps)
    assert steps < 20


def test_accepted_drafts_grow_and_refused_drafts_shrink() -> None:
    drafter = PredictionDrafter(PredictionIndex(TEXT))
    assert FIRST_DRAFT == len(drafter.draft(100))
    for _ in range(8):
        drafter.report(1, 1)
    assert MAX_DRAFT == len(drafter.draft(100))
    drafter.report(MAX_DRAFT, 3)
    assert 3 == len(drafter.draft(100))


def test_draft_does_not_exceed_its_limit() -> None:
    assert [TEXT[:2], []] == [PredictionDrafter(PredictionIndex(TEXT)).draft(limit) for limit in (2, 0)]


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
def test_place_is_found_again_after_a_mismatch(answer: list[int]) -> None:
    steps, drafter = follow(TEXT, answer)
    new = len([token for token in answer if token > 60])
    assert steps < 50 + new
    assert drafter.rejected < 100


@pytest.mark.parametrize("prediction", [OTHER, [7] * 400, OTHER[:3]])
def test_useless_prediction_wastes_few_tokens(prediction: list[int]) -> None:
    _, drafter = follow(prediction, TEXT)
    assert drafter.rejected <= 0.05 * len(TEXT)


def test_answer_longer_than_its_prediction_is_not_drafted() -> None:
    drafter = PredictionDrafter(PredictionIndex([1, 2]))
    drafter.observe([1, 2])
    assert [] == drafter.draft(10)


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_every_token_of_an_answer_is_accepted_or_sampled(prediction: list[int], answer: list[int]) -> None:
    steps, drafter = follow(prediction, answer)
    assert len(answer) == drafter.accepted + steps


STRANGE = 999
"""A token that no prediction has."""


def after(prediction: list[int], said: list[int], *, limit: int = 1) -> list[int]:
    """Return the first draft after an answer has begun with ``said``."""
    drafter = PredictionDrafter(PredictionIndex(prediction))
    drafter.observe(said)
    return drafter.draft(limit)


@pytest.mark.parametrize(
    ("token", "expected"), [(0, [1]), (NEAR_TOKENS - 1, [NEAR_TOKENS]), (NEAR_TOKENS, []), (90, [])]
)
def test_one_equal_token_gives_a_place_only_shortly_after_the_last_one(token: int, expected: list[int]) -> None:
    assert expected == after(list(range(100)), [STRANGE, token])


@pytest.mark.parametrize(("token", "expected"), [(61, [62]), (91, [92]), (92, []), (59, []), (20, [])])
def test_nearness_is_measured_from_the_last_confirmed_place(token: int, expected: list[int]) -> None:
    assert expected == after(list(range(200)), [*range(60), STRANGE, token])


@pytest.mark.parametrize("place", [0, 50, 90])
def test_two_equal_tokens_give_a_place_at_any_distance(place: int) -> None:
    assert [place + 2] == after(list(range(100)), [*range(20), STRANGE, place, place + 1])


def test_draft_at_a_place_with_four_equal_tokens_is_as_long_as_the_first_draft() -> None:
    drafter = PredictionDrafter(PredictionIndex([1, 2, 3, 4, 10, 11, 1, 2, 3, 4, *range(20, 40)]))
    drafter.report(FIRST_DRAFT, FIRST_DRAFT)
    drafter.observe([1, 2, 3, 4, 20])
    assert [21, 22, 23, 24] == drafter.draft(100)


def test_draft_at_a_place_with_fewer_equal_tokens_is_short() -> None:
    assert [21, 22] == after([1, 2, 3, 10, 11, 2, 3, *range(20, 40)], [1, 2, 3, 20], limit=100)


def test_place_with_more_equal_tokens_wins() -> None:
    prediction = [9, 2, 3, 50, *range(100, 140), 1, 2, 4, *range(140, 180), 1, 2, 3, 60]
    assert [60] == after(prediction, [STRANGE, 1, 2, 3])


def test_nearest_place_ahead_wins_over_a_nearer_place_before() -> None:
    prediction = [100, 101, 102, 103, 104, 105, 106, 107, 108, 7, *range(110, 129), 7, *range(130, 134), 7, 135]
    assert [130] == after(prediction, [*prediction[:10], STRANGE, 7])


def test_one_token_at_the_end_does_not_lead_back_to_the_start() -> None:
    assert [] == after([5, 6, 7, 8], [5, 6, 7, 8, 5])


@pytest.mark.parametrize(("number", "expected"), [(14, 115), (13, 131)])
def test_number_of_compared_places_before_is_limited(number: int, expected: int) -> None:
    prediction = [token for i in range(40) for token in (100 + i, 7)]
    assert 14 == 30 - MAX_PLACES_BEFORE
    assert [expected] == after(prediction, [*prediction[:60], STRANGE, 100 + number, 7])


@pytest.mark.parametrize(
    ("number", "expected"), [(MAX_PLACES_AHEAD - 1, 100 + MAX_PLACES_AHEAD), (MAX_PLACES_AHEAD, 101)]
)
def test_number_of_compared_places_ahead_is_limited(number: int, expected: int) -> None:
    prediction = [token for i in range(90) for token in (100 + i, 7)]
    assert [expected] == after(prediction, [STRANGE, 100 + number, 7])


@pytest.mark.parametrize(("failures", "tokens"), [(0, 0), (1, 0), (3, 16), (4, 32), (5, 64), (9, MAX_PAUSE)])
def test_refused_drafts_in_a_row_delay_the_next_draft(failures: int, tokens: int) -> None:
    drafter = PredictionDrafter(PredictionIndex(list(range(200))))
    for _ in range(failures):
        drafter.report(1, 0)
    waited = 0
    while not drafter.draft(1) and waited < 100:
        drafter.observe([waited])
        waited += 1
    assert tokens == waited


def test_confirmed_place_ends_the_pause_after_two_refusals() -> None:
    drafter = PredictionDrafter(PredictionIndex(list(range(100))))
    for _ in range(2):
        drafter.report(FIRST_DRAFT, 0)
    assert [] == drafter.draft(100)
    drafter.observe([0])
    assert [1, 2] == drafter.draft(100)


def test_predicted_tokens_confirm_a_place() -> None:
    drafter = PredictionDrafter(PredictionIndex(list(range(100))))
    drafter.observe([STRANGE])
    for _ in range(2):
        drafter.report(1, 0)
    drafter.observe([50, 51])
    drafted = []
    for token in (52, 53):
        drafted.append(drafter.draft(1))
        drafter.observe([token])
    assert ([[], []], [54]) == (drafted, drafter.draft(1))


def test_one_accepted_token_ends_a_row_of_refusals() -> None:
    drafter = PredictionDrafter(PredictionIndex(list(range(100))))
    for drafted, accepted in ((4, 0), (4, 1), (4, 0)):
        drafter.report(drafted, accepted)
    assert [0] == drafter.draft(100)
    assert (1, 11) == (drafter.accepted, drafter.rejected)


def test_empty_draft_counts_as_no_refusal() -> None:
    drafter = PredictionDrafter(PredictionIndex(list(range(100))))
    for _ in range(4):
        drafter.report(0, 0)
    assert [0, 1, 2, 3] == drafter.draft(100)


def test_nearest_of_two_places_before_wins() -> None:
    prediction = [5, 7, 20, *range(100, 140), 5, 7, 30, *range(140, 160)]
    assert [30] == after(prediction, [*prediction, STRANGE, 5, 7])


def test_accepted_draft_doubles_the_next() -> None:
    drafter = PredictionDrafter(PredictionIndex(TEXT))
    lengths = []
    for _ in range(4):
        lengths.append(len(drafter.draft(100)))
        drafter.report(lengths[-1], lengths[-1])
    assert [FIRST_DRAFT, 2 * FIRST_DRAFT, 4 * FIRST_DRAFT, MAX_DRAFT] == lengths
