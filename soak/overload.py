"""`make overload`: the effect of 500 streams at once on the accepted ones, when 64 may wait.

Each round sends all streams at once. Then it sends as many as were accepted to the same server, few enough at a time
that none is refused. All answers have the same length, because end-of-generation tokens are banned.
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
from soak.invariants import Request, succeeded, violations
from soak.mix import PATH
from soak.target import Target, serving
from soak.wire import Behaviour, Reply, exchange, request_bytes

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
    """Seconds from each refused request to its refusal."""
    memory: int
    """Bytes of server and engine at the end of the round."""


class Overload:
    """The measurements of one server."""

    def __init__(self, target: Target, streams: int, max_waiting: int, banned: dict[str, int]) -> None:
        self._target = target
        self._streams = streams
        self._max_waiting = max_waiting
        self._banned = banned
        self._asked = 0

    async def crowded(self) -> Round:
        """Measure all streams at once."""
        return await self._measure(self._streams, self._streams)

    async def unloaded(self, number: int) -> Round:
        """Measure ``number`` streams, few enough at a time that none is refused."""
        return await self._measure(number, self._max_waiting)

    async def _measure(self, number: int, at_once: int) -> Round:
        places = asyncio.Semaphore(at_once)
        request = [self._question() for _ in range(number)]

        async def ask(one: Request) -> Reply:
            async with places:
                return await exchange(self._target.port, request_bytes("POST", PATH, one.body), Behaviour())

        began = time.monotonic()
        replies = await asyncio.gather(*map(ask, request))
        found = [
            text for one, reply in zip(request, replies, strict=True) for text in violations(one, reply, excused=False)
        ]
        if found:
            raise SystemExit(f"{len(found)} answers break an invariant: {found[0]}")
        accepted = [reply for one, reply in zip(request, replies, strict=True) if succeeded(one, reply)]
        refused = [reply for reply in replies if reply.status == REFUSED]
        assert number == len(accepted) + len(refused), f"{number} == {len(accepted)} + {len(refused)}"
        seconds = max(reply.ended for reply in accepted) - began
        waited = tuple(reply.ended - reply.began for reply in refused)
        return Round(len(accepted), len(refused), len(accepted) * ANSWER / seconds, waited, self._target.memory())

    def _question(self) -> Request:
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
        return Request(kind="overload", method="POST", path=PATH, body=json.dumps(fields).encode(), fields=fields)


async def measure(overload: Overload, rounds: int, progress: Progress) -> list[tuple[Round, Round]]:
    """Return the figures of each round with all streams and with the accepted ones, after a warm-up."""
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
    """Return the lines of the table."""
    waits = sorted(seconds for crowded, _ in found for seconds in crowded.refusal_seconds)
    ratio = statistics.median(crowded.tokens_per_second / unloaded.tokens_per_second for crowded, unloaded in found)
    crowded = statistics.median(one.tokens_per_second for one, _ in found)
    unloaded = statistics.median(one.tokens_per_second for _, one in found)
    return [
        ("streams at once; may wait; decode", f"{streams}; {max_waiting}; {MAX_NUM_SEQS}"),
        ("rounds", str(len(found))),
        ("accepted and finished, each round", ", ".join(str(one.accepted) for one, _ in found)),
        ("refused with 429, each round", ", ".join(str(one.refused) for one, _ in found)),
        ("tokens/s of the accepted streams", f"{crowded:.1f}"),
        ("tokens/s of as many streams without overload", f"{unloaded:.1f}"),
        ("ratio, median of the rounds (aim: at least 0.95)", f"{ratio:.3f}"),
        (
            "time of a refusal, median and 99th percentile",
            f"{waits[len(waits) // 2]:.2f} s, {waits[len(waits) * 99 // 100]:.2f} s",
        ),
        ("memory of server and engine, each round", ", ".join(f"{one.memory >> 20} MiB" for one, _ in found)),
    ]


def main() -> None:
    """Parse the options, measure, and print and write the table."""
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
    table = Table("figure", "value", title="overload")
    lines = rows(found, options.streams, options.max_waiting)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    page = [
        "# Overload",
        "",
        "Written by `make overload`; see [reliability.md](reliability.md).",
        "",
        "| figure | value |",
    ]
    page += ["| --- | --- |", *(f"| {name} | {value} |" for name, value in lines)]
    (options.out / "overload.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
