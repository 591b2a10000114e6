"""The model as the decode loop uses it, and the batches of a step with their rows."""

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
    """A model that decodes: llama.cpp, or a deterministic fake in the tests."""

    info: ModelInfo
    n_vocab: int
    eog_ids: frozenset[int]
    attention: AttentionCosts | None
    """The costs by which a step is divided into batches; None decodes each step in one batch."""

    def decode(
        self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]
    ) -> npt.NDArray[np.float32]:
        """Decode one batch; return the logits of the rows ``outputs``, shape (len(outputs), n_vocab)."""

    def decode_embeddings(self, embeddings: npt.NDArray[np.float32], positions: list[int], seq_ids: list[int]) -> None:
        """Decode one batch of rows of media, shape (rows, ``info.n_embd``), without logits."""

    def grammar_tokenizer(self) -> Any:  # noqa: ANN401 (llguidance.LLTokenizer)
        """Return the vocabulary for grammars. Called once, in the thread that compiles them."""

    def close(self) -> None:
        """Release the model."""


class StepBatch(Struct, frozen=True):
    """Sequences that are decoded together, and the number of padding rows after them."""

    scheduled: list[ScheduledSequence]
    padding: int = 0

    def decode(self, model: Model) -> npt.NDArray[np.float32]:
        """Decode the batch; return the logits of its scored and sampled sequences in order, valid until the next call.

        Shape (rows, n_vocab). A sequence has one row for each of its scored rows, then one for its last token if it is
        sampled, and one for each token of its draft.
        """
        tokens: list[int] = []
        positions: list[int] = []
        seq_ids: list[int] = []
        outputs: list[int] = []
        for scheduled in self.scheduled:
            sequence, start, end = scheduled.sequence, scheduled.start, scheduled.start + scheduled.num_tokens
            outputs += [len(tokens) + row - start for row in scheduled.scored_rows]
            tokens += sequence.tokens[start:end] + scheduled.draft
            positions += range(start, end + len(scheduled.draft))
            seq_ids += _seq_ids(scheduled)
            if scheduled.is_sampled:
                outputs += range(len(tokens) - 1 - len(scheduled.draft), len(tokens))
        if not self.padding:
            return model.decode(tokens, positions, seq_ids, outputs)
        assert model.attention is not None
        padding_id = model.attention.padding_id
        padded = [*positions, *range(self.padding)]
        logits = model.decode(tokens + [0] * self.padding, padded, seq_ids + [padding_id] * self.padding, outputs)
        model.seq_rm(padding_id, 0, self.padding)
        return logits


class MediaBatch(Struct, frozen=True):
    """Sequences whose rows of media are decoded together."""

    scheduled: list[ScheduledSequence]

    def decode(self, model: Model) -> npt.NDArray[np.float32]:
        """Decode the batch; return no logits, shape (0, n_vocab), because a prompt ends with a token."""
        embeddings = np.concatenate([_media_rows(each, model.info.n_embd) for each in self.scheduled])
        positions = [at for each in self.scheduled for at in range(each.start, each.start + each.num_tokens)]
        model.decode_embeddings(embeddings, positions, [at for each in self.scheduled for at in _seq_ids(each)])
        return np.empty((0, model.n_vocab), dtype=np.float32)


def divide_step(scheduled: Sequence[ScheduledSequence], costs: AttentionCosts | None) -> list[StepBatch | MediaBatch]:
    """Divide a step into the batches that take the least time together. Rows of media have a batch of their own."""
    media = [each for each in scheduled if each.is_media]
    if not media:
        return [*_divide_tokens(scheduled, costs)]
    tokens = [each for each in scheduled if not each.is_media]
    return [*(_divide_tokens(tokens, costs) if tokens else []), MediaBatch(media)]


def _divide_tokens(scheduled: Sequence[ScheduledSequence], costs: AttentionCosts | None) -> list[StepBatch]:
    rows = [
        SequenceRows(
            each.num_scheduled_tokens,
            each.start + each.num_scheduled_tokens,
            each.start >= each.sequence.num_prompt_tokens,
        )
        for each in scheduled
    ]
    return [
        StepBatch([scheduled[place] for place in batch.places], batch.padding) for batch in plan_batches(rows, costs)
    ]


def _seq_ids(scheduled: ScheduledSequence) -> list[int]:
    """Return the sequence id of each row."""
    assert scheduled.sequence.lease is not None
    return [scheduled.sequence.lease.seq_id] * scheduled.num_scheduled_tokens


def _media_rows(scheduled: ScheduledSequence, n_embd: int) -> npt.NDArray[np.float32]:
    """Return the scheduled rows of one segment of media, shape (rows, n_embd)."""
    start = scheduled.start
    begin, segment = next((at, each) for at, each in scheduled.sequence.media.items() if at <= start < at + each.length)
    rows = np.frombuffer(segment.embeddings, dtype=np.float32).reshape(segment.length, n_embd)
    return rows[start - begin : start - begin + scheduled.num_tokens]
