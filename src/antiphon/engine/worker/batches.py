"""A step as the batches that the model decodes: what a model is to the decode loop, and which rows go into it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from antiphon.engine.cache.host_memory import Memory
from antiphon.engine.interface import ModelInfo
from antiphon.engine.models.batch_plan import AttentionCosts, SequenceRows, plan_batches
from antiphon.engine.worker.scheduler import ScheduledSequence


class Model(Memory, Protocol):
    """What decodes: llama.cpp, or a deterministic fake in the tests of scheduling."""

    info: ModelInfo
    n_vocab: int
    eog_ids: frozenset[int]
    attention: AttentionCosts | None
    """None where the rows of a step may as well be decoded all together."""

    def decode(
        self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]
    ) -> npt.NDArray[np.float32]:
        """Run one batch; return the logits of the rows ``outputs``, shape (len(outputs), n_vocab)."""

    def grammar_tokenizer(self) -> Any:  # noqa: ANN401 (llguidance.LLTokenizer)
        """The vocabulary for grammars. Called once, in the thread that compiles them."""

    def close(self) -> None:
        """Release it."""


class StepBatch(Struct, frozen=True):
    """Works that are decoded together, with rows of padding behind them."""

    works: list[ScheduledSequence]
    padding: int = 0

    def decode(self, model: Model) -> npt.NDArray[np.float32]:
        """Run it; return the logits that its works' samples need, in order: (rows, n_vocab), until the next call."""
        tokens: list[int] = []
        positions: list[int] = []
        seq_ids: list[int] = []
        outputs: list[int] = []
        for work in self.works:
            sequence, start, end = work.sequence, work.start, work.start + work.n
            assert sequence.lease is not None
            tokens += sequence.tokens[start:end] + work.draft
            positions += range(start, end + len(work.draft))
            seq_ids += [sequence.lease.seq_id] * work.size
            if work.samples:
                outputs += range(len(tokens) - 1 - len(work.draft), len(tokens))
        if not self.padding:
            return model.decode(tokens, positions, seq_ids, outputs)
        assert model.attention is not None
        padding_id = model.attention.padding_id
        padded = [*positions, *range(self.padding)]
        logits = model.decode(tokens + [0] * self.padding, padded, seq_ids + [padding_id] * self.padding, outputs)
        model.seq_rm(padding_id, 0, self.padding)
        return logits


def batches_of(works: Sequence[ScheduledSequence], costs: AttentionCosts | None) -> list[StepBatch]:
    """Divide a step into the batches that take least time."""
    loads = [SequenceRows(work.size, work.start + work.size, work.start >= work.sequence.prompt_len) for work in works]
    return [StepBatch([works[place] for place in batch.places], batch.padding) for batch in plan_batches(loads, costs)]
