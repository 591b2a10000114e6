import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.models.llama import Floats
from antiphon.engine.optimizer.perplexity import count_windows, packaged_text, predictions

VOCABULARY = 64


class Counting:
    """A model that predicts the next number after each token with the logit ``weight``; other logits are 0."""

    def __init__(self, weight: float = 100.0) -> None:
        self.weight = weight
        self.seen: list[tuple[int, int]] = []

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        assert (0, 0, -1) == (seq_id, start, end)
        self.seen = []

    def decode(self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]) -> Floats:
        assert {0} == set(seq_ids)
        self.seen += zip(positions, tokens, strict=True)
        logits = np.zeros((len(outputs), VOCABULARY), dtype=np.float32)
        for row, output in enumerate(outputs):
            logits[row, (tokens[output] + 1) % VOCABULARY] = self.weight
        return logits


@given(st.integers(2, 700), st.sampled_from([8, 32, 512]))
def test_every_token_but_the_first_is_scored_once_and_in_order(n: int, window: int) -> None:
    ids = [i % VOCABULARY for i in range(n)]
    losses, likeliest = predictions(Counting(), ids, window=window)  # type: ignore[arg-type]
    assert ids[1:] == likeliest.tolist()
    assert [0.0] * (n - 1) == losses.round(6).tolist()


def test_loss_of_a_uniform_prediction_is_the_logarithm_of_the_vocabulary() -> None:
    losses, _ = predictions(Counting(0.0), [5, 9, 2], window=8)  # type: ignore[arg-type]
    assert pytest.approx([math.log(VOCABULARY)] * 2) == losses.tolist()


def test_loss_of_a_wrong_prediction_follows_from_its_weight() -> None:
    losses, _ = predictions(Counting(10.0), [5, 9], window=8)  # type: ignore[arg-type]
    assert pytest.approx([math.log(math.exp(10) + VOCABULARY - 1)]) == losses.tolist()


def test_every_window_begins_with_the_bos_token_in_an_empty_memory() -> None:
    model = Counting()
    predictions(model, list(range(12)), window=8, bos_id=63)  # type: ignore[arg-type]
    assert [(0, 63), *((i, 4 + i) for i in range(1, 8))] == model.seen


def test_progress_is_reported_after_each_window() -> None:
    reports: list[None] = []
    predictions(Counting(), list(range(40)), window=8, advance=lambda: reports.append(None))  # type: ignore[arg-type]
    assert count_windows(40, 8) == len(reports)


def test_packaged_text_has_several_kinds_of_writing() -> None:
    text = packaged_text()
    for expected in ("Bread is made of", "def moving_average", '"customer":', "Question:", "Dear Mr"):
        assert expected in text
