"""Mirostat against the algorithms of its paper: mirostat, mirostat_tau and mirostat_eta."""

import math
from typing import Any

import numpy as np
import pytest

from antiphon.engine.sampling.mirostat import candidate_count, draw_with_mirostat
from antiphon.engine.sampling.sampler import Sampler
from tests.engine.logits import Doubles, Floats, assert_distributed, padded, probabilities, row, state


def within(p: Doubles, limit: float) -> Doubles:
    """Give the probabilities after version 2 has dropped the tokens whose surprise is above the limit."""
    left = np.where(-np.log2(p) <= limit, p, 0.0)
    if not left.any():
        left[p.argmax()] = 1.0
    kept: Doubles = left / left.sum()
    return kept


@pytest.mark.parametrize("limit", [0.01, 2.0, 4.0, 100.0])
def test_version_2_draws_from_the_tokens_within_the_limit_of_surprise(limit: float) -> None:
    logits, steady = row(300, 5), state(mirostat=2, mirostat_tau=limit / 2, mirostat_eta=0.0)
    drawn = [draw_with_mirostat(padded(logits), steady, 300) for _ in range(4000)]
    assert_distributed(np.bincount(drawn, minlength=300), within(probabilities(logits), limit))


@pytest.mark.parametrize("version", [1, 2])
def test_limit_begins_at_twice_the_target_and_moves_by_the_error_of_each_draw(version: int) -> None:
    logits = row(300, 5)
    drawing = state(mirostat=version, mirostat_tau=3.0, mirostat_eta=0.2)
    limit = 6.0
    for _ in range(20):
        assert pytest.approx(limit, abs=1e-4) == drawing.surprise_limit
        token = draw_with_mirostat(padded(logits), drawing, 300)
        p = probabilities(logits)
        p = within(p, limit) if version == 2 else probabilities(logits, top_k=paper_size(logits, limit))
        limit -= 0.2 * (-math.log2(p[token]) - 3.0)


def paper_size(logits: Floats, limit: float) -> int:
    """Give the number of candidates by the paper's estimate, as version 1 has it."""
    p = np.sort(probabilities(logits))[::-1][:100]
    ranks = np.arange(1, len(p))
    steps, slopes = np.log((ranks + 1) / ranks), np.log(p[:-1] / p[1:])
    exponent = float((steps * slopes).sum() / (steps**2).sum())
    excess = exponent - 1
    size = (excess * 2**limit / (1 - len(logits) ** -excess)) ** (1 / exponent)
    return max(1, min(len(logits), int(size)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [0.5, 3.0, 6.0, 9.0, 40.0])
def test_version_1_draws_from_as_many_tokens_as_the_paper_says(seed: int, limit: float) -> None:
    logits = row(300, seed, 1.0)
    assert paper_size(logits, limit) == candidate_count(-np.sort(-logits)[:100], limit, 300)


@pytest.mark.parametrize(
    ("expected", "logits"),
    [(1, [1.0]), (1, []), (300, [2.0] * 100), (300, [-math.log(rank) for rank in range(1, 101)])],
)
def test_estimate_holds_for_one_token_for_equal_ones_and_for_zipfs_law_itself(
    expected: int, logits: list[float]
) -> None:
    assert expected == candidate_count(np.array(logits, dtype=np.float32), 12.0, 300)


@pytest.mark.parametrize("version", [1, 2])
def test_mean_surprise_of_a_long_answer_is_near_the_target(version: int) -> None:
    """Each draw moves the limit by its error, so the errors add up to the way that the limit has gone."""
    sampler, steps, rate = Sampler(1000), 400, 0.1
    drawing = state(mirostat=version, mirostat_tau=4.0, mirostat_eta=rate)
    for step in range(steps):
        sampler.sample(row(1000, step, 2.0), drawing)
    assert pytest.approx(0.0, abs=0.1) == (2 * 4.0 - drawing.surprise_limit) / (rate * steps)


@pytest.mark.parametrize("other", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"typical_p": 0.0}])
def test_mirostat_takes_the_place_of_the_other_truncations(other: dict[str, Any]) -> None:
    logits, sampler = row(300, 5), Sampler(300)
    alone, beside = state(mirostat=2), state(mirostat=2, **other)
    assert [sampler.sample(logits, alone) for _ in range(9)] == [sampler.sample(logits, beside) for _ in range(9)]


def test_mirostat_is_greedy_at_temperature_zero() -> None:
    logits = row(300, 5)
    assert int(logits.argmax()) == Sampler(300).sample(logits, state(mirostat=2, temperature=0.0))[0]
