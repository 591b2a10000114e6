"""Tests of the engine as it is served: the bundled model in its own process."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from antiphon.engine.host.client import EngineClient
from antiphon.engine.host.launcher import ProcessWorker
from antiphon.engine.interface import (
    EngineOptions,
    Finished,
    GenerateRequest,
    SamplingParams,
    Started,
    StreamEvent,
    TokenEvent,
    TokenSegment,
)
from antiphon.engine.worker.worker_process import CORE_FACTORY
from antiphon.errors import ServiceUnavailableError
from tests.engine.asserting_core import ASSERT
from tests.engine.scripted_core import until
from tests.engine.tiny_gguf import write_tiny_model

pytestmark = pytest.mark.anyio

PROMPT = list(range(100, 140))
END_OF_TURN = 2
"""The bundled model's <|im_end|>: banned, so that answers have max_tokens tokens."""


@asynccontextmanager
async def running(path: Path, core_factory: str = CORE_FACTORY) -> AsyncIterator[EngineClient]:
    options = EngineOptions(model_path=str(path), ctx_size=1024, max_num_seqs=4)
    client = EngineClient(options, core_factory=core_factory)
    await client.start()
    try:
        async with asyncio.timeout(120):
            yield client
    finally:
        await client.close()


def request(request_id: str, *, max_tokens: int, n: int = 1) -> GenerateRequest:
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, logit_bias={END_OF_TURN: -100.0})
    return GenerateRequest(request_id=request_id, prompt=(TokenSegment(PROMPT),), sampling=sampling, n=n)


async def collect(client: EngineClient, generate: GenerateRequest) -> list[StreamEvent]:
    return [event async for events in client.generate(generate) for event in events]


def token_ids(events: list[StreamEvent]) -> list[int]:
    return [token_id for event in events if isinstance(event, TokenEvent) for token_id in event.token_ids]


async def test_engine_generates_and_caches_the_prefix(smollm2_path: Path) -> None:
    async with running(smollm2_path) as client:
        assert client.info is not None
        assert 1024 == client.info.ctx_size
        first = await collect(client, request("a", max_tokens=8))
        again = await collect(client, request("b", max_tokens=8))
        assert 8 == len(token_ids(first))
        assert token_ids(first) == token_ids(again)
        assert [Finished(request_id="a", index=0, reason="length", prompt_tokens=40, completion_tokens=8)] == [
            event for event in first if isinstance(event, Finished)
        ]
        assert isinstance(again[0], Started)
        assert 0 < again[0].cached_tokens < len(PROMPT)


async def kill_while_streaming(client: EngineClient) -> None:
    worker = client._supervisor._worker
    assert isinstance(worker, ProcessWorker)
    async for events in client.generate(request("a", max_tokens=900)):
        if any(isinstance(event, TokenEvent) for event in events):
            os.kill(worker._process.pid, signal.SIGKILL)


async def test_killed_worker_fails_the_stream_and_serves_the_next_request(smollm2_path: Path) -> None:
    async with running(smollm2_path) as client:
        before = token_ids(await collect(client, request("before", max_tokens=4)))
        with pytest.raises(ServiceUnavailableError, match="killed by SIGKILL"):
            await kill_while_streaming(client)
        assert before == token_ids(await collect(client, request("after", max_tokens=4)))
        assert 1 == client.restarts


async def end_of(client: EngineClient, generate: GenerateRequest, begun: asyncio.Event) -> ServiceUnavailableError:
    """Return the error with which a request ends; set ``begun`` at its first tokens."""
    try:
        async for events in client.generate(generate):
            if any(isinstance(event, TokenEvent) for event in events):
                begun.set()
    except ServiceUnavailableError as error:
        return error
    raise AssertionError("it did not fail")


async def test_failed_assertion_of_llama_cpp_fails_running_requests_and_the_next_one_succeeds(
    tiny_path: Path,
) -> None:
    async with running(tiny_path, "tests.engine.asserting_core:AssertingCore.open") as client:
        before = token_ids(await collect(client, request("before", max_tokens=4)))
        begun = asyncio.Event()
        streaming = asyncio.create_task(end_of(client, request("a", max_tokens=400, n=8), begun))
        await begun.wait()
        errors = [await end_of(client, request(ASSERT, max_tokens=1), begun), await streaming]
        assert ["The engine stopped while it answered: it was killed by SIGABRT."] * 2 == [e.message for e in errors]
        assert "GGML_ASSERT(" in errors[0].__notes__[0]
        assert before == token_ids(await collect(client, request("after", max_tokens=4)))
        assert 1 == client.restarts


async def test_closed_stream_frees_its_cells(smollm2_path: Path) -> None:
    async with running(smollm2_path) as client:
        async with aclosing(client.generate(request("a", max_tokens=900, n=2))) as stream:
            async for events in stream:
                if any(isinstance(event, TokenEvent) for event in events):
                    break
        await until(lambda: client.stats and client.stats.steps and not client.stats.running)
        assert client.stats is not None
        assert 0 == client.stats.waiting
        assert client.stats.kv_cells_used == client.stats.kv_cells_cached


async def test_start_with_a_file_that_is_no_model_raises(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"this is not a model")
    client = EngineClient(EngineOptions(model_path=str(path)))
    with pytest.raises(ServiceUnavailableError, match=r"model\.gguf"):
        await client.start()


async def test_long_forced_text_does_not_end_the_engine(tmp_path: Path) -> None:
    """llama.cpp tokenizes the text; with this vocabulary 26,400 letters overflow a stack of 8 MiB."""
    path = write_tiny_model(tmp_path / "tiny.gguf", pre="deepseek-llm")
    async with running(path) as client:
        sampling = SamplingParams(temperature=0.0, max_tokens=400)
        for letters in (2, 200_000):
            grammar = f'start: "{"a" * letters}"'
            forced = GenerateRequest(
                request_id=str(letters), prompt=(TokenSegment([5, 6]),), sampling=sampling, grammar=grammar
            )
            events = await collect(client, forced)
            assert isinstance(events[-1], Finished)
            assert ("stop" if letters < 400 else "length") == events[-1].reason
        assert 0 == client.restarts
