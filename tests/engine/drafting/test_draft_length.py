"""The optimal length of a draft, over made-up steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.drafting.draft_length import (
    ASSUMED_COST,
    MIN_COST,
    AcceptanceRate,
    StepCosts,
    optimal_draft_length,
)


def costs(seconds: dict[int, float]) -> StepCosts:
    learnt = StepCosts()
    for tokens, each in seconds.items():
        learnt.observe(tokens, each)
    return learnt


def test_draft_token_costs_a_whole_step_where_time_grows_with_the_tokens() -> None:
    assert pytest.approx(1.0) == costs({1: 0.02, 4: 0.08}).draft_cost(1)


def test_draft_token_costs_the_minimum_where_more_tokens_take_no_longer() -> None:
    assert MIN_COST == costs({1: 0.02, 4: 0.02}).draft_cost(1)


def test_draft_token_costs_a_larger_share_in_a_step_of_many_sequences() -> None:
    learnt = costs({1: 0.05, 4: 0.08, 16: 0.20})
    assert [pytest.approx(0.2), pytest.approx(0.5)] == [learnt.draft_cost(n) for n in (1, 4)]


@pytest.mark.parametrize("seen", [{}, {1: 0.02}, {4: 0.02}, {1: 0.0, 4: 0.0}])
def test_cost_is_assumed_before_steps_of_different_sizes_are_measured(seen: dict[int, float]) -> None:
    assert ASSUMED_COST == costs(seen).draft_cost(1)


def test_seconds_of_a_step_are_divided_among_its_sequences() -> None:
    learnt = costs({4: 0.08})
    assert [pytest.approx(0.02), 0.0] == [learnt.seconds_per_sequence(4), learnt.seconds_per_sequence(1)]


def test_mean_follows_a_change_of_the_machines_speed() -> None:
    learnt = costs({1: 0.02})
    for _ in range(60):
        learnt.observe(1, 0.1)
    assert pytest.approx(0.1, rel=0.01) == learnt.seconds_per_sequence(1)


def test_rate_starts_at_its_initial_value_and_follows_the_reports() -> None:
    rate = AcceptanceRate(0.5)
    assert 0.5 == rate.value
    for _ in range(30):
        rate.report(8, 8)
    assert rate.value > 0.98
    for _ in range(30):
        rate.report(8, 0)
    assert rate.value < 0.05


def test_tokens_after_a_refused_one_do_not_count() -> None:
    long, short = AcceptanceRate(0.5), AcceptanceRate(0.5)
    long.report(32, 1)
    short.report(2, 1)
    assert long.value == short.value


@given(st.floats(0.0, 1.0), st.floats(0.02, 2.0))
def test_last_token_of_a_draft_saves_time_and_one_more_would_not(rate: float, cost: float) -> None:
    length = optimal_draft_length(rate, cost)
    rate = min(rate, 0.98)
    assert length == 0 or rate**length >= cost * (1 - 1e-9)
    assert rate ** (length + 1) <= cost * (1 + 1e-9) or rate ** (length + 1) <= cost + 1e-12


def test_mean_moves_a_tenth_of_the_way_to_each_new_step() -> None:
    learnt = costs({4: 0.02})
    learnt.observe(7, 0.12)
    assert [pytest.approx(0.03 / 4.3)] * 2 == [learnt.seconds_per_sequence(4), learnt.seconds_per_sequence(7)]


def test_draft_token_costs_the_minimum_where_more_tokens_take_less_time() -> None:
    assert MIN_COST == costs({1: 0.02, 4: 0.01}).draft_cost(1)


def test_each_report_lowers_the_weight_of_the_earlier_ones_to_four_fifths() -> None:
    rate = AcceptanceRate(0.5)
    rate.report(4, 2)
    assert pytest.approx((0.8 * 1 + 2) / (0.8 * 2 + 2 + 1)) == rate.value
    rate.report(2, 2)
    assert pytest.approx((0.8 * 2.8 + 2) / (0.8 * 4.6 + 2)) == rate.value


@pytest.mark.parametrize(
    ("length", "rate", "cost"),
    [(2, 0.5, 0.2), (1, 0.5, 0.25), (1, 0.5, 0.49), (0, 0.5, 0.5), (0, 0.0, 0.0), (68, 1.0, 0.25), (0, 0.01, 0.02)],
)
def test_draft_ends_with_the_last_token_that_saves_more_than_it_costs(length: int, rate: float, cost: float) -> None:
    assert length == optimal_draft_length(rate, cost)
