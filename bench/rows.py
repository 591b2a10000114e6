"""The rows of the benchmark: a row is one measurement that fills some lines of the table, round by round."""

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
"""The value of one round, and the baseline's value if there is a baseline."""


class Line(Struct, frozen=True):
    """One line of the table."""

    work: str
    unit: str
    baseline: str = ""
    """The baseline's name; empty: no baseline."""
    aim: Aim | None = None


class Site(Struct):
    """The servers, the model and the sizes of a run."""

    ours: Server
    theirs: Server | None
    """The peer; None if no row is compared with it."""
    bare: BareLoop
    model: str
    threads: int
    sizes: Sizes
    quick: bool

    @property
    def servers(self) -> list[Server]:
        """The servers of the run."""
        return [self.ours] if self.theirs is None else [self.ours, self.theirs]


class Round(Struct, frozen=True):
    """One round of one row."""

    site: Site
    row: str
    number: int

    async def both(self, work: Callable[[Target, Prompts], Awaitable[_T]]) -> tuple[_T, _T]:
        """Measure the work on both servers, one after the other; they take turns in going first."""
        if self.number % 2:
            theirs = await self.theirs(work)
            return await self.ours(work), theirs
        return await self.ours(work), await self.theirs(work)

    async def ours(self, work: Callable[[Target, Prompts], Awaitable[_T]]) -> _T:
        """Measure the work on this project's server."""
        return await work(self.site.ours.target, self.prompts("ours"))

    async def theirs(self, work: Callable[[Target, Prompts], Awaitable[_T]]) -> _T:
        """Measure the work on the peer."""
        assert self.site.theirs is not None, f"the row {self.row} is compared with the peer"
        return await work(self.site.theirs.target, self.prompts("theirs"))

    def prompts(self, whose: str) -> Prompts:
        """Return prompts that no other row, round or server uses."""
        return Prompts(f"{self.number} {self.row} {whose}")


class Row(Struct, frozen=True):
    """A measurement that fills some lines."""

    name: str
    """The row's name in ``--only``."""
    lines: tuple[Line, ...]
    run: Callable[[Round], Awaitable[list[Found]]]
    """Return the values of each line, in order."""
    max_rounds: int = MANY

    @property
    def needs_peer(self) -> bool:
        """Whether a line is compared with the peer."""
        return any(line.baseline == PEER for line in self.lines)
