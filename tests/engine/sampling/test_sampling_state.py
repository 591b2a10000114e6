"""Penalties and bias against the reference's formulas, and which choices need no copy of their row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.logits import QUICK, SIZES, Only, row, state


@given(
    SIZES,
    st.lists(st.integers(0, 999), max_size=80),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.dictionaries(st.integers(0, 999), st.floats(-99, 99), max_size=5),
)
@QUICK
def test_penalties_and_bias_follow_the_reference(
    n_vocab: int, generated: list[int], frequency: float, presence: float, bias: dict[int, float]
) -> None:
    """mu[j] -> mu[j] - c[j] * alpha_frequency - (c[j] > 0) * alpha_presence over generated tokens, and bias."""
    ids = [token_id % n_vocab for token_id in generated]
    bias = {token_id % n_vocab: value for token_id, value in bias.items()}
    counts = np.bincount(ids, minlength=n_vocab).astype(np.float64) if ids else np.zeros(n_vocab)
    logits = row(n_vocab, 3)
    expected = logits.astype(np.float64) - counts * frequency - (counts > 0) * presence
    for token_id, value in bias.items():
        expected[token_id] += value
    adjusted = logits.copy()
    state(
        [0] * 5,
        generated=tuple(ids),
        frequency_penalty=frequency,
        presence_penalty=presence,
        logit_bias=bias,
    ).adjust(adjusted)
    np.testing.assert_allclose(adjusted, expected, rtol=1e-5, atol=1e-4)


@given(st.lists(st.integers(0, 49), max_size=20), st.lists(st.integers(0, 49), max_size=20), st.floats(0.5, 2))
@QUICK
def test_repetition_penalty_counts_prompt_and_answer(prompt: list[int], generated: list[int], penalty: float) -> None:
    logits = row(50, 4)
    seen = sorted({*prompt, *generated})
    expected = logits.astype(np.float64)
    expected[seen] = np.where(expected[seen] > 0, expected[seen] / penalty, expected[seen] * penalty)
    adjusted = logits.copy()
    state(prompt, generated=tuple(generated), repetition_penalty=penalty).adjust(adjusted)
    np.testing.assert_allclose(adjusted, expected, rtol=1e-5)


@pytest.mark.parametrize("penalty", [1.5, 2.0])
def test_tokens_that_never_occurred_are_not_penalised(penalty: float) -> None:
    logits = row(300, 4)
    adjusted = logits.copy()
    state([5], generated=(7,), repetition_penalty=penalty, presence_penalty=1.0).adjust(adjusted)
    assert [5, 7] == np.flatnonzero(adjusted != logits).tolist()


def test_each_of_many_generated_tokens_is_penalised_once_by_its_count() -> None:
    generated = (*range(200), *range(100))
    adjusted = np.zeros(300, dtype=np.float32)
    state(generated=generated, frequency_penalty=0.5, presence_penalty=1.0).adjust(adjusted)
    assert [-2.0] * 100 + [-1.5] * 100 + [0.0] * 100 == adjusted.tolist()


@pytest.mark.parametrize(("expected", "penalty"), [(-1.0, "presence_penalty"), (-2.0, "frequency_penalty")])
def test_either_penalty_counts_by_itself(expected: float, penalty: str) -> None:
    adjusted = np.zeros(10, dtype=np.float32)
    once: dict[str, Any] = {penalty: 1.0}
    state(generated=(3, 3), **once).adjust(adjusted)
    assert expected == adjusted[3]


def test_a_prompt_counts_for_no_penalty_but_that_of_repetition() -> None:
    adjusted = np.ones(10, dtype=np.float32)
    state([3], presence_penalty=1.0, frequency_penalty=1.0).adjust(adjusted)
    assert [1.0] * 10 == adjusted.tolist()


@pytest.mark.parametrize(
    ("direct", "lowered", "params"),
    [
        (True, frozenset(), {}),
        (True, frozenset({3}), {"logit_bias": {3: -100.0}, "top_p": 0.5}),
        (True, None, {"logit_bias": {3: 1.0}}),
        (True, None, {"logit_bias": {3: 0.5}}),
        (True, frozenset({3}), {"logit_bias": {3: 0.0}}),
        (False, None, {"logit_bias": {3: 100.0}}),
        (False, frozenset(), {"temperature": 0.0}),
        (False, frozenset({3}), {"temperature": 0.0, "logit_bias": {3: -1.0}}),
        (False, frozenset(), {"top_k": 4}),
        (False, frozenset(), {"top_k": 1}),
        (False, frozenset(), {"top_k": 4, "min_p": 0.1}),
        (False, frozenset(), {"min_p": 0.1}),
        (False, frozenset(), {"min_p": 1.0}),
        (False, None, {"presence_penalty": 1.0}),
        (False, None, {"frequency_penalty": 1.0}),
        (False, None, {"repetition_penalty": 1.1}),
        (False, None, {"token_filter": Only(3)}),
        (False, None, {"temperature": 0.0, "presence_penalty": 1.0}),
        (False, None, {"logprobs": 0}),
    ],
)
def test_what_can_be_drawn_without_a_copy_of_the_row(
    direct: bool,  # noqa: FBT001 (expected value)
    lowered: frozenset[int] | None,
    params: dict[str, Any],
) -> None:
    made = state(**params)
    assert (direct, lowered) == (made.direct, made.only_lowered)


def test_a_ban_moves_no_logit_and_another_bias_does() -> None:
    made = state(logit_bias={3: -100.0, 4: -99.0, 5: 2.0})
    assert ([3], [4, 5], [-99.0, 2.0]) == (made.banned.tolist(), made.moved_ids.tolist(), made.moved_values.tolist())
