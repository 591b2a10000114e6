"""Record ``antiphon top`` as an SVG for README.md: a real server, eight clients and a real run of the command.

    python scripts/record_top.py [FILE]

The picture contains its own background, so it is readable on light and dark pages, and names no font to download.
"""

import asyncio
import random
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from antiphon.cli import main as antiphon
from antiphon.load_testing.load import Target, ask
from antiphon.load_testing.workloads import Prompts, free_text, user

CLIENTS: Final = 8
WARM_UP: Final = 30.0
"""Seconds of load before the recording."""
WIDTH: Final = 84
"""Columns of the terminal."""
FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SYSTEM: Final = {"role": "system", "content": f"You are a helpful assistant. {Prompts('system').words(200)}."}
MODEL: Final = "smollm2-135m-instruct"


def svg_format() -> str:
    """Return rich's SVG template without its web fonts and its comment."""
    template = re.sub(r"<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    template = re.sub(r"@font-face \{\{.*?\}\}", "", template, flags=re.DOTALL)
    return re.sub(r"font-family: [^;]+;", f"font-family: {FONT};", template)


def export(console: Console, title: str) -> str:
    """Return the recording of a console as SVG, without trailing blanks."""
    svg = console.export_svg(title=title, theme=SVG_EXPORT_THEME, code_format=svg_format(), unique_id="top")
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


@contextmanager
def serving() -> Iterator[int]:
    """Run ``antiphon serve`` with the bundled model on a free port, and yield the port."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "antiphon",
            "serve",
            "--port",
            "0",
            "--data-dir",
            folder,
            "--log-level",
            "error",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603 (our own command)
            assert process.stdout is not None
            try:
                found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
                assert found is not None, "the server prints its address"
                yield int(found[1])
            finally:
                process.terminate()


async def converse(target: Target, name: str) -> None:
    """Hold conversations with a shared system prompt, without an end."""
    prompts, lengths = Prompts(name), random.Random(name)  # noqa: S311 (lengths of answers)
    while True:
        messages = [SYSTEM, user(f"Tell me about {prompts.words(6)}.")]
        for _ in range(3):
            answer = await ask(target, free_text(target, messages, lengths.randrange(24, 160)))
            messages += [{"role": "assistant", "content": answer.text}, user(f"And {prompts.words(5)}?")]


async def load(port: int, ended: threading.Event) -> None:
    """Run all clients until ``ended`` is set."""
    target = Target(host="127.0.0.1", port=port, model=MODEL)
    clients = [asyncio.create_task(converse(target, f"client {number}")) for number in range(CLIENTS)]
    await asyncio.to_thread(ended.wait)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


def record(port: int) -> str:
    """Run ``antiphon top`` under load and return its output as SVG."""
    console = Console(record=True, width=WIDTH, force_terminal=False)
    ended = threading.Event()
    clients = threading.Thread(target=lambda: asyncio.run(load(port, ended)))
    clients.start()
    try:
        ended.wait(WARM_UP)
        with patch("antiphon.console.display.out", lambda: console):
            antiphon(["top", "--url", f"http://127.0.0.1:{port}", "--interval", "5"])
    finally:
        ended.set()
        clients.join()
    return export(console, "antiphon top")


def main() -> None:
    """Record and write the picture."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/antiphon-top.svg")
    with serving() as port:
        path.write_text(record(port), encoding="utf-8")


if __name__ == "__main__":
    main()
