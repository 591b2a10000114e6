"""Builds the service: starts an engine for each model, joins the parts, and closes all at the end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from anyio import CancelScope

from antiphon import __version__
from antiphon.backends.local import LocalBackend
from antiphon.backends.local_tokens import LocalTokens
from antiphon.cli.model_preload import ModelPreload
from antiphon.cli.options import EngineFlags, TemplateFlags
from antiphon.cli.renderer_options import renderer_settings
from antiphon.config import cache_dir
from antiphon.console import display
from antiphon.console.command_error import CommandError
from antiphon.engine.host.client import EngineClient
from antiphon.engine.interface import ModelInfo
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.errors import ServiceUnavailableError
from antiphon.isolation.process_pool import PoolUnavailableError, ProcessPool
from antiphon.model_files.hub import Hub
from antiphon.model_files.model_sources import ModelFile, find_model
from antiphon.rendering.isolated_renderer import IsolatedRenderer, UnusableTemplateError, open_pool, prepared
from antiphon.rendering.renderer_settings import RendererSettings
from antiphon.routing.router import Router
from antiphon.service import Service
from antiphon.service.access import Access
from antiphon.service.storage import Storage

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
    renderers = {model.name: renderer_settings(str(model.path), template) for model in models}
    if flags.draft_model:
        draft = find_model(flags.draft_model, Hub(cache_dir()))
        flags = replace(flags, draft_model=str(draft.path))
    async with AsyncExitStack() as stack:
        preload = preload or stack.enter_context(ModelPreload())
        backends: dict[str, LocalBackend] = {}
        tokens: dict[str, LocalTokens] = {}
        for model in models:
            settings = renderers[model.name]
            pool = await stack.enter_async_context(_open_pool(settings, preload))
            client, tokenizer = await stack.enter_async_context(_open_engine(model, flags, preload))
            assert client.info is not None, f"{model.name} is started"
            await _prepare(pool, model)
            renderer = IsolatedRenderer(pool, client.info.max_model_len)
            variant = (__version__, settings.template, settings.chat_format)
            tokens[model.name] = LocalTokens(renderer)
            backends[model.name] = LocalBackend(client, tokenizer, renderer, variant=repr(variant))
            if on_loaded is not None:
                on_loaded(model, client.info)
        router = Router({name: [backend] for name, backend in backends.items()})
        yield Service(router, storage, access=access, engines=backends, tokens=tokens)


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
async def _open_pool(settings: RendererSettings, preload: ModelPreload) -> AsyncGenerator[ProcessPool, None]:
    """Start the pool that renders, which is prepared while the engine loads the model; close it at the end."""
    pool = open_pool(settings, preload.fork_server)
    try:
        with suppress(PoolUnavailableError):  # _prepare raises it again
            pool.start()
        yield pool
    finally:
        await pool.close()


async def _prepare(pool: ProcessPool, model: ModelFile) -> None:
    """Wait until the pool can render. Raises :class:`CommandError`."""
    try:
        await prepared(pool)
    except UnusableTemplateError as error:
        advice = "Name another template with --chat-template."
        raise CommandError(f"The chat template of the model {model.name} cannot be used: {error}", advice) from error
    except PoolUnavailableError as error:
        raise CommandError(f"The model {model.name} cannot be served: no process can prepare requests.") from error
