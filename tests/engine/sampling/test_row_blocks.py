"""Rows in blocks against plain sorting and summing."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.sampling.row_blocks import BLOCK, block_sums, make_row, most_likely
from tests.engine.logits import QUICK, SIZES, Floats, padded, row, tied


@pytest.mark.parametrize(
    ("expected", "n_vocab"), [(BLOCK, 1), (BLOCK, BLOCK), (2 * BLOCK, BLOCK + 1), (3 * BLOCK, 3 * BLOCK)]
)
def test_row_consists_of_whole_blocks_of_impossible_tokens(expected: int, n_vocab: int) -> None:
    assert [-np.inf] * expected == make_row(n_vocab).tolist()


def test_each_block_has_its_own_sum() -> None:
    weights = np.repeat(np.array([1.0, 0.5, 2.0], dtype=np.float32), BLOCK)
    assert [1.0 * BLOCK, 0.5 * BLOCK, 2.0 * BLOCK] == block_sums(weights).tolist()


@given(SIZES, st.integers(0, 9), st.sampled_from([1, 2, 5, 20, 64, 5000]), st.sampled_from([row, tied]))
@QUICK
def test_most_likely_tokens_are_those_of_a_sort(
    n_vocab: int, seed: int, n: int, make: Callable[[int, int], Floats]
) -> None:
    logits = make(n_vocab, seed)
    ids = most_likely(padded(logits), n)
    assert len(set(ids.tolist())) == len(ids)
    assert np.sort(logits)[::-1][:n].tolist() == logits[ids].tolist()
    assert sorted(ids, key=lambda token_id: (-logits[token_id], token_id)) == ids.tolist()


@pytest.mark.parametrize("n", [1, 3, 22, 23, 24])
def test_most_likely_tokens_of_many_blocks_are_those_of_a_sort(n: int) -> None:
    logits = row(23 * BLOCK + 100, 3)
    assert np.argsort(-logits)[:n].tolist() == most_likely(padded(logits), n).tolist()


def test_impossible_tokens_are_never_among_the_most_likely() -> None:
    logits = np.array([1.0, -np.inf, 2.0, -np.inf], dtype=np.float32)
    assert [2, 0] == most_likely(padded(logits), 3).tolist()
