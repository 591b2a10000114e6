"""Predicted outputs: an answer with and without a prediction that differs in three words."""

import asyncio
from typing import Final

from antiphon.load_testing import workloads
from antiphon.load_testing.figures import Aim
from bench.rows import Found, Line, Round, Row

TIMES_AS_FAST: Final = 4
COST: Final = 1.05
"""Maximum ratio of the time with a useless prediction to the plain time."""
OF_PREFILL: Final = 0.7
PLAIN: Final = "ours, plain"


def row(tokens: int) -> Row:
    """Return the row of an answer of ``tokens`` tokens."""
    work = f"predicted output, {tokens} tokens, three words changed"
    lines = (
        Line(f"{work}, time", "s", PLAIN, Aim("<=", 1 / TIMES_AS_FAST)),
        Line(f"{work}, of the prefill limit", "tokens/s", "bare prefill", Aim(">=", OF_PREFILL)),
        Line(f"{work}, tokens accepted", "%"),
        Line(f"{work}, rounds whose text is the same", "%"),
        Line(f"useless prediction, {tokens} tokens, time", "s", PLAIN, Aim("<=", COST)),
    )
    return Row("prediction", lines, _run)


async def _run(turn: Round) -> list[Found]:
    sizes = turn.site.sizes
    found = await turn.ours(lambda target, prompts: workloads.prediction(target, prompts, sizes))
    limit = await asyncio.to_thread(turn.site.bare.prefill, sizes.predicted)
    return [
        (found.predicted, found.plain),
        (found.tokens / found.predicted, limit),
        (found.accepted, None),
        (float(found.equal), None),
        (found.useless, found.plain),
    ]
