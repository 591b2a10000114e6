"""Long runs of one character in every kind of vocabulary: llama.cpp's regular expressions descend once for each."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from antiphon.isolation.fork_server import settings_for
from antiphon.isolation.process_pool import JobLostError, ProcessPool
from antiphon.rendering.renderer_settings import LIMITS
from tests.engine.tokenizer_jobs import FACTORY, TokenizerJob
from tests.vocabularies import MODELS, PRE_TOKENIZERS, write_vocabulary

pytestmark = pytest.mark.anyio

KINDS = [*((model, "default") for model in MODELS if model != "gpt2"), *(("gpt2", pre) for pre in PRE_TOKENIZERS)]
RUN = 30_000
"""Characters: 26,400 overflow the 8 MiB stack of a thread."""
PIECES = ("a", "A", "7", "!", "\u4e2d", "\u0e01", "aZ")
"""Letters of several scripts, digits and punctuation. No piece is a token that texts are searched for."""
SLOW = ("superbpe", "7")
"""Its rule looks from every digit to the last: the time grows with the square."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(settings_for(FACTORY, None, LIMITS), size=1, max_waiting=1)
    yield pool
    await pool.close()


async def count(pool: ProcessPool, path: Path, piece: str, times: int = RUN) -> int:
    return int(await pool.run(msgspec.json.encode(TokenizerJob(str(path), piece, times))))


@pytest.mark.parametrize(("model", "pre"), KINDS)
async def test_a_long_run_of_one_character_is_tokenized(
    pool: ProcessPool, tmp_path: Path, model: str, pre: str
) -> None:
    path = write_vocabulary(tmp_path / "vocabulary.gguf", model, pre)
    counts = [await count(pool, path, piece) for piece in PIECES if (pre, piece) != SLOW]
    assert 0 < min(counts)


async def test_a_run_that_takes_too_long_costs_its_own_request(tmp_path: Path) -> None:
    pre, piece = SLOW
    path = write_vocabulary(tmp_path / "vocabulary.gguf", "gpt2", pre)
    pool = ProcessPool(settings_for(FACTORY, None, replace(LIMITS, cpu_seconds=1)), size=1, max_waiting=1)
    try:
        with pytest.raises(JobLostError) as caught:
            await count(pool, path, piece, 200_000)
        assert ("time", "messages") == (caught.value.cause, caught.value.stage)
        assert 0 < await count(pool, path, piece, 100)
    finally:
        await pool.close()


async def test_a_run_that_is_too_long_for_the_stack_costs_its_own_request(pool: ProcessPool, tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "vocabulary.gguf", "gpt2", "deepseek-llm")
    with pytest.raises(JobLostError) as caught:
        await count(pool, path, "a", 4_000_000)
    assert ("crash", "messages") == (caught.value.cause, caught.value.stage)
    assert 0 < await count(pool, path, "a", 1_000_000)
