"""When a draft pays: the arithmetic, over made-up steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.drafting.draft_length import ASSUMED_COST, LEAST_COST, AcceptanceRate, StepCosts, worth_drafting


def costs(seconds: dict[int, float]) -> StepCosts:
    learnt = StepCosts()
    for tokens, each in seconds.items():
        learnt.observe(tokens, each)
    return learnt


def test_where_every_token_takes_as_long_a_draft_token_costs_a_whole_share() -> None:
    assert pytest.approx(1.0) == costs({1: 0.02, 4: 0.08}).draft_cost(1)


def test_where_more_tokens_take_no_longer_a_draft_token_costs_next_to_nothing() -> None:
    assert LEAST_COST == costs({1: 0.02, 4: 0.02}).draft_cost(1)


def test_a_draft_token_costs_more_of_a_share_when_many_sequences_share_the_step() -> None:
    learnt = costs({1: 0.05, 4: 0.08, 16: 0.20})
    assert [pytest.approx(0.2), pytest.approx(0.5)] == [learnt.draft_cost(n) for n in (1, 4)]


@pytest.mark.parametrize("seen", [{}, {1: 0.02}, {4: 0.02}, {1: 0.0, 4: 0.0}])
def test_what_has_not_been_seen_is_assumed(seen: dict[int, float]) -> None:
    assert ASSUMED_COST == costs(seen).draft_cost(1)


def test_a_share_is_a_steps_seconds_for_each_sequence() -> None:
    learnt = costs({4: 0.08})
    assert [pytest.approx(0.02), 0.0] == [learnt.share(4), learnt.share(1)]


def test_the_mean_follows_the_machine() -> None:
    learnt = costs({1: 0.02})
    for _ in range(60):
        learnt.observe(1, 0.1)
    assert pytest.approx(0.1, rel=0.01) == learnt.share(1)


def test_a_rate_begins_with_its_guess_and_learns_from_what_was_tried() -> None:
    rate = AcceptanceRate(0.5)
    assert 0.5 == rate.value
    for _ in range(30):
        rate.report(8, 8)
    assert rate.value > 0.98
    for _ in range(30):
        rate.report(8, 0)
    assert rate.value < 0.05


def test_what_follows_a_refused_token_was_not_tried() -> None:
    long, short = AcceptanceRate(0.5), AcceptanceRate(0.5)
    long.report(32, 1)
    short.report(2, 1)
    assert long.value == short.value


@given(st.floats(0.0, 1.0), st.floats(0.02, 2.0))
def test_the_last_token_of_a_draft_is_worth_its_cost_and_one_more_would_not_be(rate: float, cost: float) -> None:
    length = worth_drafting(rate, cost)
    rate = min(rate, 0.98)
    assert length == 0 or rate**length >= cost * (1 - 1e-9)
    assert rate ** (length + 1) <= cost * (1 + 1e-9) or rate ** (length + 1) <= cost + 1e-12


def test_a_mean_moves_a_tenth_of_the_way_to_each_new_step() -> None:
    learnt = costs({4: 0.02})
    learnt.observe(7, 0.12)
    assert [pytest.approx(0.03 / 4.3)] * 2 == [learnt.share(4), learnt.share(7)]


def test_a_step_that_takes_less_time_with_more_tokens_costs_the_least() -> None:
    assert LEAST_COST == costs({1: 0.02, 4: 0.01}).draft_cost(1)


def test_a_report_weighs_four_fifths_with_the_next_one() -> None:
    rate = AcceptanceRate(0.5)
    rate.report(4, 2)
    assert pytest.approx((0.8 * 1 + 2) / (0.8 * 2 + 2 + 1)) == rate.value
    rate.report(2, 2)
    assert pytest.approx((0.8 * 2.8 + 2) / (0.8 * 4.6 + 2)) == rate.value


@pytest.mark.parametrize(
    ("length", "rate", "cost"),
    [(2, 0.5, 0.2), (1, 0.5, 0.25), (1, 0.5, 0.49), (0, 0.5, 0.5), (0, 0.0, 0.0), (68, 1.0, 0.25), (0, 0.01, 0.02)],
)
def test_a_draft_is_as_long_as_its_last_token_is_worth_more_than_its_cost(
    length: int, rate: float, cost: float
) -> None:
    assert length == worth_drafting(rate, cost)
