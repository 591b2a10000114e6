"""A server with its defaults: the time from start to the first token, and its memory without the model."""

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from antiphon.load_testing.figures import Aim
from antiphon.load_testing.load import FirstOnly, LoadError, ask, ask_all
from antiphon.load_testing.workloads import Prompts, free_text
from bench.memory import private_memory
from bench.rows import PEER, Found, Line, Round, Row
from bench.rows_decode import CROWD
from bench.servers import START_TIMEOUT, Capacity, Kind, Server, antiphon, llama_server, processes

SECONDS: Final = 3.0
MEGABYTES: Final = 200.0
ANSWER: Final = 16
"""Tokens of each stream's answer."""
_PAUSE: Final = 0.02
"""Seconds between two attempts to connect."""


def row() -> Row:
    """Return the row of start-up and memory."""
    lines = (
        Line("process start to first token", "s", PEER, Aim("<=", SECONDS, "figure")),
        Line(
            f"private memory at {CROWD} streams, without the mapped model file",
            "MB",
            PEER,
            Aim("<=", MEGABYTES, "figure"),
        ),
    )
    return Row("start", lines, _run)


async def _run(turn: Round) -> list[Found]:
    site = turn.site
    with tempfile.TemporaryDirectory() as folder:
        ours = await _measure(
            antiphon(site.model, Capacity(site.threads, CROWD), Path(folder)), turn.prompts("ours"), site.model
        )
        peer = llama_server(site.model, Capacity(site.threads, CROWD), Console())
        theirs = await _measure(peer, turn.prompts("theirs"), site.model)
    return list(zip(ours, theirs, strict=True))


async def _measure(kind: Kind, prompts: Prompts, model: str) -> tuple[float, float]:
    """Return the seconds from start to first token, and the megabytes after ``CROWD`` streams."""
    server = Server(kind)
    try:
        start = time.perf_counter()
        server.launch()
        await first_answer(server, prompts)
        seconds = time.perf_counter() - start
        await ask_all(server.target, [free_text(server.target, prompts.story(), ANSWER) for _ in range(CROWD)])
        return seconds, private_memory(processes(server.pid), model)
    finally:
        await asyncio.to_thread(server.close)


async def first_answer(server: Server, prompts: Prompts) -> None:
    """Send requests until one has its first token."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            server.check()
            with contextlib.suppress(LoadError):
                await ask(server.target, free_text(server.target, prompts.story(), 2), FirstOnly())
                return
            await asyncio.sleep(_PAUSE)
