"""What a row of the benchmark is: lines of the table that one measurement fills, round by round."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from msgspec import Struct

from antiphon.load_testing.figures import Aim
from antiphon.load_testing.load import Target
from antiphon.load_testing.workloads import Prompts, Sizes
from bench.bare import BareLoop
from bench.servers import Server

_T = TypeVar("_T")
PEER: Final = "llama.cpp"
BARE: Final = "bare loop"
MANY: Final = 100
Found = tuple[float, float | None]
"""What a round found, and what stands beside it."""


class Line(Struct, frozen=True):
    """One line of the table."""

    work: str
    unit: str
    beside: str = ""
    """What stands beside the figure; empty: nothing."""
    aim: Aim | None = None


class Site(Struct):
    """Where a run takes place."""

    ours: Server
    theirs: Server
    bare: BareLoop
    model: str
    threads: int
    sizes: Sizes
    quick: bool


class Round(Struct, frozen=True):
    """One round of one row."""

    site: Site
    row: str
    number: int

    async def both(self, work: Callable[[Target, Prompts], Awaitable[_T]]) -> tuple[_T, _T]:
        """Have both servers do the work, one after the other, and the other one first in the next round."""
        if self.number % 2:
            theirs = await self.theirs(work)
            return await self.ours(work), theirs
        return await self.ours(work), await self.theirs(work)

    async def ours(self, work: Callable[[Target, Prompts], Awaitable[_T]]) -> _T:
        """Have this project's server do the work."""
        return await work(self.site.ours.target, self.prompts("ours"))

    async def theirs(self, work: Callable[[Target, Prompts], Awaitable[_T]]) -> _T:
        """Have the peer do the work."""
        return await work(self.site.theirs.target, self.prompts("theirs"))

    def prompts(self, whose: str) -> Prompts:
        """Words that nobody else is asked."""
        return Prompts(f"{self.number} {self.row} {whose}")


class Row(Struct, frozen=True):
    """A measurement that fills some lines."""

    name: str
    """What ``--only`` calls it."""
    lines: tuple[Line, ...]
    run: Callable[[Round], Awaitable[list[Found]]]
    """Gives one value for each line, in order."""
    max_rounds: int = MANY
