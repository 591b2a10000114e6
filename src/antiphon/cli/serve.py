"""``antiphon serve``: finds the models, starts to load the first one, and serves."""

import gc
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import anyio
from cyclopts import Parameter

from antiphon.cli.model_preload import ModelPreload
from antiphon.cli.options import EngineFlags, LimitFlags, RetentionFlags, ServerFlags, TelemetryFlags, TemplateFlags
from antiphon.cli.renderer_options import renderer_settings
from antiphon.cli.tracing import open_tracer
from antiphon.config import ServerOptions, cache_dir
from antiphon.console.command_error import CommandError
from antiphon.model_files.hub import Hub
from antiphon.model_files.model_sources import ModelFile, find_models
from antiphon.model_files.optimized_models import OptimizedModels
from antiphon.model_files.optimizing import served_files
from antiphon.telemetry.logs import configure_logging


def serve(
    *,
    model: Annotated[tuple[str, ...], Parameter(negative_iterable="", show_default=False)] = (),
    template: TemplateFlags | None = None,
    engine: EngineFlags | None = None,
    server: ServerFlags | None = None,
    storage: RetentionFlags | None = None,
    limits: LimitFlags | None = None,
    telemetry: TelemetryFlags | None = None,
    optimize: bool | None = None,
) -> None:
    """Serve the Chat Completions API.

    When it is ready it prints one line that can be pasted into a shell. Ctrl-C ends it.

    Parameters
    ----------
    model
        A GGUF file, name=file, or hf:owner/repo:file-or-quant from the Hugging Face hub; repeatable. Requests call it
        by the name, or else by the file's name without .gguf. Default: the bundled SmolLM2-135M-Instruct.
    optimize
        Serve each model from its newest copy of models optimize; one is made where there is none. Default: on for the
        bundled model where none is named, whose copy is made at the first start, and off for named ones.
    """
    telemetry = telemetry or TelemetryFlags()
    configure_logging(telemetry.log_level, json=telemetry.log_json, exception_texts=telemetry.log_exception_text)
    flags = engine or EngineFlags()
    options = (server or ServerFlags()).options()
    with bind(options) as listener, open_tracer(telemetry.otlp_traces_endpoint) as tracer:
        files = find_models(model, Hub(cache_dir()))
        models = served_files(files, OptimizedModels(cache_dir()), named=bool(model), optimized=optimize)
        template = template or TemplateFlags()
        with _preload(models, flags, template) as preload:
            with without_garbage_collection():
                # The import of the server's modules takes half a second or more; the model is loaded meanwhile.
                from antiphon.cli.serving import Run  # noqa: PLC0415

            server_run = Run(
                models=models,
                flags=flags,
                template=template,
                options=options,
                listener=listener,
                storage=storage or RetentionFlags(),
                limits=limits or LimitFlags(),
                tracer=tracer,
                preload=preload,
            )
            try:
                anyio.run(server_run, backend_options={"use_uvloop": True})
            except ExceptionGroup as group:
                raise first_error(group) from group


def _preload(models: Sequence[ModelFile], flags: EngineFlags, template: TemplateFlags) -> ModelPreload:
    """Preload the first model, but not its engine if there is a draft model: its file is found later."""
    path = str(models[0].path)
    return ModelPreload(None if flags.draft_model else flags.options(path), renderer_settings(path, template))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause garbage collection during imports, which make hardly any garbage: they take a tenth less time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def first_error(group: ExceptionGroup) -> Exception:
    """Return the first CommandError of a group, or the group when it has none."""
    first: Exception = group.subgroup(CommandError) or group
    while isinstance(first, ExceptionGroup) and first is not group:
        first = first.exceptions[0]
    return first


def bind(options: ServerOptions) -> socket.socket:
    """Bind the server's address, on which it does not listen yet. Raises :class:`CommandError`.

    It is bound before the model is loaded, so that a port in use is an error at once.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bound(socket.socket(family, kind, protocol), address)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        advice = "Choose another with --port, or 0 for a free one." if options.port else ""
        raise CommandError(f"Cannot listen on {where}: {error.strerror or error}.", advice) from error


def _bound(listener: socket.socket, address: tuple[str | int | bytes, ...]) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
