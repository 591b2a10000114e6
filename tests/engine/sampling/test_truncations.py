"""Each truncation against its definition in float64: typical_p, top_p, xtc_probability and xtc_threshold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from antiphon.engine.sampling import truncations
from antiphon.engine.sampling.sampler import Sampler
from antiphon.engine.sampling.sampling_state import SamplingState
from antiphon.engine.sampling.truncations import CANDIDATES
from tests.engine.logits import QUICK, SIZES, Doubles, Floats, assert_distributed, padded, probabilities, row, state


def kept(logits: Floats, truncate: Callable[[Floats, SamplingState], None], parameters: SamplingState) -> set[int]:
    truncated = padded(logits)
    truncate(truncated, parameters)
    return set(np.flatnonzero(np.isfinite(truncated)).tolist())


def typical(logits: Floats, mass: float) -> tuple[set[int], Doubles]:
    """Give the locally typical tokens (Meister et al. 2023), and the probabilities that add up to the mass."""
    p = probabilities(logits)
    surprise = -np.log(p)
    order = np.argsort(np.abs(surprise - (p * surprise).sum()), kind="stable")
    ends = np.cumsum(p[order])
    return set(order[: int((ends <= mass).sum()) + 1].tolist()), ends


@given(SIZES, st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99]))
@settings(max_examples=200, deadline=None)
def test_typical_p_keeps_the_tokens_nearest_to_the_expected_surprise(n_vocab: int, seed: int, mass: float) -> None:
    logits = row(n_vocab, seed)
    expected, ends = typical(logits, mass)
    assume(np.abs(ends - mass).min() > 1e-9)
    assert expected == kept(logits, truncations.apply_typical_p, state(typical_p=mass))


@pytest.mark.parametrize("scale", [0.5, 30.0])
@pytest.mark.parametrize("mass", [0.2, 0.999])
def test_typical_p_keeps_the_same_tokens_of_flat_and_steep_rows(mass: float, scale: float) -> None:
    logits = row(5000, 3, scale)
    expected, _ = typical(logits, mass)
    assert expected == kept(logits, truncations.apply_typical_p, state(typical_p=mass))


def test_typical_p_of_one_keeps_every_token() -> None:
    assert set(range(50)) == kept(row(50, 1), truncations.apply_typical_p, state(typical_p=1.0))


@given(SIZES, st.integers(0, 9), st.sampled_from([0.0, 0.3, 0.8, 0.999]))
@QUICK
def test_top_p_keeps_the_nucleus(n_vocab: int, seed: int, top_p: float) -> None:
    logits = row(n_vocab, seed)
    expected = set(np.flatnonzero(probabilities(logits, top_p=top_p)).tolist())
    assert expected == kept(logits, truncations.apply_top_p, state(top_p=top_p))


@pytest.mark.parametrize("top_p", [0.3, 0.999])
def test_top_p_takes_as_many_candidates_as_it_needs(top_p: float) -> None:
    logits = row(40 * CANDIDATES, 3, 0.5)
    expected = set(np.flatnonzero(probabilities(logits, top_p=top_p)).tolist())
    assert len(expected) > CANDIDATES
    assert expected == kept(logits, truncations.apply_top_p, state(top_p=top_p))


def without_top_choices(logits: Floats, threshold: float) -> set[int]:
    """Give the tokens after XTC: all but the least likely of those with at least the threshold are dropped."""
    p = probabilities(logits)
    likely = [int(token) for token in np.argsort(-p, kind="stable") if p[token] >= threshold]
    return set(range(len(p))) - set(likely[:-1])


@given(SIZES, st.integers(0, 9), st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5]))
@QUICK
def test_xtc_keeps_the_least_likely_of_the_likely_tokens(n_vocab: int, seed: int, threshold: float) -> None:
    logits = row(n_vocab, seed)
    assume(np.abs(probabilities(logits) - threshold).min() > 1e-6 or threshold == 0.0)
    excluding = state(xtc_probability=1.0, xtc_threshold=threshold)
    assert without_top_choices(logits, threshold) == kept(logits, truncations.apply_xtc, excluding)


def test_xtc_happens_as_often_as_its_probability_says() -> None:
    logits, sampler = row(30, 5), Sampler(30)
    often = state(xtc_probability=0.25, xtc_threshold=0.05)
    p = probabilities(logits)
    left = np.where(np.isin(np.arange(30), [*without_top_choices(logits, 0.05)]), p, 0.0)
    drawn = np.bincount([sampler.sample(logits, often)[0] for _ in range(4000)], minlength=30)
    assert_distributed(drawn, 0.75 * p + 0.25 * left / left.sum())


def test_xtc_counts_the_probabilities_after_top_p() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    excluding = state(top_p=0.6, xtc_probability=1.0, xtc_threshold=0.4)
    assert {1} == {Sampler(4).sample(logits, excluding)[0] for _ in range(50)}


@pytest.mark.parametrize("off", [{}, {"xtc_probability": 0.0}, {"xtc_probability": 1.0, "xtc_threshold": 0.51}])
def test_xtc_that_is_off_draws_no_random_number(off: dict[str, Any]) -> None:
    logits, sampler = row(300, 1), Sampler(300)
    drawing, plain = state(**off), state()
    assert [sampler.sample(logits, drawing) for _ in range(9)] == [sampler.sample(logits, plain) for _ in range(9)]


def test_largest_logit_that_xtc_leaves_becomes_zero() -> None:
    far = padded(np.array([50.0, -60.0, -70.0], dtype=np.float32))
    truncations.apply_xtc(far, state(xtc_probability=1.0, xtc_threshold=0.0))
    assert 0.0 == far.max()


def test_typical_p_shapes_the_draws() -> None:
    logits = row(40, 2)
    expected, _ = typical(logits, 0.5)
    sampler, drawing = Sampler(40), state(typical_p=0.5)
    assert expected == {sampler.sample(logits, drawing)[0] for _ in range(3000)}
