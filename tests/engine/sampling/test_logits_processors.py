"""Each logits processor against the reference's formula."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.sampling import logits_processors as processors
from antiphon.engine.sampling.sampling_state import SamplingState
from tests.engine.logits import QUICK, SIZES, Floats, Only, padded, probabilities, row, state, tied
from tests.engine.sampling.test_repeated_suffixes import longest


def processed(
    logits: Floats, processor: Callable[[Floats, SamplingState], None], parameters: SamplingState
) -> list[float]:
    changed = padded(logits)
    processor(changed, parameters)
    values: list[float] = changed[: logits.size].tolist()
    return values


def ones(n: int) -> Floats:
    return np.ones(n, dtype=np.float32)


@given(SIZES, st.lists(st.integers(0, 999), max_size=80), st.floats(-2, 2), st.floats(-2, 2))
@QUICK
def test_frequency_and_presence_penalty_follow_the_reference(
    n_vocab: int, generated: list[int], frequency: float, presence: float
) -> None:
    """mu[j] -> mu[j] - c[j] * alpha_frequency - (c[j] > 0) * alpha_presence over generated tokens."""
    ids = [token_id % n_vocab for token_id in generated]
    counts = np.bincount(ids, minlength=n_vocab).astype(np.float64) if ids else np.zeros(n_vocab)
    logits = row(n_vocab, 3)
    expected = logits.astype(np.float64) - counts * frequency - (counts > 0) * presence
    penalised = state([0] * 5, generated=tuple(ids), frequency_penalty=frequency, presence_penalty=presence)
    np.testing.assert_allclose(processed(logits, processors.apply_penalties, penalised), expected, rtol=1e-5, atol=1e-4)


@given(st.lists(st.integers(0, 49), max_size=20), st.lists(st.integers(0, 49), max_size=20), st.floats(0.5, 2))
@QUICK
def test_repetition_penalty_counts_prompt_and_answer(prompt: list[int], generated: list[int], penalty: float) -> None:
    logits = row(50, 4)
    seen = sorted({*prompt, *generated})
    expected = logits.astype(np.float64)
    expected[seen] = np.where(expected[seen] > 0, expected[seen] / penalty, expected[seen] * penalty)
    penalised = state(prompt, generated=tuple(generated), repetition_penalty=penalty)
    np.testing.assert_allclose(processed(logits, processors.apply_penalties, penalised), expected, rtol=1e-5)


@pytest.mark.parametrize("penalty", [1.5, 2.0])
def test_tokens_that_never_occurred_are_not_penalised(penalty: float) -> None:
    logits = row(300, 4)
    penalised = state([5], generated=(7,), repetition_penalty=penalty, presence_penalty=1.0)
    changed = np.array(processed(logits, processors.apply_penalties, penalised))
    assert [5, 7] == np.flatnonzero(changed != logits).tolist()


def test_each_of_many_generated_tokens_is_penalised_once_by_its_count() -> None:
    penalised = state(generated=(*range(200), *range(100)), frequency_penalty=0.5, presence_penalty=1.0)
    expected = [-1.0] * 100 + [-0.5] * 100 + [1.0] * 100
    assert expected == processed(ones(300), processors.apply_penalties, penalised)


@pytest.mark.parametrize(("expected", "penalty"), [(0.0, "presence_penalty"), (-1.0, "frequency_penalty")])
def test_either_penalty_works_without_the_other(expected: float, penalty: str) -> None:
    once: dict[str, Any] = {penalty: 1.0}
    assert expected == processed(ones(10), processors.apply_penalties, state(generated=(3, 3), **once))[3]


def test_prompt_counts_for_the_repetition_penalty_only() -> None:
    penalised = state([3], presence_penalty=1.0, frequency_penalty=1.0)
    assert [1.0] * 10 == processed(ones(10), processors.apply_penalties, penalised)


@given(SIZES, st.dictionaries(st.integers(0, 999), st.floats(-99, 99), max_size=5))
@QUICK
def test_bias_is_added_to_the_logits(n_vocab: int, bias: dict[int, float]) -> None:
    bias = {token_id % n_vocab: value for token_id, value in bias.items()}
    logits = row(n_vocab, 3)
    expected = logits.astype(np.float64)
    for token_id, value in bias.items():
        expected[token_id] += value
    changed = processed(logits, processors.apply_bias, state(logit_bias=bias))
    np.testing.assert_allclose(changed, expected, rtol=1e-5, atol=1e-4)


def test_banned_tokens_become_impossible() -> None:
    expected = [1.0, -math.inf, 3.0]
    assert expected == processed(ones(3), processors.apply_bias, state(logit_bias={1: -100.0, 2: 2.0}))


def test_forced_tokens_are_the_only_possible_ones() -> None:
    expected = [-math.inf, 101.0, -math.inf, 101.0]
    biased = state(logit_bias={1: 100.0, 2: 50.0, 3: 100.0})
    assert expected == processed(ones(4), processors.apply_bias, biased)


@pytest.mark.parametrize("asked", [{"ignore_eos": True}, {"min_tokens": 1}])
def test_ignore_eos_and_min_tokens_ban_the_tokens_that_end_the_answer(asked: dict[str, Any]) -> None:
    expected = [-math.inf, 1.0, -math.inf, 1.0]
    assert expected == processed(ones(4), processors.apply_min_tokens, state(eog_ids=(0, 2), **asked))


def test_answer_may_end_after_min_tokens() -> None:
    ended = state(generated=(3,), eog_ids=(0, 2), min_tokens=1)
    assert [1.0] * 4 == processed(ones(4), processors.apply_min_tokens, ended)


def test_ignore_eos_bans_the_end_of_an_answer_of_any_length() -> None:
    endless = state(generated=(3,) * 9, eog_ids=(0,), ignore_eos=True)
    assert [-math.inf, 1.0] == processed(ones(2), processors.apply_min_tokens, endless)


def test_tokens_that_end_the_answer_stay_where_bias_has_banned_all_others() -> None:
    only_ends = np.array([1.0, -math.inf], dtype=np.float32)
    assert [1.0, -math.inf] == processed(only_ends, processors.apply_min_tokens, state(eog_ids=(0,), ignore_eos=True))


def test_filter_keeps_the_allowed_tokens_only() -> None:
    filtered = ones(4)
    processors.apply_filter(filtered, ones(4), Only(1, 3))
    assert [-math.inf, 1.0, -math.inf, 1.0] == filtered.tolist()


def test_filter_restores_the_models_logits_where_bias_has_banned_all_allowed_tokens() -> None:
    filtered = np.array([1.0, -math.inf, 1.0], dtype=np.float32)
    processors.apply_filter(filtered, np.array([5.0, 6.0, 7.0], dtype=np.float32), Only(1))
    assert [-math.inf, 6.0, -math.inf] == filtered.tolist()


@pytest.mark.parametrize(
    ("expected", "temperature", "logits"),
    [
        ([4.0, -2.0], 0.5, [2.0, -1.0]),
        ([2.0, -1.0], 1.0, [2.0, -1.0]),
        ([59.0, 0.0], 1.0, [59.0, 0.0]),
        ([-19.0, -21.0], 1.0, [-19.0, -21.0]),
        ([0.0, -60.0], 1.0, [60.0, 0.0]),
        ([0.0, -1.0], 1.0, [-20.0, -21.0]),
        ([0.0, -62.0], 0.5, [31.0, 0.0]),
        ([0.0, -2.0], 0.5, [-11.0, -12.0]),
    ],
)
def test_temperature_divides_and_shifts_logits_out_of_range(
    expected: list[float], temperature: float, logits: list[float]
) -> None:
    changed = np.array(logits, dtype=np.float32)
    processors.apply_temperature(changed, state(temperature=temperature), changed.max())
    assert expected == changed.tolist()


@given(
    SIZES,
    st.integers(0, 9),
    st.sampled_from([0, 1, 2, 5, 20, 21, 64, 5000]),
    st.sampled_from([0.0, 0.001, 0.1, 0.7, 1.0]),
    st.sampled_from([row, tied]),
)
@QUICK
def test_min_p_and_top_k_keep_as_many_tokens_as_the_reference(
    n_vocab: int, seed: int, top_k: int, min_p: float, make: Callable[[int, int], Floats]
) -> None:
    """Of tokens with equal logits either may be kept."""
    logits, truncating = make(n_vocab, seed), state(top_k=top_k, min_p=min_p)
    kept = padded(logits)
    processors.apply_min_p(kept, truncating)
    processors.apply_top_k(kept, truncating)
    expected = logits[probabilities(logits, top_k=top_k, min_p=min_p) > 0.0]
    assert np.array_equal(np.sort(expected), np.sort(kept[np.isfinite(kept)]))


@given(st.lists(st.integers(0, 3), max_size=30), st.floats(0.1, 5), st.floats(1, 3), st.integers(0, 4))
@QUICK
def test_dry_follows_its_formula(tokens: list[int], multiplier: float, base: float, allowed: int) -> None:
    """dry_multiplier * dry_base ** (length - dry_allowed_length), for the longest repeat that a token continues."""
    repeating = state(tokens, dry_multiplier=multiplier, dry_base=base, dry_allowed_length=allowed)
    logits = row(4, 3)
    expected = logits.astype(np.float64)
    for token, length in longest(tokens, allowed).items():
        expected[token] -= multiplier * base ** (length - allowed)
    np.testing.assert_allclose(processed(logits, processors.apply_dry, repeating), expected, rtol=1e-5, atol=1e-4)


def test_dry_counts_generated_tokens() -> None:
    repeating = state([1, 2, 3], generated=(0, 1, 2), dry_multiplier=1.0, dry_base=2.0, dry_allowed_length=1)
    assert [1.0, 1.0, 1.0, -1.0] == processed(ones(4), processors.apply_dry, repeating)


def test_penalty_of_a_very_long_repeat_keeps_the_logit_finite() -> None:
    repeating = state([1] * 400, dry_multiplier=100.0, dry_base=100.0)
    assert pytest.approx(-1e30) == processed(ones(2), processors.apply_dry, repeating)[1]


@pytest.mark.parametrize("off", [{}, {"dry_multiplier": 0.0}, {"dry_multiplier": 1.0, "dry_penalty_last_n": 0}])
def test_dry_that_is_off_keeps_no_repeats(off: dict[str, Any]) -> None:
    assert None is state([1, 1, 1, 1], **off).repeats


@pytest.mark.parametrize(("expected", "last_n"), [([1, 2, 3, 4], -1), ([], 0), ([4], 1), ([2, 3, 4], 3)])
def test_repetition_penalty_counts_the_newest_tokens_only(expected: list[int], last_n: int) -> None:
    penalised = state([1, 2], generated=(3, 4), repetition_penalty=2.0, repetition_last_n=last_n)
    changed = processed(ones(6), processors.apply_penalties, penalised)
    assert expected == [token for token, value in enumerate(changed) if value != 1.0]
