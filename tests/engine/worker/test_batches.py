"""Tests of a step's batches on the real model; test_core.py shows that no division changes an answer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.cache.lease import Lease
from antiphon.engine.cache.radix_tree import Node
from antiphon.engine.interface import EngineOptions, GenerateRequest, SamplingParams, TokenSegment
from antiphon.engine.models.batch_plan import TILE, AttentionCosts
from antiphon.engine.models.bindings import llama_cpp
from antiphon.engine.models.llama import SEQ_IDS, LlamaModel
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.batches import MediaBatch, StepBatch, divide_step
from antiphon.engine.worker.scheduler import ScheduledSequence, Scheduler
from tests.engine.fake_model import N_EMBD, FakeModel, Floats, media


class Recorder(FakeModel):
    """A model that records its batches, and has no cells."""

    def __init__(self) -> None:
        super().__init__(4096)
        self.attention = COSTS
        self.given: list[tuple[list[int], list[int], list[int], list[int]]] = []
        self.rows: list[tuple[list[float], list[int], list[int]]] = []
        """The numbers of the decoded rows in their segments, their positions and their sequence ids."""
        self.removed: list[tuple[int, int, int]] = []

    def decode(self, tokens: list[int], positions: list[int], seq_ids: list[int], outputs: list[int]) -> Floats:
        self.given.append((tokens, positions, seq_ids, outputs))
        return np.empty((len(outputs), self.n_vocab), dtype=np.float32)

    def decode_embeddings(self, embeddings: Floats, positions: list[int], seq_ids: list[int]) -> None:
        self.rows.append((embeddings[:, -1].tolist(), positions, seq_ids))

    def seq_rm(self, seq_id: int, start: int, end: int) -> None:
        self.removed.append((seq_id, start, end))


COSTS = AttentionCosts(row_cell=1 / 500, tile_cell=TILE / 2500, padding_id=255)


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel.open(EngineOptions(model_path=str(smollm2_path), ctx_size=512, threads=1))
    yield opened
    opened.close()


def prompts(cache: KVCache, *lengths: int) -> list[ScheduledSequence]:
    """Return the first step of different prompts of these lengths."""
    options = EngineOptions(model_path="", max_num_batched_tokens=4096, prefill_chunk_size=4096)
    scheduler = Scheduler(cache, options)
    for at, n in enumerate(lengths):
        ids = [100 + 10 * at, *(1000 + i * 7 % 400 for i in range(n - 1))]
        scheduler.add(
            GenerateRequest(request_id=str(at), prompt=(TokenSegment(ids),), sampling=SamplingParams(max_tokens=4)), 0.0
        )
    return scheduler.schedule()


def test_padding_changes_no_logits_and_leaves_no_cells(model: LlamaModel) -> None:
    scheduled = prompts(KVCache(model, model.info.ctx_size, SEQ_IDS), 20, 12)
    plain = StepBatch(scheduled).decode(model).copy()
    for each in scheduled:
        assert each.sequence.lease is not None
        model.seq_rm(each.sequence.lease.seq_id, 0, each.num_tokens)
    padded = StepBatch(scheduled, TILE - 32).decode(model)
    # Tiles and single rows round differently: 0.2 on average, where logits of other texts are several apart.
    assert 0.5 > np.abs(padded - plain).mean()
    assert 1.0 < np.abs(plain[0] - plain[1]).mean()
    assert model.attention is not None
    assert -1 == llama_cpp.llama_memory_seq_pos_max(model._memory, model.attention.padding_id)


def test_every_scheduled_sequence_is_in_one_batch() -> None:
    scheduled = prompts(KVCache(FakeModel(4096), 4096, 200), 300, *[5] * 20)
    batches = divide_step(scheduled, COSTS)
    assert sorted(map(id, scheduled)) == sorted(id(each) for batch in batches for each in batch.scheduled)


def test_step_without_attention_costs_is_one_batch() -> None:
    scheduled = prompts(KVCache(FakeModel(4096), 4096, 200), 300, *[5] * 20)
    assert [StepBatch(scheduled)] == divide_step(scheduled, None)


def test_newest_tokens_are_decoded_apart_from_a_long_prompt() -> None:
    cache = KVCache(FakeModel(4096), 4096, 200)
    (prompt,) = prompts(cache, 300)
    newest = ScheduledSequence(Sequence(prompt.sequence.request, 0, 0, 0.0), 300, 1)
    assert [StepBatch([newest]), StepBatch([prompt])] == divide_step([newest, prompt], COSTS)


def schedule(seq_id: int, ids: list[int], start: int, n: int, draft: list[int]) -> ScheduledSequence:
    """Return ``n`` scheduled tokens from ``start`` on of a sequence with the tokens ``ids``, and a draft."""
    asked = GenerateRequest(request_id=str(seq_id), prompt=(TokenSegment(ids),), sampling=SamplingParams(max_tokens=4))
    sequence = Sequence(asked, 0, 0, 0.0)
    sequence.lease = Lease("", seq_id, Node(None, 0, [], None), 0)
    return ScheduledSequence(sequence, start, n, draft)


SCHEDULED = [
    schedule(7, [10, 11, 12, 13], 1, 2, []),
    schedule(8, [20, 21, 22], 2, 1, [23, 24]),
    schedule(9, [30, 31], 1, 1, []),
]
"""A chunk within a prompt, a sequence with a draft, and one without."""


def test_batch_has_the_tokens_positions_and_ids_of_its_sequences_and_the_rows_to_sample() -> None:
    model = Recorder()
    assert (4, model.n_vocab) == StepBatch(SCHEDULED).decode(model).shape
    assert [([11, 12, 22, 23, 24, 31], [1, 2, 2, 3, 4, 1], [7, 7, 8, 8, 8, 9], [2, 3, 4, 5])] == model.given
    assert [] == model.removed


def test_padding_comes_last_in_its_own_sequence_which_is_emptied() -> None:
    model = Recorder()
    StepBatch(SCHEDULED, 2).decode(model)
    tokens, positions, seq_ids, outputs = model.given[0]
    assert ([31, 0, 0], [1, 0, 1], [9, 255, 255]) == (tokens[-3:], positions[-3:], seq_ids[-3:])
    assert ([2, 3, 4, 5], [(255, 0, 2)]) == (outputs, model.removed)


def test_first_generated_token_is_not_counted_as_a_prompt() -> None:
    ids = list(range(100))
    prompt, newest = schedule(7, ids, 0, 100, []), schedule(8, ids, 100, 1, list(range(80)))
    assert [StepBatch([newest]), StepBatch([prompt])] == divide_step([prompt, newest], COSTS)


def test_few_prompt_tokens_after_many_cells_are_padded_to_a_tile() -> None:
    prompt = schedule(7, list(range(123)), 60, 63, [])
    assert [StepBatch([prompt], 1)] == divide_step([prompt], COSTS)


def schedule_media(seq_id: int, start: int, n: int) -> ScheduledSequence:
    """Return ``n`` scheduled rows from position ``start`` on of a prompt: two tokens, six rows, four rows, a token."""
    prompt = (TokenSegment([5, 6]), media(1, 6), media(2, 4), TokenSegment([7]))
    asked = GenerateRequest(request_id=str(seq_id), prompt=prompt, sampling=SamplingParams(max_tokens=4))
    sequence = Sequence(asked, 0, 0, 0.0)
    sequence.lease = Lease("", seq_id, Node(None, 0, [], None), 0)
    return ScheduledSequence(sequence, start, n, [])


def test_media_batch_has_the_rows_positions_and_ids_of_its_sequences() -> None:
    model = Recorder()
    logits = MediaBatch([schedule_media(7, 4, 3), schedule_media(8, 8, 2)]).decode(model)
    assert [([2, 3, 4, 0, 1], [4, 5, 6, 8, 9], [7, 7, 7, 8, 8])] == model.rows
    assert (0, model.n_vocab) == logits.shape


def test_rows_of_media_are_decoded_apart_from_tokens() -> None:
    picture, tokens = schedule_media(7, 2, 6), schedule(8, [20, 21, 22], 2, 1, [])
    assert [StepBatch([tokens]), MediaBatch([picture])] == divide_step([picture, tokens], None)


def test_step_of_media_alone_has_no_batch_of_tokens() -> None:
    picture = schedule_media(7, 2, 6)
    assert [MediaBatch([picture])] == divide_step([picture], COSTS)


def test_embeddings_are_read_in_rows_of_the_width_of_the_model() -> None:
    given = Recorder()
    MediaBatch([schedule_media(7, 2, 6)]).decode(given)
    assert N_EMBD == given.info.n_embd
    assert [0, 1, 2, 3, 4, 5] == given.rows[0][0]
