"""The state of a choice: counts of its tokens, kinds of bias, and temperature."""

import numpy as np
import pytest

from tests.engine.logits import state


def test_generated_tokens_are_counted_and_the_prompts_are_not() -> None:
    assert {3: 2, 5: 1} == state([3, 4], generated=(3, 5, 3)).token_counts


def test_repetition_penalty_sees_the_tokens_of_prompt_and_answer() -> None:
    assert {3, 4, 5} == state([3, 4], generated=(3, 5), repetition_penalty=1.1).seen_ids


def test_prompt_is_not_kept_without_a_repetition_penalty() -> None:
    assert set() == state([3, 4], presence_penalty=1.0).seen_ids


@pytest.mark.parametrize(
    ("banned", "forced", "bias"),
    [
        ([], [], {}),
        ([3], [], {3: -100.0, 4: -99.0, 5: 99.0}),
        ([], [5], {5: 100.0, 6: 2.0}),
        ([3], [5, 7], {3: -100.0, 5: 100.0, 7: 100.0}),
    ],
)
def test_bias_at_its_limits_bans_or_forces_a_token(
    banned: list[int], forced: list[int], bias: dict[int, float]
) -> None:
    made = state(logit_bias=bias)
    assert (banned, forced) == (made.banned_ids.tolist(), made.forced_ids.tolist())
    assert bias == dict(zip(made.bias_ids.tolist(), made.bias_values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("is_greedy", "scale", "temperature"),
    [(True, 1.0, 0.0), (True, 1.0, 9e-6), (False, 1e5, 1e-5), (False, 2.0, 0.5), (False, 1.0, 1.0)],
)
def test_temperatures_below_the_limit_are_greedy(is_greedy: bool, scale: float, temperature: float) -> None:  # noqa: FBT001 (expected value)
    made = state(temperature=temperature)
    assert (is_greedy, np.float32(scale)) == (made.is_greedy, made.scale)


def test_rows_of_media_in_a_prompt_have_no_repetition_penalty() -> None:
    assert {3, 4} == state([3, -8, -8, 4], repetition_penalty=2.0).seen_ids
