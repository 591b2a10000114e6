"""``antiphon models``: lists the models of a server or of this machine; ``optimize`` makes faster copies."""

from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx2
import msgspec
from cyclopts import App
from msgspec import Struct
from rich.table import Column, Table
from rich.text import Text

from antiphon.cli.chat_client import open_client, served_models
from antiphon.cli.optimize import optimize
from antiphon.config import cache_dir
from antiphon.console import display
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.engine.optimizer.quantization import type_name
from antiphon.model_files.hub import CachedModel, Hub, all_parts
from antiphon.model_files.model_sources import BUNDLED_NAME, bundled_model
from antiphon.model_files.optimized_models import DEFAULT_TYPE, OptimizedModel, OptimizedModels

_UNKNOWN = "-"

models = App(name="models", help="List the models that a server serves, or those on this machine; make faster copies.")
models.command(optimize)


@models.default
def list_models(*, url: str | None = None, api_key: str | None = None) -> None:
    """List the models that a server serves, or those on this machine.

    Parameters
    ----------
    url
        A running server, such as http://127.0.0.1:8000. Without it: the bundled model and the downloaded ones.
    api_key
        With --url: the server's API key. Put it in the variable: other users of the machine see command lines.
    """
    table = anyio.run(_served, url, api_key) if url else _local(Hub(cache_dir()), OptimizedModels(cache_dir()))
    display.out().print(table)


async def _served(url: str, api_key: str | None) -> Table:
    async with open_client(url, api_key) as client:
        names = await served_models(client)
        states = await _states(client)
    table = _table("ready", title=f"Served at {url}")
    for name in names:
        table.add_row(name, states.get(name, _UNKNOWN))
    return table


class _ModelState(Struct):
    id: str
    status: str
    reason: str | None = None


class _Health(Struct):
    models: list[_ModelState]


async def _states(client: httpx2.AsyncClient) -> dict[str, str]:
    """Return the readiness of each model, from our health route; nothing for a server without that route."""
    response = await client.get("health")
    try:
        models = msgspec.json.decode(response.content, type=_Health).models
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {model.id: "yes" if model.status == "ready" else f"no. {model.reason or ''}".strip() for model in models}


def _local(hub: Hub, copies: OptimizedModels) -> Table:
    table = _table("type", "parameters", "size", "context", "ready", title="On this machine")
    bundled = bundled_model()
    default = None
    if bundled is not None:
        default = copies.find(bundled.path, DEFAULT_TYPE, read=False)
        state = "bundled: antiphon serve" if default is None else "bundled: antiphon serve --no-optimize"
        table.add_row(BUNDLED_NAME, *_facts(bundled.path), state)
    for model in hub.cached():
        table.add_row(*_cached_row(model))
    for copy in copies.all():
        table.add_row(copy.sidecar.name, *_facts(copy.path), _copy_state(copy, default))
    if not table.row_count:
        table.caption = "None. Download one: antiphon serve --model hf:owner/repo:quant"
    return table


def _table(*columns: str, title: str) -> Table:
    """Return a table whose first column, the name, is never cut: people copy it."""
    return Table(Column("model", overflow="fold"), *columns, title=Text(title), title_justify="left")


def _cached_row(model: CachedModel) -> tuple[str, ...]:
    return model.spec, *_facts(model.path), "downloaded"


def _copy_state(copy: OptimizedModel, default: OptimizedModel | None) -> str:
    return "copy: antiphon serve" if copy == default else f"copy of {copy.sidecar.source}: --optimize"


def _facts(path: Path) -> tuple[str, str, str, str]:
    """Return type, parameters, size and training context as the file states them."""
    try:
        tokenizer = Tokenizer.open(str(path))
    except Exception:  # noqa: BLE001 (a damaged file must not end the list)
        return _UNKNOWN, _UNKNOWN, display.size(path.stat().st_size), "damaged"
    metadata = tokenizer.metadata
    tokenizer.close()
    n_bytes = sum(part.stat().st_size for part in map(path.with_name, all_parts(path.name)) if part.exists())
    label = metadata.get("general.size_label", _UNKNOWN)
    return type_name(metadata.get("general.file_type")), label, display.size(n_bytes), _context(metadata)


def _context(metadata: Mapping[str, str]) -> str:
    architecture = metadata.get("general.architecture", "")
    return metadata.get(f"{architecture}.context_length", _UNKNOWN)
