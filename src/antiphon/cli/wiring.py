"""Builds the service: starts an engine for each model, joins the parts, and closes all at the end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from anyio import CancelScope

from antiphon import __version__
from antiphon.backends.local import LocalBackend
from antiphon.chat_formats.builtin import FORMAT_NAMES
from antiphon.cli.model_preload import ModelPreload
from antiphon.cli.options import EngineFlags, TemplateFlags
from antiphon.config import cache_dir
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.engine.host.client import EngineClient
from antiphon.engine.interface import ModelInfo
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.errors import ServiceUnavailableError
from antiphon.isolation.process_pool import ProcessPool, settings_for
from antiphon.model_files.hub import Hub
from antiphon.model_files.model_sources import ModelFile, find_model
from antiphon.rendering.isolated_renderer import (
    LIMITS,
    MAX_WAITING_RENDERS,
    RENDER_PROCESSES,
    IsolatedRenderer,
    inline_bytes,
)
from antiphon.rendering.render_process import FACTORY
from antiphon.rendering.renderer_settings import RendererSettings, open_renderer
from antiphon.routing.router import Router
from antiphon.service import Service
from antiphon.service.access import Access
from antiphon.service.storage import Storage
from antiphon.templates.chat_template import ChatTemplateError

START_POOL_AFTER = 2.0
"""Seconds between the engine's start and the start of the processes that render long requests: without them the first
answer comes sooner."""

OnLoaded = Callable[[ModelFile, ModelInfo], None]
"""Called for each model as soon as its engine runs."""


@asynccontextmanager
async def open_service(
    models: Sequence[ModelFile],
    flags: EngineFlags,
    *,
    template: TemplateFlags | None = None,
    on_loaded: OnLoaded | None = None,
    storage: Storage | None = None,
    access: Access | None = None,
    preload: ModelPreload | None = None,
) -> AsyncGenerator[Service, None]:
    """Start an engine for each model, one after the other, and yield the service; close all at the end.

    Without ``storage`` no completion is stored, without ``access`` no key is needed. The model of ``preload`` is
    already being loaded. Raises :class:`CommandError` when a model cannot be loaded or its template cannot be used.
    """
    template = template or TemplateFlags()
    source = None if template.chat_template is None else read_template(template.chat_template)
    check_format(template.chat_format)
    variant = repr((__version__, source, template.chat_format))
    if flags.draft_model:
        draft = find_model(flags.draft_model, Hub(cache_dir()))
        flags = replace(flags, draft_model=str(draft.path))
    async with AsyncExitStack() as stack:
        preload = preload or stack.enter_context(ModelPreload())
        backends: dict[str, LocalBackend] = {}
        for model in models:
            client, tokenizer = await stack.enter_async_context(_open_engine(model, flags, preload))
            assert client.info is not None, f"{model.name} is started"
            settings = RendererSettings(
                model_path=str(model.path),
                template=source,
                chat_format=template.chat_format,
                max_model_len=client.info.max_model_len,
            )
            renderer = await stack.enter_async_context(_open_renderer(model, settings, tokenizer))
            backends[model.name] = LocalBackend(client, tokenizer, renderer, variant=variant)
            if on_loaded is not None:
                on_loaded(model, client.info)
        router = Router({name: [backend] for name, backend in backends.items()})
        yield Service(router, storage, access=access, engines=backends)


def check_format(name: str | None) -> None:
    """Check the name of a chat format. Raises :class:`CommandError` for an unknown one."""
    if name is not None and name not in FORMAT_NAMES:
        raise CommandError(f"There is no chat format {name}.", f"Known: {', '.join(FORMAT_NAMES)}")


def read_template(path: Path) -> str:
    """Read a chat template. Raises :class:`CommandError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The chat template {path} cannot be read: {error}.") from error


@asynccontextmanager
async def _open_engine(
    model: ModelFile, flags: EngineFlags, preload: ModelPreload
) -> AsyncGenerator[tuple[EngineClient, Tokenizer], None]:
    """Start the engine and read the vocabulary meanwhile; close both at the end."""
    client = EngineClient(flags.options(str(model.path)), start_process=preload.start_process)
    reading = preload.read_vocabulary(str(model.path))
    try:
        with display.progress(f"Loading {model.name}"):
            await _start(client, model)
            tokenizer = await asyncio.wrap_future(reading)
        yield client, tokenizer
    finally:
        with CancelScope(shield=True):
            await client.close()
        if not reading.cancel() and reading.exception() is None:
            reading.result().close()


async def _start(client: EngineClient, model: ModelFile) -> None:
    try:
        await client.start()
    except ServiceUnavailableError as error:
        raise CommandError(f"The model {model.name} cannot be served: {error.message}") from error


@asynccontextmanager
async def _open_renderer(
    model: ModelFile, settings: RendererSettings, tokenizer: Tokenizer
) -> AsyncGenerator[IsolatedRenderer, None]:
    """Open the renderer, whose processes start later; end them at the end."""
    try:
        renderer = open_renderer(settings, tokenizer)
    except ChatTemplateError as error:
        advice = "Name another template with --chat-template."
        raise CommandError(f"The chat template of the model {model.name} cannot be used: {error}", advice) from error
    pool = ProcessPool(settings_for(FACTORY, settings, LIMITS), size=RENDER_PROCESSES, max_waiting=MAX_WAITING_RENDERS)
    pool.start_later(START_POOL_AFTER)
    try:
        yield IsolatedRenderer(renderer, pool, inline=inline_bytes(tokenizer.seconds_a_call()))
    finally:
        await pool.close()
