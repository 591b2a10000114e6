"""A step's batches on the real model; that no division changes an answer is for test_core, over the fake one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.interface import EngineOptions, GenerateRequest, SamplingParams
from antiphon.engine.models.batch_plan import TILE, AttentionCosts
from antiphon.engine.models.bindings import llama_cpp
from antiphon.engine.models.llama import SEQ_IDS, LlamaModel
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.batches import StepBatch, batches_of
from antiphon.engine.worker.scheduler import ScheduledSequence, Scheduler
from tests.engine.fake_model import FakeModel

COSTS = AttentionCosts(row_cell=1 / 500, tile_cell=TILE / 2500, padding_id=255)


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel.open(EngineOptions(model_path=str(smollm2_path), ctx_size=512, threads=1))
    yield opened
    opened.close()


def prompts(cache: KVCache, *lengths: int) -> list[ScheduledSequence]:
    """The first step of as many prompts, all different."""
    options = EngineOptions(model_path="", max_num_batched_tokens=4096, prefill_chunk_size=4096)
    scheduler = Scheduler(cache, options)
    for at, n in enumerate(lengths):
        ids = [100 + 10 * at, *(1000 + i * 7 % 400 for i in range(n - 1))]
        scheduler.add(GenerateRequest(request_id=str(at), prompt_ids=ids, sampling=SamplingParams(max_tokens=4)), 0.0)
    return scheduler.schedule()


def test_padding_is_seen_by_nobody_and_leaves_no_cells(model: LlamaModel) -> None:
    works = prompts(KVCache(model, model.info.ctx_size, SEQ_IDS), 20, 12)
    plain = StepBatch(works).decode(model).copy()
    for work in works:
        assert work.sequence.lease is not None
        model.seq_rm(work.sequence.lease.seq_id, 0, work.n)
    padded = StepBatch(works, TILE - 32).decode(model)
    # Tiles and single rows round differently: 0.2 on average, where logits of other texts are several apart.
    assert 0.5 > np.abs(padded - plain).mean()
    assert 1.0 < np.abs(plain[0] - plain[1]).mean()
    assert model.attention is not None
    assert -1 == llama_cpp.llama_memory_seq_pos_max(model._memory, model.attention.padding_id)


def test_every_work_is_in_one_batch() -> None:
    works = prompts(KVCache(FakeModel(4096), 4096, 200), 300, *[5] * 20)
    batches = batches_of(works, COSTS)
    assert sorted(map(id, works)) == sorted(id(work) for batch in batches for work in batch.works)


def test_a_step_without_attention_costs_is_one_batch() -> None:
    works = prompts(KVCache(FakeModel(4096), 4096, 200), 300, *[5] * 20)
    assert [StepBatch(works)] == batches_of(works, None)


def test_the_newest_tokens_are_decoded_apart_from_a_long_prompt() -> None:
    cache = KVCache(FakeModel(4096), 4096, 200)
    (prompt,) = prompts(cache, 300)
    newest = ScheduledSequence(Sequence(prompt.sequence.request, 0, 0, 0.0), 300, 1)
    assert [StepBatch([newest]), StepBatch([prompt])] == batches_of([newest, prompt], COSTS)
