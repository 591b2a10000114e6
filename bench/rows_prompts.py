"""Prompts: the gaps of a stream while other prompts arrive, and the time to the first token of cached prompts."""

from collections.abc import Awaitable, Callable
from typing import Final

from antiphon.load_testing import workloads
from antiphon.load_testing.figures import Aim
from antiphon.load_testing.load import Target
from antiphon.load_testing.workloads import Prompts, Sizes
from bench.rows import PEER, Found, Line, Round, Row

MS: Final = 1000
TIMES_AS_FAST: Final = 1.5
SHARED_AIM: Final = 0.3
Workload = Callable[[Target, Prompts, Sizes], Awaitable[float]]


def rows(sizes: Sizes) -> list[Row]:
    """Return the rows about prompts."""
    gaps = f"gap p99 of a stream while {sizes.long_prompts} prompts of {sizes.long_prompt:,} tokens arrive"
    conversations = f"first token, {sizes.conversations} concurrent conversations, turns 2 to {sizes.turns}"
    choices = f"n = {sizes.choices} on a {sizes.choices_prompt}-token prompt, total time"
    return [
        _row("gaps", Line(gaps, "ms", PEER, Aim("<=", 0.5)), workloads.gap_p99),
        _row("conversations", Line(conversations, "ms", PEER, Aim("<=", 0.5)), workloads.conversations),
        _row("n", Line(choices, "ms", PEER, Aim("<=", round(1 / TIMES_AS_FAST, 2))), workloads.choices),
        shared_row(sizes, SHARED_AIM),
    ]


def shared_row(sizes: Sizes, aim: float) -> Row:
    """Return the row of a long system prompt: one request, then many that share it."""
    system = f"{sizes.system:,}-token system prompt"
    lines = (
        Line(f"first token, {system}, cold", "ms", PEER),
        Line(f"first token, shared {system}, {sizes.askers} requests at once", "ms", PEER, Aim("<=", aim)),
    )
    return Row("shared", lines, _shared)


def _row(name: str, line: Line, work: Workload) -> Row:
    async def run(turn: Round) -> list[Found]:
        ours, theirs = await turn.both(lambda target, prompts: work(target, prompts, turn.site.sizes))
        return [(ours * MS, theirs * MS)]

    return Row(name, (line,), run)


async def _shared(turn: Round) -> list[Found]:
    ours, theirs = await turn.both(
        lambda target, prompts: workloads.shared_prompt(target, prompts, turn.site.sizes),
    )
    return [(a * MS, b * MS) for a, b in zip(ours, theirs, strict=True)]
