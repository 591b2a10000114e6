"""Decoding: concurrent streams, compared with the peer and the bare loop, and with a busy process on one core."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from msgspec import Struct

from antiphon.load_testing.figures import Aim, percentile
from antiphon.load_testing.load import Answer, LoadError, Target, ask_all
from antiphon.load_testing.workloads import Prompts, free_text, steady_rate
from bench.rows import BARE, PEER, Found, Line, Round, Row

AIMS: Final = {1: 1.0, 4: 1.1, 16: 1.2, 64: 1.2}
"""Minimum ratio to the peer's rate, by the number of streams."""
OF_BARE: Final = 0.95
ANSWERS: Final = {1: 96, 4: 64, 16: 48, 64: 40}
"""Tokens of each answer, by streams."""
QUICK_ANSWER: Final = 8
CROWD: Final = 16
CROWD_ANSWER: Final = 24
SPIN: Final = """\
import os, time
os.sched_setaffinity(0, {%d})
end = time.monotonic() + 600
while time.monotonic() < end:
    pass
"""
"""A process that keeps one core busy."""


class Streams(Struct, frozen=True):
    """The figures of concurrent streams."""

    rate: float
    """Tokens a second of all streams together, while all of them decode."""
    gap: float
    """99th percentile of the seconds between two pieces of a stream."""


def rows(aims: Mapping[int, float] = AIMS) -> list[Row]:
    """Return a row for each number of streams."""
    return [_decode_row(streams, aim) for streams, aim in aims.items()]


def _decode_row(streams: int, aim: float) -> Row:
    work = f"decode, {streams} stream{'s' if streams > 1 else ''}"

    async def run(turn: Round) -> list[Found]:
        tokens = max(QUICK_ANSWER, streams // 2) if turn.site.quick else ANSWERS[streams]
        ours, theirs = await turn.both(partial(decode, streams=streams, tokens=tokens))
        bare = await asyncio.to_thread(turn.site.bare.decode, streams, tokens)
        return [(ours.rate, theirs.rate), (ours.rate, bare)]

    lines = (
        Line(work, "tokens/s", PEER, Aim(">=", aim)),
        Line(f"{work}, of the bare loop", "tokens/s", BARE, Aim(">=", OF_BARE)),
    )
    return Row(f"decode-{streams}", lines, run)


async def decode(target: Target, prompts: Prompts, streams: int, tokens: int) -> Streams:
    """Measure concurrent streams, at temperature 1, where text does not repeat itself."""
    bodies = [free_text(target, prompts.story(), tokens, temperature=1) for _ in range(streams)]
    return summary(await ask_all(target, bodies))


def summary(answers: list[Answer]) -> Streams:
    """Return the figures of streams. Raises :class:`LoadError` when they did not run at the same time."""
    rate = steady_rate(answers)
    if rate is None:
        raise LoadError("the streams did not run at the same time")
    between = [gap for answer in answers for gap in answer.gaps]
    return Streams(rate=rate, gap=percentile(between, 0.99))


def neighbour_row() -> Row:
    """Return the row of streams next to a busy process."""

    async def run(turn: Round) -> list[Found]:
        tokens = QUICK_ANSWER if turn.site.quick else CROWD_ANSWER
        ours, theirs = await turn.both(partial(_idle_and_busy, tokens=tokens))
        return [
            (ours[1].rate / ours[0].rate, theirs[1].rate / theirs[0].rate),
            (ours[1].rate, theirs[1].rate),
            (ours[1].gap * 1000, theirs[1].gap * 1000),
        ]

    streams = f"{CROWD} streams, one core busy with another process"
    lines = (
        Line(f"{streams}, of the idle rate", "%", PEER, Aim(">=", 0.5, "figure")),
        Line(f"decode, {streams}", "tokens/s", PEER),
        Line(f"gap p99, {streams}", "ms", PEER),
    )
    return Row("neighbour", lines, run)


async def _idle_and_busy(target: Target, prompts: Prompts, tokens: int) -> tuple[Streams, Streams]:
    """Measure the streams without and with a busy process."""
    idle = await decode(target, prompts, CROWD, tokens)
    with busy_core():
        return idle, await decode(target, prompts, CROWD, tokens)


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep the first of this process's cores busy with another process."""
    core = min(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", SPIN % core])  # noqa: S603 (our own program)
    try:
        yield
    finally:
        process.kill()
        process.wait()
