"""Histograms as plain numbers, which processes can fill, send and add up."""

from bisect import bisect_left
from typing import Self

from msgspec import Struct
from msgspec.structs import replace


class Distribution(Struct, array_like=True):
    """A histogram: the number of values in each bucket, and the sum of all values."""

    bounds: tuple[float, ...]
    """Upper bounds of the buckets, inclusive and ascending. Larger values are in one further bucket."""
    counts: list[int]
    """Values in each bucket, not cumulative; one more element than ``bounds``."""
    total: float = 0.0

    @classmethod
    def over(cls, bounds: tuple[float, ...]) -> Self:
        """Return an empty distribution with these bounds."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count a value. It takes less than a microsecond; the engine calls it for every token."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Self:
        """Return an independent copy."""
        return replace(self, counts=list(self.counts))

    def __add__(self, other: Self) -> Self:
        """Return the sum of both. Their bounds must be the same."""
        assert self.bounds == other.bounds, f"{self.bounds} == {other.bounds}"
        counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        return replace(self, counts=counts, total=self.total + other.total)
