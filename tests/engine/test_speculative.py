"""How a draft follows the answer: simulated, with an answer that is known. That nothing changes is for test_core."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.radix_tree import common_length
from antiphon.engine.speculative import FIRST_DRAFT, MAX_DRAFT, Drafter, PredictionIndex

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
