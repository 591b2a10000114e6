"""Draws of tokens: their frequencies, and the nucleus by its definition."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from antiphon.engine.sampling.row_blocks import BLOCK
from antiphon.engine.sampling.sampling_state import SamplingState
from antiphon.engine.sampling.token_draw import draw_token, is_in_nucleus, pick
from tests.engine.logits import (
    QUICK,
    SIZES,
    Floats,
    assert_distributed,
    on_the_edge,
    padded,
    probabilities,
    row,
    state,
    tied,
)


def draws(logits: Floats, n: int, drawing: SamplingState) -> list[int]:
    return [draw_token(padded(logits), drawing.rng, drawing.params.top_p) for _ in range(n)]


def counts_of(logits: Floats, n: int, drawing: SamplingState) -> npt.NDArray[np.intp]:
    return np.bincount(draws(logits, n, drawing), minlength=logits.size)


@given(SIZES, st.integers(0, 9), st.sampled_from([1e-9, 0.1, 0.5, 0.9, 0.999]), st.sampled_from([row, tied]))
@QUICK
def test_token_is_in_the_nucleus_exactly_when_the_reference_holds_it(
    n_vocab: int, seed: int, top_p: float, make: Callable[[int, int], Floats]
) -> None:
    logits = make(n_vocab, seed)
    expected = probabilities(logits, top_p=top_p)
    assume(not on_the_edge(logits, {"top_p": top_p}))
    weights = np.exp(logits)
    mass = top_p * float(weights.sum(dtype=np.float64))
    assert (expected > 0.0).tolist() == [is_in_nucleus(weights, token_id, mass) for token_id in range(n_vocab)]


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
def test_token_is_in_the_nucleus_when_the_tokens_before_it_weigh_less(
    expected: list[bool], weights: list[float], mass: float
) -> None:
    row_of_weights = np.array(weights, dtype=np.float32)
    assert expected == [is_in_nucleus(row_of_weights, token_id, mass) for token_id in range(4)]


@pytest.mark.parametrize("top_p", [0.0, 0.01, 0.05])
def test_every_token_of_a_rarely_hit_nucleus_is_drawn(top_p: float) -> None:
    logits = row(2 * BLOCK, 4)
    expected = set(np.flatnonzero(probabilities(logits, top_p=top_p)).tolist())
    assert expected == set(draws(logits, 200, state(top_p=top_p)))


@pytest.mark.parametrize("top_p", [0.0, 0.0005, 0.0015])
def test_nucleus_of_equally_likely_tokens_holds_those_with_the_smallest_ids(top_p: float) -> None:
    """A draw from the whole vocabulary hardly ever hits so small a nucleus."""
    n_vocab = 4 * BLOCK
    expected = set(range(max(1, math.ceil(top_p * n_vocab))))
    assert expected == set(draws(np.zeros(n_vocab, dtype=np.float32), 40, state(top_p=top_p)))


def test_draws_from_several_blocks_follow_the_distribution() -> None:
    logits = row(3 * BLOCK - 50, 5, 1.5)
    assert_distributed(counts_of(logits, 4000, state()), probabilities(logits))


@pytest.mark.parametrize("top_p", [0.05, 0.2, 0.36])
@pytest.mark.parametrize("first", [0.12, 0.001])
def test_draws_from_a_small_nucleus_follow_its_distribution(top_p: float, first: float) -> None:
    """The first token is in the nucleus or far outside: a search must begin at neither."""
    weights = np.full(1000, 0.5 / 997)
    weights[:3] = first, 0.05, 0.2
    logits = np.log(weights).astype(np.float32)
    assert_distributed(counts_of(logits, 4000, state(top_p=top_p)), probabilities(logits, top_p=top_p))


@given(
    st.lists(st.sampled_from([0.0, 0.0, 1e-38, 1e-20, 1e-7, 0.3, 1.0]), min_size=1, max_size=700).filter(any),
    st.sampled_from([0.0, 1e-300, 1 / 3, 0.5, 1.0 - 2**-52, 1.0 - 2**-53, 1.0]) | st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_token_of_weight_zero_is_never_picked(values: list[float], uniform: float) -> None:
    weights = np.array(values, dtype=np.float32)
    index, rest = pick(weights, uniform)
    assert weights[index] > 0.0
    assert 0.0 <= rest <= 1.0
    ends = np.cumsum(weights, dtype=np.float64)
    target, slack = uniform * ends[-1], 1e-12 * ends[-1]
    assert ends[index] - float(weights[index]) - slack <= target <= ends[index] + slack
