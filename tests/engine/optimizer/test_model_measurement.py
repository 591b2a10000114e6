"""The tiny model's text is meaningless: what is measured of it is how often it is asked for what."""

from itertools import count
from pathlib import Path

import pytest
from msgspec import Struct

from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.optimizer.model_measurement import measure
from antiphon.engine.optimizer.optimizer_jobs import Measured
from antiphon.engine.optimizer.perplexity import WINDOW, n_windows

TEXT = "the rain in the garden, then a letter. " * 20


class Told(Struct, frozen=True):
    """What came of a measurement, by a clock that goes on by a second whenever it is read."""

    measured: Measured
    progress: list[tuple[int, int]]


@pytest.fixture(scope="module")
def told(tiny_path: Path) -> Told:
    ticks, progress = count(), list[tuple[int, int]]()
    result = measure(
        str(tiny_path),
        lambda done, total: progress.append((done, total)),
        lambda: float(next(ticks)),
        text=TEXT,
        threads=1,
    )
    return Told(result, progress)


def test_speeds_are_tokens_by_seconds(told: Told) -> None:
    assert float(WINDOW) == told.measured.prefill
    assert {1: 16.0, 4: 64.0, 16: 256.0} == told.measured.decode


def test_every_token_of_the_text_is_scored(told: Told) -> None:
    assert len(told.measured.losses) == len(told.measured.likeliest) > WINDOW


def test_the_work_is_told_piece_by_piece(told: Told) -> None:
    total = n_windows(len(told.measured.losses) + 1) + 12
    assert [(i + 1, total) for i in range(total)] == told.progress


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(EngineLoadError):
        measure("/none.gguf", lambda _done, _total: None)
