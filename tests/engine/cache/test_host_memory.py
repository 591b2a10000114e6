"""llama.cpp's memory does what the protocol says; the model is a made one, whose text would be meaningless."""

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
    """Compute all tokens but the last."""
    model.decode(TOKENS[:-1], list(range(LAST)), [seq_id] * LAST, [])


def last(model: LlamaModel, seq_id: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return model.decode(TOKENS[-1:], [LAST], [seq_id], [0]).copy()


def test_a_copy_gives_back_what_the_cells_held_then(model: LlamaModel) -> None:
    memory: Memory = model
    fill(model, 0)
    copy = memory.save(0)
    expected = last(model, 0)
    memory.seq_rm(0, 0, LAST + 1)
    model.decode([5] * LAST, list(range(LAST)), [0] * LAST, [])
    assert memory.restore(1, copy)
    np.testing.assert_allclose(last(model, 1), expected, atol=1e-2)


def test_shared_cells_stay_until_nobody_holds_them(model: LlamaModel) -> None:
    memory: Memory = model
    fill(model, 0)
    memory.seq_cp(0, 1, 0, LAST)
    expected = last(model, 0)
    memory.seq_rm(0, 0, LAST + 1)
    np.testing.assert_allclose(last(model, 1), expected, atol=1e-2)


def test_without_free_cells_nothing_is_given_back(model: LlamaModel) -> None:
    memory: Memory = model
    model.decode([5] * 200, list(range(200)), [0] * 200, [])
    copy = memory.save(0)
    model.decode([5] * CELL_BLOCK, list(range(CELL_BLOCK)), [2] * CELL_BLOCK, [])  # the cells for padding, too
    assert not memory.restore(1, copy)
    memory.seq_rm(0, 0, 200)
    assert memory.restore(1, copy)
