"""Tests of the logprobs of prompts on the real model; test_core.py shows that no batch changes them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from antiphon.engine.interface import EngineOptions, PromptTokenLogprobs
from antiphon.engine.models.llama import LlamaModel
from antiphon.engine.sampling.sampler import Sampler
from antiphon.engine.worker.core import Core
from antiphon.engine.worker.prompt_scores import PromptScores
from antiphon.engine.worker.scheduler import SCORED_ROWS
from tests.engine.engine_trial import request, text
from tests.engine.fake_model import N_VOCAB

OPTIONS = EngineOptions(model_path="", ctx_size=512, threads=1, max_num_batched_tokens=128)


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel.open(replace(OPTIONS, model_path=str(smollm2_path)))
    yield opened
    opened.close()


def test_logprobs_are_the_log_softmax_of_the_real_models_rows(model: LlamaModel) -> None:
    prompt = [504, 2365, 6354, 16438, 30, *text(1, 75)]
    chunks = range(SCORED_ROWS), range(SCORED_ROWS, len(prompt))
    decoded = [model.decode(prompt[at.start : at.stop], [*at], [0] * len(at), [*range(len(at))]) + 0 for at in chunks]
    rows = np.concatenate(decoded).astype(np.float64)
    model.seq_rm(0, 0, 80)
    exact = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    core = Core(model, OPTIONS, clock=float, entropy=int)
    core.add(request("r", prompt, max_tokens=1, prompt_logprobs=2))
    scores: list[PromptTokenLogprobs | None] = [None]
    while core.has_work:
        for event in core.step():
            scores += getattr(event, "tokens", [])
    assert prompt[1:] == [score.token_id for score in scores[1:] if score is not None]
    for position, score in enumerate(scores):
        if score is not None:
            row, token = exact[position - 1], prompt[position]
            assert float(row[token]) == pytest.approx(score.logprob, abs=1e-4)
            assert np.sort(row)[::-1][:2].tolist() == pytest.approx(score.top_logprobs, abs=1e-4)
            assert (score.rank == 1) == (score.top_ids[0] == token)


def test_each_request_for_logprobs_of_its_prompt_gets_a_salt_that_no_other_has() -> None:
    scores = PromptScores(Sampler(N_VOCAB))
    asked = request("r", [5, 6], salt="project", prompt_logprobs=0)
    salts = {scores.without_cached_prefix(asked).cache_salt for _ in range(3)}
    assert 3 == len(salts)
    assert all(salt.startswith("project\0") for salt in salts)


def test_other_requests_keep_their_salt() -> None:
    asked = request("r", [5, 6], salt="project")
    assert asked is PromptScores(Sampler(N_VOCAB)).without_cached_prefix(asked)
