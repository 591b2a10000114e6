"""Figures of a benchmark: what the rounds found, the ratio that counts, and whether it meets its aim."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct, field

_SIGNS: Final = {">=": "≥", "<=": "≤"}
_SMALL: Final = 10
_THOUSAND: Final = 1000


class Aim(Struct, frozen=True):
    """What a figure is to be: a bound on the ratio, or on the measured figure itself."""

    sign: Literal[">=", "<="]
    bound: float
    of: Literal["ratio", "figure"] = "ratio"

    def met(self, value: float) -> bool:
        """Say whether a value keeps to the bound."""
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def describe(self, unit: str) -> str:
        """Write it: ``≥ 0.95``, or with the unit of the figure that it bounds."""
        bound = f"{self.bound:g}" if self.of == "ratio" else written(self.bound, unit)
        return f"{_SIGNS[self.sign]} {bound}"


class Figure(Struct):
    """One line of the table: the same work measured on this server and, mostly, on something else beside it."""

    work: str
    unit: str
    """Such as tokens/s, ms, MB, or x for a ratio."""
    beside: str = ""
    """What stands beside it; empty: nothing."""
    aim: Aim | None = None
    measured: list[float] = field(default_factory=list)
    """One of each round."""
    others: list[float] = field(default_factory=list)
    """What stands beside it, of the same rounds."""
    failure: str = ""
    """Why a round has no figures."""

    @property
    def value(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.measured)

    @property
    def other(self) -> float:
        """Median of what stands beside it."""
        return statistics.median(self.others)

    @property
    def ratio(self) -> float | None:
        """Median of the rounds' own ratios; None where nothing stands beside it."""
        if not self.others:
            return None
        return statistics.median(quotient(a, b) for a, b in zip(self.measured, self.others, strict=True))

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without an aim or a figure."""
        if self.aim is None or not self.measured:
            return None
        value = self.value if self.aim.of == "figure" else self.ratio
        return None if value is None else self.aim.met(value)

    def add(self, measured: float, other: float | None = None) -> None:
        """Keep what a round found."""
        assert (other is None) == (not self.beside), f"{self.work}: {other} beside {self.beside!r}"
        self.measured.append(measured)
        if other is not None:
            self.others.append(other)


def quotient(measured: float, other: float) -> float:
    """Divide; by nothing gives infinity."""
    return measured / other if other else math.inf


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least ``share`` (0 to 1) of them do not exceed: the nearest rank."""
    assert values, "a percentile of nothing"
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def written(value: float, unit: str) -> str:
    """Write a figure with as many digits as mean something."""
    if unit == "%":
        return f"{value * 100:.1f} %"
    digits = 2 if value < _SMALL and (unit == "x" or value % 1) else 0
    text = f"{value:,.{digits}f}" if value >= _THOUSAND else f"{value:.{digits}f}"
    return f"{text} {unit}"


def cells(figure: Figure) -> tuple[str, str, str, str, str, str]:
    """Give a line's cells: work, measured, beside it, ratio, aim, and whether it is met or why there is none."""
    aim = figure.aim.describe(figure.unit) if figure.aim else ""
    if not figure.measured:
        return (figure.work, "", "", "", aim, f"failed: {figure.failure}" if figure.failure else "not measured")
    beside = f"{figure.beside}: {written(figure.other, figure.unit)}" if figure.others else ""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = {True: "met", False: "missed", None: ""}[figure.met]
    return (figure.work, written(figure.value, figure.unit), beside, ratio, aim, verdict)
