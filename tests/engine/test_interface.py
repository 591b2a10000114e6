"""Tests of the messages between the API process and the worker."""

from typing import get_args

import msgspec
import pytest

from antiphon.engine.interface import (
    _COUNTS,
    Abort,
    EngineStats,
    Finished,
    FromWorker,
    GenerateRequest,
    LoadFailed,
    PromptLogprobs,
    PromptTokenLogprobs,
    Ready,
    SamplingParams,
    Shutdown,
    Started,
    TokenEvent,
    TokenLogprobs,
    TokenSegment,
    ToWorker,
)
from tests.engine.fake_model import model_info

SAMPLING = SamplingParams(logit_bias={7: -100.0, 3: 1.5}, seed=-(2**63), logprobs=20, max_tokens=1)
TO_WORKER = [
    GenerateRequest(
        request_id="a", prompt=(TokenSegment([1, 2]),), sampling=SAMPLING, n=128, cache_salt="s", service_tier="flex"
    ),
    GenerateRequest(
        request_id="b",
        prompt=(TokenSegment([0]),),
        sampling=SamplingParams(seed=2**64 - 1, max_tokens=9),
        prompt_logprobs=2,
    ),
    Abort(request_id="a"),
    Abort(request_id="a", index=3),
    Shutdown(),
]
FROM_WORKER = [
    Ready(info=model_info(64, 64)),
    LoadFailed(message="no"),
    Started(request_id="a", cached_tokens=5),
    PromptLogprobs(request_id="a", start=1, tokens=[PromptTokenLogprobs(4, -0.5, 1, [4], [-0.5]), None]),
    TokenEvent(request_id="a", index=1, token_ids=[4], logprobs=[TokenLogprobs(-0.5, [4, 5], [-0.5, -9999.0])]),
    Finished(request_id="a", index=1, reason="error", message="why"),
    EngineStats(
        running=1,
        waiting=2,
        kv_cells_used=3,
        kv_cells_cached=4,
        kv_cells_total=5,
        steps=6,
        prompt_tokens=7,
        cached_tokens=8,
        generated_tokens=9,
        preemptions=10,
    ),
]


@pytest.mark.parametrize("message", TO_WORKER)
def test_message_to_the_worker_is_equal_after_encoding(message: ToWorker) -> None:
    assert message == msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToWorker)


def test_messages_from_the_worker_are_equal_after_encoding() -> None:
    assert FROM_WORKER == msgspec.msgpack.decode(msgspec.msgpack.encode(FROM_WORKER), type=list[FromWorker])


def test_every_kind_of_message_is_encoded_here() -> None:
    assert set(get_args(ToWorker)) == {type(message) for message in TO_WORKER}
    assert set(get_args(FromWorker)) == {type(message) for message in FROM_WORKER}


def test_messages_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TO_WORKER[0].request_id = "b"  # type: ignore[attr-defined]


def test_requests_do_not_share_their_default_bias() -> None:
    first, second = (SamplingParams(max_tokens=1) for _ in range(2))
    assert first.logit_bias is not second.logit_bias


def test_counts_of_an_earlier_worker_are_added() -> None:
    stats = msgspec.convert(msgspec.to_builtins(FROM_WORKER[-1]), EngineStats)
    stats.tokens_per_step.observe(3)
    both = stats.with_counts_of(stats)
    assert (12, 14, 20, [0, 0, 2]) == (
        both.steps,
        both.prompt_tokens,
        both.preemptions,
        both.tokens_per_step.counts[:3],
    )
    assert (1, 2, 5) == (both.running, both.waiting, both.kv_cells_total)
    assert stats == stats.with_counts_of(None)


def test_statistics_of_an_ended_worker_have_counts_only() -> None:
    stats = FROM_WORKER[-1]
    assert isinstance(stats, EngineStats)
    ended = stats.without_state()
    assert (0, 0, 0, 0, 6) == (
        ended.running,
        ended.waiting,
        ended.kv_cells_used,
        ended.kv_cells_cached,
        ended.steps,
    )


def test_every_count_is_added() -> None:
    state = {"running", "waiting", "kv_cells_used", "kv_cells_cached", "kv_cells_total"}
    assert set(_COUNTS) == set(EngineStats.__struct_fields__) - state


def test_prompt_ids_are_the_tokens_of_all_segments_in_order() -> None:
    segments = (TokenSegment([1, 2]), TokenSegment([]), TokenSegment([3]))
    asked = GenerateRequest(request_id="a", prompt=segments, sampling=SamplingParams(max_tokens=1))
    assert [1, 2, 3] == asked.prompt_ids
