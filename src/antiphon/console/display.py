"""Output of the commands: results on stdout; panels, progress and errors on stderr."""

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from antiphon.engine.interface import ModelInfo

_UNSPECIFIED = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared with, never bound)
_EXAMPLE = "Write one sentence about the sea."
_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_COUNTS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def out() -> Console:
    """Return the console for results."""
    return Console()


def err() -> Console:
    """Return the console for progress, panels and errors."""
    return Console(stderr=True)


def print_line(text: str) -> None:
    """Write one line to stdout at once, without wrapping and colours."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_piece(console: Console, text: str, style: str = "") -> None:
    """Write a piece of an answer at once; on a terminal, without the model's control characters."""
    if console.is_terminal:
        console.print(Text(text.translate(_CONTROL), style), end="", soft_wrap=True)
    else:
        console.file.write(text)
    console.file.flush()


def say(text: str) -> None:
    """Write a line to stderr."""
    err().print(Text(text), soft_wrap=True)


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Show a spinner on a terminal, and one line elsewhere."""
    console = err()
    if not console.is_terminal:
        console.print(Text(doing), soft_wrap=True)
        yield
        return
    with console.status(Text(doing)):
        yield


@contextmanager
def bar(doing: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal; yield the function that advances it by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = err()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def tally(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, and one line elsewhere; yield the function that sets done and total."""
    console = err()
    if not console.is_terminal:
        console.print(Text(doing), soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_error(message: str, advice: str = "") -> None:
    """Write an error and its advice to stderr."""
    text = Text.assemble(("Error: ", "bold red"), message)
    err().print(text.append(f"\n{advice}") if advice else text, soft_wrap=True)


def base_url(host: str, port: int) -> str:
    """Return the address of the server on its own machine."""
    host = _UNSPECIFIED.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def curl_line(url: str, model: str, *, key: bool = False) -> str:
    """Return a shell line that sends an example request; with ``key``, it sends $ANTIPHON_API_KEY."""
    messages = [{"role": "user", "content": _EXAMPLE}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_completion_tokens": 64}
    data = shlex.quote(json.dumps(body, separators=(",", ":")))
    headers = "-H 'Content-Type: application/json'"
    if key:
        headers += ' -H "Authorization: Bearer $ANTIPHON_API_KEY"'
    return f"curl -s {shlex.quote(url + '/v1/chat/completions')} {headers} -d {data}"


def model_panel(name: str, path: Path, info: ModelInfo) -> RenderableType:
    """Return a panel with the model and its settings."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _rows(path, info).items():
        table.add_row(label, Text(value))
    return Panel(table, title=Text(name), title_align="left", expand=False)


def size(n_bytes: int) -> str:
    """Format a number of bytes: ``91.7 MiB``."""
    value = float(n_bytes)
    unit = 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value /= _STEP
        unit += 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{n_bytes} B"


def count(number: int) -> str:
    """Format a number of parameters: ``134.5M``."""
    for step, suffix in _COUNTS:
        if number >= step:
            return f"{number / step:.1f}{suffix}"
    return str(number)


def _rows(path: Path, info: ModelInfo) -> Mapping[str, str]:
    return {
        "file": str(path),
        "model": f"{info.description}, {count(info.n_params)} parameters, {size(info.model_size)}",
        "context": f"{info.ctx_size} tokens, {info.max_model_len} for one request (trained on {info.n_ctx_train})",
        "batch": (
            f"{info.max_num_seqs} sequences, {info.max_num_batched_tokens} tokens in a step, "
            f"{info.prefill_chunk_size} of a prompt beside others"
        ),
        "threads": f"{info.threads} decoding, {info.threads_batch} for prompts",
        "GPU layers": str(info.n_gpu_layers),
        "flash attention": "on" if info.flash_attn else "off",
        "engine": info.engine_version,
        "instruction sets": info.system_info.strip(" |"),
        "fingerprint": info.fingerprint,
    }


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows to stdout: a table on a terminal, columns separated by tabs elsewhere."""
    console = out()
    if not console.is_terminal:
        for row in (titles, *rows):
            print_line("\t".join(" ".join(cell.split()) for cell in row))
        return
    table = Table(box=SIMPLE_HEAD)
    for index, title in enumerate(titles):
        # The first column holds ids, which people copy: only the others are wrapped.
        table.add_column(title, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.translate(_CONTROL)) for cell in row))
    console.print(table)


def moment(unix: float) -> str:
    """Format a time in UTC: ``2026-11-21 05:30``."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M")
