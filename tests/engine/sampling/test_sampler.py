"""The sampler against a plain float64 reference: its tokens, their frequencies and their log probabilities."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from antiphon.engine.interface import TokenLogprobs
from antiphon.engine.sampling.row_blocks import BLOCK
from antiphon.engine.sampling.sampler import UNLIKELY, Sampler
from tests.engine.logits import (
    QUICK,
    SIZES,
    Floats,
    Only,
    assert_distributed,
    on_the_edge,
    probabilities,
    row,
    state,
    tied,
)


def draws(logits: Floats, n: int, params: dict[str, Any]) -> npt.NDArray[np.intp]:
    sampler, drawing = Sampler(logits.size), state(**params)
    ids = [sampler.sample(logits, drawing)[0] for _ in range(n)]
    return np.bincount(ids, minlength=logits.size)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 7},
        {"top_k": 7, "temperature": 0.5},
        {"top_p": 0.8},
        {"min_p": 0.05},
        {"top_k": 30, "top_p": 0.9, "min_p": 0.01, "temperature": 1.3},
        {"top_p": 0.3, "min_p": 0.02},
    ],
)
@pytest.mark.parametrize("n_vocab", [12, 300])
def test_draws_follow_the_exact_distribution(n_vocab: int, params: dict[str, Any]) -> None:
    logits = row(n_vocab, 5, 1.5)
    assert_distributed(draws(logits, 4000, params), probabilities(logits, **params))


@pytest.mark.parametrize("shift", [-300.0, 300.0])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_logits_far_from_zero_are_drawn_at_their_temperature(shift: float, temperature: float) -> None:
    logits = row(12, 7) + np.float32(shift)
    params: dict[str, Any] = {"temperature": temperature}
    assert_distributed(draws(logits, 4000, params), probabilities(logits, **params))


@given(
    SIZES,
    st.integers(0, 9),
    st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.3, 1.0, 1.7]),
            "top_k": st.sampled_from([0, 1, 2, 5, 20, 21, 64, 5000]),
            "top_p": st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.9, 0.999, 1.0]),
            "min_p": st.sampled_from([0.0, 0.001, 0.1, 0.7, 1.0]),
        }
    ),
    st.sampled_from([row, tied]),
)
@settings(max_examples=200, deadline=None)
def test_truncation_draws_no_token_that_the_reference_excludes(
    n_vocab: int, seed: int, params: dict[str, Any], make: Callable[[int, int], Floats]
) -> None:
    logits = make(n_vocab, seed)
    expected = probabilities(logits, **params)
    assume(not on_the_edge(logits, params))
    sampler, truncating = Sampler(n_vocab), state(**params)
    least = logits[expected > 0.0].min()
    for _ in range(20):
        assert least <= logits[sampler.sample(logits, truncating)[0]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_bias_moves_a_logit_before_the_temperature_divides_it(temperature: float) -> None:
    logits = row(12, 5, 1.5)
    moved = logits.astype(np.float64)
    moved[[3, 4, 5]] += [1.5, -2.0, -np.inf]
    counts = draws(logits, 4000, {"temperature": temperature, "logit_bias": {3: 1.5, 4: -2.0, 5: -100.0}})
    assert_distributed(counts, probabilities(moved, temperature=temperature))


@pytest.mark.parametrize("logit", [math.inf, -math.inf])
def test_row_without_a_finite_largest_logit_gives_its_first_token_and_no_random_number(logit: float) -> None:
    infinite = state()
    assert 0 == Sampler(300).sample(np.full(300, logit, dtype=np.float32), infinite)[0]
    assert state().rng.random() == infinite.rng.random()


@given(SIZES, st.integers(0, 99), st.sampled_from([row, tied]))
@QUICK
def test_temperature_zero_takes_the_first_of_the_likeliest_tokens(
    n_vocab: int, seed: int, make: Callable[[int, int], Floats]
) -> None:
    logits = make(n_vocab, seed)
    cases: list[dict[str, Any]] = [{}, {"logprobs": 1}, {"logit_bias": {0: 0.0}}, {"top_k": 3, "top_p": 0.1}]
    for params in cases:
        token_id, _ = Sampler(n_vocab).sample(logits, state(temperature=0.0, **params))
        assert int(logits.argmax()) == token_id


@pytest.mark.parametrize("temperature", [1e-45, 1e-20, 1e-6, 1e-4])
def test_the_smallest_temperatures_are_greedy(temperature: float) -> None:
    logits = row(300, 1)
    assert int(logits.argmax()) == Sampler(300).sample(logits, state(temperature=temperature))[0]


def test_bias_of_minus_100_bans_and_of_100_forces_tokens() -> None:
    logits = row(40, 6)
    first = int(logits.argmax())
    banned, forced = {first: -100.0}, {7: 100.0, 9: 100.0, first: 50.0}
    sampler = Sampler(40)
    for temperature in (0.0, 2.0):
        without = state(temperature=temperature, logit_bias=banned)
        assert first not in {sampler.sample(logits, without)[0] for _ in range(200)}
        only = state(temperature=temperature, logit_bias=forced)
        assert {sampler.sample(logits, only)[0] for _ in range(200)} <= {7, 9}
    _, logprobs = sampler.sample(logits, state(logprobs=20, logit_bias=forced))
    assert logprobs is not None
    assert {7, 9} == set(logprobs.top_ids)
    assert 1.0 == pytest.approx(sum(math.exp(value) for value in logprobs.top_logprobs))


def reported(logits: Floats, **params: Any) -> tuple[int, TokenLogprobs]:  # noqa: ANN401 (as above)
    token_id, logprobs = Sampler(logits.size).sample(logits, state(**params))
    assert logprobs is not None
    return token_id, logprobs


@given(SIZES, st.integers(0, 20), st.integers(0, 9), st.sampled_from([0.0, 0.5, 2.0]))
@QUICK
def test_logprobs_are_of_the_logits_before_temperature(n_vocab: int, n: int, seed: int, temperature: float) -> None:
    logits = row(n_vocab, seed)
    exact = np.log(probabilities(logits))
    token_id, logprobs = reported(logits, logprobs=n, temperature=temperature, top_p=0.9)
    order = np.argsort(-exact)
    assert order[:n].tolist() == logprobs.top_ids
    assert exact[order[:n]].tolist() == pytest.approx(logprobs.top_logprobs, abs=1e-4)
    within = token_id in order[:20]
    assert (float(exact[token_id]) if within else UNLIKELY) == pytest.approx(logprobs.logprob, abs=1e-4)


@given(SIZES, st.integers(0, 20), st.integers(0, 9), st.data())
@QUICK
def test_given_token_is_scored_by_the_row_alone(n_vocab: int, n: int, seed: int, data: st.DataObject) -> None:
    logits = row(n_vocab, seed)
    before = logits.copy()
    token_id = data.draw(st.integers(0, n_vocab - 1))
    score = Sampler(n_vocab).score(logits, token_id, n)
    exact, order = np.log(probabilities(before)), np.argsort(-before, kind="stable").tolist()
    assert (token_id, order.index(token_id) + 1, order[:n]) == (score.token_id, score.rank, score.top_ids)
    assert float(exact[token_id]) == pytest.approx(score.logprob, abs=1e-4)
    assert exact[order[:n]].tolist() == pytest.approx(score.top_logprobs, abs=1e-4)
    assert before.tolist() == logits.tolist()


@pytest.mark.parametrize(("rank", "token_id"), [(1, 7), (2, 0), (3, 3), (4, 9), (5, 1)])
def test_equally_likely_tokens_are_ranked_by_their_ids(rank: int, token_id: int) -> None:
    logits = np.full(20, -1.0, dtype=np.float32)
    logits[[0, 3, 9]], logits[7] = 1.0, 2.0
    score = Sampler(20).score(logits, token_id, 4)
    assert (rank, [7, 0, 3, 9]) == (score.rank, score.top_ids)


def test_impossible_token_has_a_logprob_of_minus_9999() -> None:
    logits = np.array([-np.inf, 1.0, 2.0], dtype=np.float32)
    assert (UNLIKELY, 3, [2, 1]) == (
        (score := Sampler(3).score(logits, 0, 3)).logprob,
        score.rank,
        score.top_ids,
    )


def test_logprobs_include_bias() -> None:
    logits = row(60, 8)
    expected = logits.astype(np.float64)
    expected[5] += 3
    exact = np.log(probabilities(expected))
    token_id, logprobs = reported(logits, logprobs=1, temperature=0.0, logit_bias={5: 3.0})
    assert float(exact[token_id]) == pytest.approx(logprobs.logprob, abs=1e-4)


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty", "repetition_penalty"])
def test_logprobs_include_each_penalty(penalty: str) -> None:
    logits = np.full(60, 1.0, dtype=np.float32)
    _, logprobs = reported(logits, logprobs=20, generated=(*range(50),), **{penalty: 2.0})
    assert [*range(50, 60)] == logprobs.top_ids[:10]


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty", "repetition_penalty"])
def test_each_penalty_changes_the_most_likely_token(penalty: str) -> None:
    logits = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    params: dict[str, Any] = {"temperature": 0.0, penalty: 2.0}
    assert 1 == Sampler(3).sample(logits, state(generated=(2,), **params))[0]


def test_token_outside_the_20_likeliest_has_a_logprob_of_minus_9999() -> None:
    logits = np.zeros(400, dtype=np.float32)
    logits[:20] = 0.01
    sampler, drawing = Sampler(400), state(logprobs=20)
    answers = [sampler.sample(logits, drawing) for _ in range(50)]
    for token_id, logprobs in answers:
        assert logprobs is not None
        assert (logprobs.logprob == UNLIKELY) == (token_id >= 20)
    assert {True, False} == {token_id >= 20 for token_id, _ in answers}


def test_banned_tokens_are_no_alternatives_and_ties_are_sorted_by_id() -> None:
    _, logprobs = reported(np.zeros(6, dtype=np.float32), logprobs=20, logit_bias={0: -100.0, 3: -100.0})
    assert [1, 2, 4, 5] == logprobs.top_ids
    assert [pytest.approx(math.log(0.25))] * 4 == logprobs.top_logprobs


def stream(seed: int, index: int) -> list[int]:
    logits = np.zeros(1000, dtype=np.float32)
    sampler, drawing = Sampler(1000), state(stream=(seed, index))
    return [sampler.sample(logits, drawing)[0] for _ in range(8)]


@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 127))
@QUICK
def test_same_seed_and_index_draw_the_same_tokens(seed: int, index: int) -> None:
    assert stream(seed, index) == stream(seed, index)


def test_every_seed_and_every_index_has_its_own_random_stream() -> None:
    seeds = [0, 1, -1, -2, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 3, -(2**63) + 5]
    pairs = [(seed, index) for seed in seeds for index in range(3)]
    assert len(pairs) == len({tuple(stream(seed, index)) for seed, index in pairs})


EXTREMES = st.lists(
    st.sampled_from([0.0, 1.0, -1.0, 30.0, 1e30, -1e30, -3e38, 3e38, 1e-40, -math.inf]), min_size=1, max_size=600
)


@given(
    EXTREMES,
    st.sampled_from([0.0, 1e-4, 0.01, 1.0, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0, 1, 300]),
    st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=200, deadline=None)
def test_extreme_logits_give_a_possible_token_and_finite_logprobs(
    values: list[float], temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    logits = np.array(values, dtype=np.float32)
    given_logits = logits.copy()
    drawing = state(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, logprobs=5)
    token_id, logprobs = Sampler(logits.size).sample(logits, drawing)
    assert 0 <= token_id < logits.size
    assert np.isfinite(logits[token_id]) or not np.isfinite(logits).any()
    assert logprobs is not None
    assert all(UNLIKELY <= value <= 1e-6 for value in [logprobs.logprob, *logprobs.top_logprobs])
    assert np.array_equal(logits, given_logits), "the model's row is unchanged"


LARGE = 23 * BLOCK + 100
"""Tokens of a vocabulary that has more blocks than a report has alternatives."""


@pytest.mark.parametrize("seed", range(4))
def test_alternatives_are_the_likeliest_of_a_large_vocabulary(seed: int) -> None:
    logits = row(LARGE, seed)
    _, logprobs = reported(logits, logprobs=20)
    assert np.argsort(-logits)[:20].tolist() == logprobs.top_ids


@pytest.mark.parametrize("top_k", [1, 2, 7, 22])
def test_top_k_draws_each_of_the_likeliest_of_a_large_vocabulary(top_k: int) -> None:
    logits = row(LARGE, 3, 1.5)
    counts = draws(logits, 1000, {"top_k": top_k, "temperature": 2.0})
    assert set(np.argsort(-logits)[:top_k].tolist()) == set(np.flatnonzero(counts).tolist())


@pytest.mark.parametrize(("n_vocab", "top_k"), [(200, BLOCK), (2 * BLOCK, 2), (300, 2 * BLOCK)])
def test_top_k_may_be_as_large_as_the_vocabulary_or_its_number_of_blocks(n_vocab: int, top_k: int) -> None:
    logits = row(n_vocab, 3)
    drawn = set(np.flatnonzero(draws(logits, 50, {"top_k": top_k})).tolist())
    assert drawn <= set(np.argsort(-logits)[:top_k].tolist())


@pytest.mark.parametrize("params", [{}, {"temperature": 0.0}, {"top_k": 5}, {"presence_penalty": 1.0}])
def test_no_logprobs_are_reported_unless_requested(params: dict[str, Any]) -> None:
    assert Sampler(300).sample(row(300, 1), state(**params))[1] is None


@pytest.mark.parametrize("params", [{}, {"temperature": 0.5}, {"top_p": 0.6}, {"top_k": 2}])
def test_draws_with_a_filter_follow_the_distribution_of_the_allowed_tokens(params: dict[str, Any]) -> None:
    allowed = [3, 50, 260, 299]
    logits = row(300, 5, 1.5)
    filtered = np.full(300, -math.inf)
    filtered[allowed] = logits[allowed]
    counts = draws(logits, 2000, {**params, "token_filter": Only(*allowed)})
    assert_distributed(counts, probabilities(filtered, **params))


def test_temperature_zero_takes_the_likeliest_of_the_allowed_tokens() -> None:
    logits = row(300, 5)
    last = np.argsort(-logits)[-3:].tolist()
    assert last[0] == Sampler(300).sample(logits, state(temperature=0.0, token_filter=Only(*last)))[0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_filter_wins_over_a_bias_that_bans_all_allowed_tokens(temperature: float) -> None:
    logits = row(40, 6)
    drawing: dict[str, Any] = {"temperature": temperature, "token_filter": Only(7, 9)}
    without_bias = draws(logits, 50, drawing)
    assert without_bias.tolist() == draws(logits, 50, {**drawing, "logit_bias": {7: -100.0, 9: -100.0}}).tolist()


def test_bias_counts_among_the_tokens_that_a_filter_allows() -> None:
    logits = np.zeros(40, dtype=np.float32)
    drawing = state(temperature=0.0, token_filter=Only(7, 9), logit_bias={9: 1.0, 3: 50.0})
    assert 9 == Sampler(40).sample(logits, drawing)[0]


def test_logprobs_ignore_a_filter() -> None:
    logits = row(40, 6)
    assert reported(logits, logprobs=3)[1].top_ids == reported(logits, logprobs=3, token_filter=Only(7))[1].top_ids
    token_id, logprobs = reported(np.zeros(10, dtype=np.float32), logprobs=0, token_filter=Only(7))
    assert (7, []) == (token_id, logprobs.top_ids)
    assert pytest.approx(math.log(0.1)) == logprobs.logprob


def test_a_row_leaves_no_trace_in_the_next_row_of_the_same_sampler() -> None:
    sampler = Sampler(BLOCK + 1)
    plain = row(BLOCK + 1, 2)
    alone = Sampler(BLOCK + 1).sample(plain, state(temperature=0.0, logprobs=20))
    sampler.sample(row(BLOCK + 1, 9), state(logit_bias={3: 100.0}, logprobs=3))
    assert alone == sampler.sample(plain, state(temperature=0.0, logprobs=20))


def test_banned_token_is_not_the_likeliest() -> None:
    logits = row(300, 6)
    first, second = np.argsort(-logits)[:2].tolist()
    assert second == Sampler(300).sample(logits, state(temperature=0.0, logit_bias={first: -100.0}))[0]
    assert first == Sampler(300).sample(logits, state(temperature=0.0, logit_bias={second: -100.0}))[0]


def test_filter_that_allows_only_the_end_wins_over_min_tokens() -> None:
    drawing = state(token_filter=Only(7), eog_ids=(7,), min_tokens=5)
    assert 7 == Sampler(40).sample(row(40, 6), drawing)[0]


def test_min_tokens_does_not_change_the_logprobs() -> None:
    logits = row(40, 6)
    likeliest = int(logits.argmax())
    token_id, logprobs = reported(logits, logprobs=3, temperature=0.0, eog_ids=(likeliest,), min_tokens=1)
    assert token_id != likeliest
    assert reported(logits, logprobs=3)[1].top_ids == logprobs.top_ids


def test_more_than_20_alternatives_are_reported_with_the_chosen_token_among_them() -> None:
    logits = row(400, 3, 0.2)
    exact = np.log(probabilities(logits))
    order = np.argsort(-exact)[:300]
    sampler, drawing = Sampler(400), state(logprobs=300)
    for _ in range(20):
        token_id, logprobs = sampler.sample(logits, drawing)
        assert logprobs is not None
        assert order.tolist() == logprobs.top_ids
        expected = float(exact[token_id]) if token_id in order else UNLIKELY
        assert pytest.approx(expected, abs=1e-4) == logprobs.logprob
