"""``antiphon models``: what a server serves, or what lies on this machine."""

from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx2
from rich.table import Column, Table
from rich.text import Text

from antiphon.cli import display
from antiphon.cli.conversation import open_client, served_models
from antiphon.cli.hub import CachedModel, Hub, all_parts
from antiphon.cli.model_files import BUNDLED_NAME, bundled_model
from antiphon.config import cache_dir
from antiphon.engine.tokenizer import Tokenizer

_UNKNOWN = "-"


def models(*, url: str | None = None, api_key: str | None = None) -> None:
    """List the models that a server serves, or those on this machine.

    Parameters
    ----------
    url
        A running server, such as http://127.0.0.1:8000. Without it: the bundled model and the downloaded ones.
    api_key
        With --url: the key that the server asks for. It belongs in the variable: others see command lines.
    """
    table = anyio.run(_served, url, api_key) if url else _local(Hub(cache_dir()))
    display.out().print(table)


async def _served(url: str, api_key: str | None) -> Table:
    async with open_client(url, api_key) as client:
        names = await served_models(client)
        ready = await _is_ready(client)
    table = _table("ready", title=f"Served at {url}")
    for name in names:
        table.add_row(name, ready)
    return table


async def _is_ready(client: httpx2.AsyncClient) -> str:
    """Ask our own health route; a server of another make has none."""
    response = await client.get("health")
    known = {200: "yes", 503: "no"}
    return known.get(response.status_code, _UNKNOWN)


def _local(hub: Hub) -> Table:
    table = _table("parameters", "size", "context", "ready", title="On this machine")
    bundled = bundled_model()
    if bundled is not None:
        table.add_row(BUNDLED_NAME, *_facts(bundled.path), "bundled: antiphon serve")
    for model in hub.cached():
        table.add_row(*_cached_row(model))
    if not table.row_count:
        table.caption = "None. Download one: antiphon serve --model hf:owner/repo:quant"
    return table


def _table(*columns: str, title: str) -> Table:
    """Begin a table whose first column, the name, is shown whole: it is there to be copied."""
    return Table(Column("model", overflow="fold"), *columns, title=Text(title), title_justify="left")


def _cached_row(model: CachedModel) -> tuple[str, ...]:
    return model.spec, *_facts(model.path), "downloaded"


def _facts(path: Path) -> tuple[str, str, str]:
    """Give parameters, size and training context as the file states them."""
    try:
        tokenizer = Tokenizer.open(str(path))
    except Exception:  # noqa: BLE001 (whatever is wrong with one file, the list goes on)
        return _UNKNOWN, display.size(path.stat().st_size), "damaged"
    metadata = tokenizer.metadata
    tokenizer.close()
    n_bytes = sum(part.stat().st_size for part in map(path.with_name, all_parts(path.name)) if part.exists())
    return metadata.get("general.size_label", _UNKNOWN), display.size(n_bytes), _context(metadata)


def _context(metadata: Mapping[str, str]) -> str:
    architecture = metadata.get("general.architecture", "")
    return metadata.get(f"{architecture}.context_length", _UNKNOWN)
