"""`make overload`: what 500 streams at once cost those that are let in, where 64 may wait.

Each round sends all streams at once, and then, on the same server, as many as were let in, never more of them at a time
than may wait, so that nobody is refused. Answers have the same length, since the end-of-generation tokens are banned.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from antiphon.engine.models.tokenizer import Tokenizer
from bench.servers import served_model
from soak.invariants import Asked, succeeded, violations
from soak.mix import PATH
from soak.target import Target, serving
from soak.wire import Manner, Reply, exchange, request_bytes

MAX_NUM_SEQS: Final = 16
ANSWER: Final = 24
"""Tokens of each answer."""
REFUSED: Final = 429


class Round(Struct, frozen=True):
    """One measurement."""

    accepted: int
    refused: int
    tokens_per_second: float
    refusal_seconds: tuple[float, ...]
    """From the request to its refusal."""
    memory: int
    """Bytes of server and engine at its end."""


class Overload:
    """The work on one server."""

    def __init__(self, target: Target, streams: int, max_waiting: int, banned: dict[str, int]) -> None:
        self._target = target
        self._streams = streams
        self._max_waiting = max_waiting
        self._banned = banned
        self._asked = 0

    async def crowded(self) -> Round:
        """Send all at once."""
        return await self._measure(self._streams, self._streams)

    async def unloaded(self, number: int) -> Round:
        """Send as many as are given, so that none is refused."""
        return await self._measure(number, self._max_waiting)

    async def _measure(self, number: int, at_once: int) -> Round:
        places = asyncio.Semaphore(at_once)
        asked = [self._question() for _ in range(number)]

        async def ask(one: Asked) -> Reply:
            async with places:
                return await exchange(self._target.port, request_bytes("POST", PATH, one.body), Manner())

        began = time.monotonic()
        replies = await asyncio.gather(*map(ask, asked))
        found = [
            text for one, reply in zip(asked, replies, strict=True) for text in violations(one, reply, excused=False)
        ]
        if found:
            raise SystemExit(f"{len(found)} answers are not as they must be: {found[0]}")
        accepted = [reply for one, reply in zip(asked, replies, strict=True) if succeeded(one, reply)]
        refused = [reply for reply in replies if reply.status == REFUSED]
        assert number == len(accepted) + len(refused), f"{number} == {len(accepted)} + {len(refused)}"
        seconds = max(reply.ended for reply in accepted) - began
        waited = tuple(reply.ended - reply.began for reply in refused)
        return Round(len(accepted), len(refused), len(accepted) * ANSWER / seconds, waited, self._target.memory())

    def _question(self) -> Asked:
        self._asked += 1
        fields: dict[str, Any] = {
            "model": self._target.model,
            "messages": [{"role": "user", "content": f"Write a story about the number {self._asked}."}],
            "max_completion_tokens": ANSWER,
            "logit_bias": self._banned,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return Asked(kind="overload", method="POST", path=PATH, body=json.dumps(fields).encode(), fields=fields)


async def measure(overload: Overload, rounds: int, progress: Progress) -> list[tuple[Round, Round]]:
    """Give each round's crowded and unloaded figures, after a few answers to warm up."""
    task = progress.add_task("measuring", total=2 * rounds)
    await overload.unloaded(MAX_NUM_SEQS)
    found = []
    for _ in range(rounds):
        crowded = await overload.crowded()
        progress.advance(task)
        found.append((crowded, await overload.unloaded(crowded.accepted)))
        progress.advance(task)
    return found


def rows(found: list[tuple[Round, Round]], streams: int, max_waiting: int) -> list[tuple[str, str]]:
    """What was measured."""
    waits = sorted(seconds for crowded, _ in found for seconds in crowded.refusal_seconds)
    ratio = statistics.median(crowded.tokens_per_second / unloaded.tokens_per_second for crowded, unloaded in found)
    crowded = statistics.median(one.tokens_per_second for one, _ in found)
    unloaded = statistics.median(one.tokens_per_second for _, one in found)
    return [
        ("streams at once, of which may wait", f"{streams}, {max_waiting} ({MAX_NUM_SEQS} decode)"),
        ("rounds", str(len(found))),
        ("let in and finished, each round", ", ".join(str(one.accepted) for one, _ in found)),
        ("refused with 429, each round", ", ".join(str(one.refused) for one, _ in found)),
        ("tokens/s of those let in", f"{crowded:.1f}"),
        ("tokens/s of as many without the crowd", f"{unloaded:.1f}"),
        ("ratio, median of the rounds' own (aim: at least 0.95)", f"{ratio:.3f}"),
        (
            "a refusal took, median and 99th percentile",
            f"{waits[len(waits) // 2]:.2f} s, {waits[len(waits) * 99 // 100]:.2f} s",
        ),
        ("memory of server and engine, each round", ", ".join(f"{one.memory >> 20} MiB" for one, _ in found)),
    ]


def main() -> None:
    """Parse the options, measure, print the table and write it."""
    parser = argparse.ArgumentParser(prog="python -m soak.overload", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--max-waiting", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="", type=served_model)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    banned = {str(token): -100 for token in sorted(Tokenizer.open(options.model).eog_ids)}
    flags = ("--max-waiting", str(options.max_waiting), "--max-num-seqs", str(MAX_NUM_SEQS))
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="antiphon-overload-") as folder,
        serving(options.model, Path(folder), flags) as target,
        Progress(console=console, transient=True) as progress,
    ):
        overload = Overload(target, options.streams, options.max_waiting, banned)
        found = asyncio.run(measure(overload, options.rounds, progress))
    table = Table("what", "found", title="overload")
    lines = rows(found, options.streams, options.max_waiting)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    page = [
        "# Overload",
        "",
        "Written by `make overload`; see [reliability.md](reliability.md).",
        "",
        "| what | found |",
    ]
    page += ["| --- | --- |", *(f"| {name} | {value} |" for name, value in lines)]
    (options.out / "overload.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
