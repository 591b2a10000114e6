"""Measurements of the tiny model, whose text is meaningless, with a fake clock."""

from itertools import count
from pathlib import Path

import pytest
from msgspec import Struct

from antiphon.engine.models.bindings import EngineLoadError
from antiphon.engine.optimizer.model_measurement import measure
from antiphon.engine.optimizer.optimizer_jobs import Measured
from antiphon.engine.optimizer.perplexity import WINDOW, count_windows

TEXT = "the rain in the garden, then a letter. " * 20


class Outcome(Struct, frozen=True):
    """The result of a measurement, by a clock that advances by a second with each reading, and its progress."""

    measured: Measured
    progress: list[tuple[int, int]]


@pytest.fixture(scope="module")
def outcome(tiny_path: Path) -> Outcome:
    ticks, progress = count(), list[tuple[int, int]]()
    result = measure(
        str(tiny_path),
        lambda done, total: progress.append((done, total)),
        lambda: float(next(ticks)),
        text=TEXT,
        threads=1,
    )
    return Outcome(result, progress)


def test_speeds_are_tokens_divided_by_seconds(outcome: Outcome) -> None:
    assert float(WINDOW) == outcome.measured.prefill
    assert {1: 16.0, 4: 64.0, 16: 256.0} == outcome.measured.decode


def test_every_token_of_the_text_is_scored(outcome: Outcome) -> None:
    assert len(outcome.measured.losses) == len(outcome.measured.likeliest) > WINDOW


def test_progress_is_reported_after_each_piece_of_work(outcome: Outcome) -> None:
    total = count_windows(len(outcome.measured.losses) + 1) + 12
    assert [(i + 1, total) for i in range(total)] == outcome.progress


def test_missing_file_raises() -> None:
    with pytest.raises(EngineLoadError):
        measure("/none.gguf", lambda _done, _total: None)
