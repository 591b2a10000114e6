"""The handler of render jobs, in real processes: with the bundled model's vocabulary, and with hostile templates."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.errors import APIError
from antiphon.isolation.fork_server import settings_for
from antiphon.isolation.process_pool import ProcessPool
from antiphon.protocol.requests import decode_request
from antiphon.rendering.isolated_renderer import IsolatedRenderer, UnusableTemplateError, open_pool, prepared
from antiphon.rendering.render_job import Rendering, TokenJob
from antiphon.rendering.render_process import open_renderer
from antiphon.rendering.renderer_settings import FACTORY, LIMITS, RendererSettings
from antiphon.templates.chat_template import ChatTemplateError
from tests.rendering.hostile_templates import HOSTILE, TEMPLATE
from tests.vocabularies import write_vocabulary

pytestmark = pytest.mark.anyio

CONTEXT = 8192
OWN = "{% for message in messages %}own {{ message.content }}{% endfor %}"
TOOL_REQUEST = decode_request(
    b"""{"model": "m", "messages": [{"role": "user", "content": "to"}],
    "tools": [{"type": "function", "function": {"name": "look"}}], "tool_choice": "required"}"""
)
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
GREEDY = "{{ 'a' * 9999999999 }}"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def vocabulary(path: Path) -> Iterator[Tokenizer]:
    tokenizer = Tokenizer.open(str(path))
    try:
        yield tokenizer
    finally:
        tokenizer.close()


@asynccontextmanager
async def opened(path: Path, *, context: int = CONTEXT) -> AsyncIterator[IsolatedRenderer]:
    pool = open_pool(RendererSettings(model_path=str(path)))
    try:
        yield IsolatedRenderer(pool, context)
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


@pytest.mark.parametrize("text", ["Hi", "The sea is \u00e4 wide place.\n" * 300])
async def test_a_process_gives_the_prompt_that_this_process_gives(smollm2_path: Path, text: str) -> None:
    with vocabulary(smollm2_path) as tokenizer:
        settings = RendererSettings(model_path=str(smollm2_path))
        request = decode_request(msgspec.json.encode({"model": "m", "messages": said(text)}))
        direct = open_renderer(settings, tokenizer, CONTEXT).render(request, "req", "")
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


@pytest.fixture(scope="module")
def own_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("model") / "vocabulary.gguf", chat_template=OWN)


@pytest.fixture(scope="module")
async def hostile(own_model: Path) -> AsyncIterator[IsolatedRenderer]:
    """A renderer with the hostile template, which gives each request a second of processor time and 256 MiB."""
    settings = RendererSettings(model_path=str(own_model), template=TEMPLATE)
    limits = replace(LIMITS, cpu_seconds=1, memory=1 << 28)
    pool = ProcessPool(settings_for(FACTORY, settings, limits), size=1, max_waiting=1, short=1, max_waiting_short=1)
    yield IsolatedRenderer(pool, CONTEXT)
    await pool.close()


@pytest.mark.parametrize("word", HOSTILE)
async def test_a_template_that_takes_too_much_costs_its_own_request(hostile: IsolatedRenderer, word: str) -> None:
    error = await refusal(hostile, messages=said(word))
    assert (400, "messages") == (error.status, error.param)
    assert (await rendered(hostile)).generate.prompt_ids


async def test_a_template_that_takes_too_much_keeps_the_event_loop_from_nobody(hostile: IsolatedRenderer) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    await refusal(hostile, messages=said("shared lists"))
    turning.cancel()
    assert turns > 10


async def failure(path: Path, template: str) -> str:
    """Return why the pool cannot render with a template."""
    pool = open_pool(RendererSettings(model_path=str(path), template=template, probe_seconds=1))
    try:
        with pytest.raises(UnusableTemplateError) as caught:
            await prepared(pool)
    finally:
        await pool.close()
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "template"),
    [
        ("is not valid", "{% for %}"),
        ("does not render a user message", "nothing"),
        ("more than 10 s to render a few words", ENDLESS + OWN),
        ("more than 1024 MiB to render a few words", GREEDY + OWN),
    ],
)
async def test_a_template_that_cannot_be_used_is_told_before_anything_is_rendered(
    own_model: Path, words: str, template: str
) -> None:
    assert words in await failure(own_model, template)


async def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"nothing")
    assert "no GGUF file" in await failure(path, OWN)


@pytest.fixture
def tokenizer(own_model: Path) -> Iterator[Tokenizer]:
    with vocabulary(own_model) as tokenizer:
        yield tokenizer


def prompt(tokenizer: Tokenizer, template: str | None = None) -> str:
    renderer = open_renderer(RendererSettings(model_path="", template=template), tokenizer, 1024)
    ids = renderer.render(TOOL_REQUEST, "req", "").generate.prompt_ids
    return b"".join(map(tokenizer.token_bytes, ids)).decode()


def test_the_template_is_the_files_own(tokenizer: Tokenizer) -> None:
    assert prompt(tokenizer).startswith("own ")


def test_a_given_template_takes_the_place_of_the_files_own(tokenizer: Tokenizer) -> None:
    template = "{% for message in messages %}given {{ message.content }}{% endfor %}"
    assert prompt(tokenizer, template=template).startswith("given ")


def test_a_given_family_says_how_calls_are_written(tokenizer: Tokenizer) -> None:
    renderer = open_renderer(RendererSettings(model_path="", chat_format="mistral"), tokenizer, 1024)
    assert "[TOOL_CALLS]" in renderer.render(TOOL_REQUEST, "req", "").generate.grammar


def test_a_template_that_cannot_be_used_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ChatTemplateError):
        open_renderer(RendererSettings(model_path="", template="{% for %}"), tokenizer)


async def test_a_process_converts_text_to_the_ids_that_this_process_gives(smollm2_path: Path) -> None:
    text = "Hi<|im_end|> \u00e4\n"
    with vocabulary(smollm2_path) as tokenizer:
        expected = tokenizer.encode(text, parse_special=True)
    async with opened(smollm2_path) as renderer:
        ids = (await renderer.convert(TokenJob(text=text))).ids
        assert expected == ids
        assert text == (await renderer.convert(TokenJob(ids=ids))).text
