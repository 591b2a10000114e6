"""Tests of llama.cpp's memory against the protocol, with a tiny random model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from antiphon.engine.cache.host_memory import Memory
from antiphon.engine.interface import EngineOptions
from antiphon.engine.models.llama import CELL_BLOCK, LlamaModel

TOKENS = list(range(3, 43))
LAST = len(TOKENS) - 1


@pytest.fixture
def model(tiny_path: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel.open(EngineOptions(model_path=str(tiny_path), ctx_size=256, threads=1))
    yield opened
    opened.close()


def fill(model: LlamaModel, seq_id: int) -> None:
    """Decode all tokens but the last."""
    model.decode(TOKENS[:-1], list(range(LAST)), [seq_id] * LAST, [])


def last_logits(model: LlamaModel, seq_id: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return model.decode(TOKENS[-1:], [LAST], [seq_id], [0]).copy()


def test_restored_copy_gives_the_logits_of_the_time_of_the_copy(model: LlamaModel) -> None:
    memory: Memory = model
    fill(model, 0)
    copy = memory.save(0)
    expected = last_logits(model, 0)
    memory.seq_rm(0, 0, LAST + 1)
    model.decode([5] * LAST, list(range(LAST)), [0] * LAST, [])
    assert memory.restore(1, copy)
    np.testing.assert_allclose(last_logits(model, 1), expected, atol=1e-2)


def test_shared_cells_stay_filled_until_the_last_sequence_is_removed(model: LlamaModel) -> None:
    memory: Memory = model
    fill(model, 0)
    memory.seq_cp(0, 1, 0, LAST)
    expected = last_logits(model, 0)
    memory.seq_rm(0, 0, LAST + 1)
    np.testing.assert_allclose(last_logits(model, 1), expected, atol=1e-2)


def test_restore_without_free_cells_returns_false(model: LlamaModel) -> None:
    memory: Memory = model
    model.decode([5] * 200, list(range(200)), [0] * 200, [])
    copy = memory.save(0)
    model.decode([5] * CELL_BLOCK, list(range(CELL_BLOCK)), [2] * CELL_BLOCK, [])  # the cells for padding as well
    assert not memory.restore(1, copy)
    memory.seq_rm(0, 0, 200)
    assert memory.restore(1, copy)
