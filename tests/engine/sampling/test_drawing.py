"""Drawing: rows together as rows alone, and the nucleus by its definition."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from antiphon.engine.sampling.drawing import BLOCK, TOGETHER, Drawing, _is_within, pick
from antiphon.engine.sampling.sampler import Sampler
from tests.engine.logits import (
    QUICK,
    SIZES,
    Floats,
    assert_distributed,
    on_the_edge,
    probabilities,
    row,
    state,
    tied,
)

WAYS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_p": 0.9},
    {"top_p": 0.0},
    {"temperature": 1.7, "top_p": 0.2, "logit_bias": {0: -100.0, 1: 3.0}},
]


@given(
    SIZES,
    st.lists(st.integers(0, len(WAYS) - 1), min_size=1, max_size=2 * TOGETHER + 1),
    st.lists(st.booleans(), min_size=2 * TOGETHER + 1, max_size=2 * TOGETHER + 1),
    st.sampled_from([row, tied]),
)
@QUICK
def test_rows_are_drawn_from_together_as_they_are_alone(
    n_vocab: int, ways: list[int], gaps: list[bool], make: Callable[[int, int], Floats]
) -> None:
    """Some rows are nobody's: those of drafts, and of choices that are not drawn."""
    rows = [place + sum(gaps[: place + 1]) for place in range(len(ways))]
    logits = np.stack([make(max(2, n_vocab), seed) for seed in range(rows[-1] + 1)])
    alone, together = [[state(stream=(7, i), **WAYS[way]) for i, way in enumerate(ways)] for _ in range(2)]
    sampler, drawing = Sampler(max(2, n_vocab)), Drawing(max(2, n_vocab))
    for _ in range(3):
        expected = [sampler.sample(logits[place], own)[0] for place, own in zip(rows, alone, strict=True)]
        assert expected == drawing.draw(logits, rows, together)


@pytest.mark.parametrize("extreme", [-300.0, 300.0, np.inf])
def test_a_row_out_of_range_is_left_to_others_and_its_stream_where_it_was(extreme: float) -> None:
    logits = np.stack([row(300, 1), np.full(300, extreme, dtype=np.float32), row(300, 2)])
    states = [state() for _ in range(3)]
    drawn = Drawing(300).draw(logits, range(3), states)
    assert [False, True, False] == [token_id is None for token_id in drawn]
    assert state().rng.random() == states[1].rng.random()


def test_drawing_leaves_the_models_rows_as_they_were() -> None:
    logits = np.stack([row(300, seed) for seed in range(3)])
    given_logits = logits.copy()
    Drawing(300).draw(logits, range(3), [state(logit_bias={0: -100.0, 1: 3.0}, top_p=0.5) for _ in range(3)])
    assert np.array_equal(given_logits, logits)


@given(SIZES, st.integers(0, 9), st.sampled_from([1e-9, 0.1, 0.5, 0.9, 0.999]), st.sampled_from([row, tied]))
@QUICK
def test_a_token_is_within_exactly_when_the_nucleus_holds_it(
    n_vocab: int, seed: int, top_p: float, make: Callable[[int, int], Floats]
) -> None:
    logits = make(n_vocab, seed)
    expected = probabilities(logits, top_p=top_p)
    assume(not on_the_edge(logits, {"top_p": top_p}))
    weights = np.exp(logits)
    mass = top_p * float(weights.sum(dtype=np.float64))
    assert (expected > 0.0).tolist() == [_is_within(weights, token_id, mass) for token_id in range(n_vocab)]


@pytest.mark.parametrize(
    ("expected", "weights", "mass"),
    [
        ([True, True, False, False], [0.5, 0.2, 0.2, 0.1], 0.6),
        ([True, True, True, False], [1.0, 1.0, 1.0, 1.0], 3.0),
        ([False, True, False, True], [0.125, 0.25, 0.125, 0.5], 0.75),
        ([True, True, False, False], [0.5, 0.25, 0.125, 0.0625], 0.75),
        ([True, True, False, True], [0.125, 0.25, 0.125, 0.5], 0.875),
    ],
)
def test_a_token_is_within_when_those_before_it_weigh_less(
    expected: list[bool], weights: list[float], mass: float
) -> None:
    row_of_weights = np.array(weights, dtype=np.float32)
    assert expected == [_is_within(row_of_weights, token_id, mass) for token_id in range(4)]


@pytest.mark.parametrize("top_p", [0.0, 0.01, 0.05])
def test_a_nucleus_that_is_hardly_ever_hit_is_drawn_from_all_the_same(top_p: float) -> None:
    logits = row(2 * BLOCK, 4)
    nucleus = set(np.flatnonzero(probabilities(logits, top_p=top_p)).tolist())
    own, drawing = state(top_p=top_p), Drawing(2 * BLOCK)
    drawn = {drawing.draw(logits[None], [0], [own])[0] for _ in range(200)}
    assert nucleus == drawn


@pytest.mark.parametrize("top_p", [0.0, 0.0005, 0.0015])
def test_of_equals_the_first_are_the_nucleus(top_p: float) -> None:
    """So small a nucleus is hardly ever hit by a draw from all of the vocabulary."""
    n_vocab = 4 * BLOCK
    own, drawing = state(top_p=top_p), Drawing(n_vocab)
    logits = np.zeros((1, n_vocab), dtype=np.float32)
    drawn = {drawing.draw(logits, [0], [own])[0] for _ in range(40)}
    assert set(range(max(1, math.ceil(top_p * n_vocab)))) == drawn


def test_draws_from_several_blocks_follow_the_distribution() -> None:
    logits = row(3 * BLOCK - 50, 5, 1.5)
    own, drawing = state(), Drawing(logits.size)
    drawn = np.array([drawing.draw(logits[None], [0], [own])[0] for _ in range(4000)], dtype=np.intp)
    assert_distributed(np.bincount(drawn, minlength=logits.size), probabilities(logits))


def test_rows_of_different_temperatures_are_drawn_each_at_its_own() -> None:
    logits = row(12, 5, 1.5)
    temperatures = [1.0, 0.5, 2.0]
    states, drawing = [state(temperature=each) for each in temperatures], Drawing(12)
    drawn = np.array([drawing.draw(np.stack([logits] * 3), range(3), states) for _ in range(4000)], dtype=np.intp)
    for column, temperature in enumerate(temperatures):
        assert_distributed(np.bincount(drawn[:, column], minlength=12), probabilities(logits, temperature=temperature))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_bias_moves_a_logit_before_its_temperature(temperature: float) -> None:
    logits = row(12, 5, 1.5)
    own, drawing = state(temperature=temperature, logit_bias={3: 1.5, 4: -2.0, 5: -100.0}), Drawing(12)
    moved = logits.astype(np.float64)
    moved[[3, 4, 5]] += [1.5, -2.0, -np.inf]
    drawn = np.array([drawing.draw(logits[None], [0], [own])[0] for _ in range(4000)], dtype=np.intp)
    assert_distributed(np.bincount(drawn, minlength=12), probabilities(moved, temperature=temperature))


@pytest.mark.parametrize("top_p", [0.05, 0.2, 0.36])
@pytest.mark.parametrize("first", [0.12, 0.001])
def test_draws_from_a_small_nucleus_follow_its_distribution(top_p: float, first: float) -> None:
    """The first token is in the nucleus or far outside: neither is a place to begin with."""
    weights = np.full(1000, 0.5 / 997)
    weights[:3] = first, 0.05, 0.2
    logits = np.log(weights).astype(np.float32)
    expected = probabilities(logits, top_p=top_p)
    own, drawing = state(top_p=top_p), Drawing(1000)
    drawn = np.array([drawing.draw(logits[None], [0], [own])[0] for _ in range(4000)], dtype=np.intp)
    assert_distributed(np.bincount(drawn, minlength=1000), expected)


@given(
    st.lists(st.sampled_from([0.0, 0.0, 1e-38, 1e-20, 1e-7, 0.3, 1.0]), min_size=1, max_size=700).filter(any),
    st.sampled_from([0.0, 1e-300, 1 / 3, 0.5, 1.0 - 2**-52, 1.0 - 2**-53, 1.0]) | st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_a_token_of_weight_zero_is_never_picked(values: list[float], uniform: float) -> None:
    weights = np.array(values, dtype=np.float32)
    index, rest = pick(weights, uniform)
    assert weights[index] > 0.0
    assert 0.0 <= rest <= 1.0
    ends = np.cumsum(weights, dtype=np.float64)
    target, slack = uniform * ends[-1], 1e-12 * ends[-1]
    assert ends[index] - float(weights[index]) - slack <= target <= ends[index] + slack
