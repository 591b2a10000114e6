"""Distributions: histograms as plain numbers, which any process can fill, send, add up and show."""

from bisect import bisect_left
from typing import Self

from msgspec import Struct
from msgspec.structs import replace


class Distribution(Struct, array_like=True):
    """How many values lie between two bounds, for each pair of neighbours, and what they all sum to."""

    bounds: tuple[float, ...]
    """Ascending. A value belongs to the first bound that it does not exceed, or else behind the last."""
    counts: list[int]
    """One more than the bounds."""
    total: float = 0.0

    @classmethod
    def over(cls, bounds: tuple[float, ...]) -> Self:
        """Return an empty one."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count a value. Costs less than a microsecond: it is called for every token."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Self:
        """Return what was counted up to now, which counts no further."""
        return replace(self, counts=list(self.counts))

    def __add__(self, other: Self) -> Self:
        """Return what both have counted; their bounds are the same."""
        assert self.bounds == other.bounds, f"{self.bounds} == {other.bounds}"
        counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        return replace(self, counts=counts, total=self.total + other.total)
