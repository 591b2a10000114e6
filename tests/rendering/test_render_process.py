"""The handler of render jobs, in a real process with the bundled model's vocabulary."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.errors import APIError
from antiphon.isolation.process_pool import ProcessPool, settings_for
from antiphon.protocol.requests import decode_request
from antiphon.rendering.isolated_renderer import LIMITS, IsolatedRenderer
from antiphon.rendering.render_process import FACTORY
from antiphon.rendering.renderer import Rendering
from antiphon.rendering.renderer_settings import RendererSettings, open_renderer

pytestmark = pytest.mark.anyio

CONTEXT = 8192


@contextmanager
def vocabulary(path: Path) -> Iterator[Tokenizer]:
    tokenizer = Tokenizer.open(str(path))
    try:
        yield tokenizer
    finally:
        tokenizer.close()


@asynccontextmanager
async def opened(path: Path, *, cpu_seconds: int = 20, context: int = CONTEXT) -> AsyncIterator[IsolatedRenderer]:
    settings = RendererSettings(model_path=str(path), max_model_len=context)
    pool = ProcessPool(settings_for(FACTORY, settings, replace(LIMITS, cpu_seconds=cpu_seconds)), size=1, max_waiting=8)
    try:
        with vocabulary(path) as tokenizer:
            yield IsolatedRenderer(open_renderer(settings, tokenizer), pool)
    finally:
        await pool.close()


async def rendered(renderer: IsolatedRenderer, **fields: Any) -> Rendering:  # noqa: ANN401 (JSON)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return await renderer.render(decode_request(msgspec.json.encode(body)), "req", "")


async def refusal(renderer: IsolatedRenderer, **fields: Any) -> APIError:  # noqa: ANN401 (JSON)
    with pytest.raises(APIError) as caught:
        await rendered(renderer, **fields)
    return caught.value


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def test_a_process_gives_the_prompt_that_this_process_gives(smollm2_path: Path) -> None:
    text = "The sea is \u00e4 wide place.\n" * 300
    with vocabulary(smollm2_path) as tokenizer:
        settings = RendererSettings(model_path=str(smollm2_path), max_model_len=CONTEXT)
        request = decode_request(msgspec.json.encode({"model": "m", "messages": said(text)}))
        direct = open_renderer(settings, tokenizer).render(request, "req", "")
    async with opened(smollm2_path) as renderer:
        assert direct == await rendered(renderer, messages=said(text))


async def test_a_grammar_that_nothing_follows_is_refused(smollm2_path: Path) -> None:
    tool = {"type": "custom", "custom": {"name": "t", "format": lark("start: /a/ & /b/")}}
    async with opened(smollm2_path) as renderer:
        assert 400 == (await refusal(renderer, tools=[tool])).status


def lark(definition: str) -> dict[str, Any]:
    return {"type": "grammar", "grammar": {"syntax": "lark", "definition": definition}}


@pytest.mark.parametrize("character", ["\n", " ", "a"])
async def test_more_text_than_the_context_can_hold_is_refused_before_it_is_tokenized(
    smollm2_path: Path, character: str
) -> None:
    async with opened(smollm2_path, context=512) as renderer:
        error = await refusal(renderer, messages=said(f"a{character * 120_000}a"))
    assert (400, "messages", "context_length_exceeded") == (error.status, error.param, error.code)
    assert "bytes" in error.message
