"""Figures of a benchmark: the values of its rounds, their ratio to a baseline, and the aim."""

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct, field

_SIGNS: Final = {">=": "≥", "<=": "≤"}
_SMALL: Final = 10
_THOUSAND: Final = 1000


class Aim(Struct, frozen=True):
    """A bound on the ratio, or on the measured figure itself."""

    sign: Literal[">=", "<="]
    bound: float
    of: Literal["ratio", "figure"] = "ratio"

    def met(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def describe(self, unit: str) -> str:
        """Format the aim: ``≥ 0.95``, or ``≤ 200 MB`` for a bound on the figure."""
        bound = f"{self.bound:g}" if self.of == "ratio" else format_value(self.bound, unit)
        return f"{_SIGNS[self.sign]} {bound}"


class Figure(Struct):
    """One line of the table: the same work measured on a server and, if there is one, on a baseline."""

    work: str
    unit: str
    """Such as tokens/s, ms, MB, or x for a ratio."""
    baseline: str = ""
    """The baseline's name; empty: no baseline."""
    aim: Aim | None = None
    measured: list[float] = field(default_factory=list)
    """One value for each round."""
    baseline_values: list[float] = field(default_factory=list)
    """The baseline's values of the same rounds."""
    failure: str = ""
    """The error of a round without values."""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.measured)

    @property
    def baseline_value(self) -> float:
        """The median of the baseline's rounds."""
        return statistics.median(self.baseline_values)

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios, or None without a baseline."""
        if not self.baseline_values:
            return None
        return statistics.median(quotient(a, b) for a, b in zip(self.measured, self.baseline_values, strict=True))

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without an aim or a figure."""
        if self.aim is None or not self.measured:
            return None
        value = self.value if self.aim.of == "figure" else self.ratio
        return None if value is None else self.aim.met(value)

    def add(self, measured: float, baseline_value: float | None = None) -> None:
        """Add the values of one round."""
        assert (baseline_value is None) == (not self.baseline), f"{self.work}: {baseline_value} of {self.baseline!r}"
        self.measured.append(measured)
        if baseline_value is not None:
            self.baseline_values.append(baseline_value)


def quotient(measured: float, baseline_value: float) -> float:
    """Divide; division by 0 gives infinity."""
    return measured / baseline_value if baseline_value else math.inf


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile by the nearest rank: the smallest value that ``share`` (0 to 1) of all do not exceed."""
    assert values, "a percentile needs values"
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def format_value(value: float, unit: str) -> str:
    """Format a figure with its significant digits."""
    if unit == "%":
        return f"{value * 100:.1f} %"
    digits = 2 if value < _SMALL and (unit == "x" or value % 1) else 0
    text = f"{value:,.{digits}f}" if value >= _THOUSAND else f"{value:.{digits}f}"
    return f"{text} {unit}"


def cells(figure: Figure) -> tuple[str, str, str, str, str, str]:
    """Return a line's cells: work, value, baseline, ratio, aim, and whether the aim is met or the failure."""
    aim = figure.aim.describe(figure.unit) if figure.aim else ""
    if not figure.measured:
        return (figure.work, "", "", "", aim, f"failed: {figure.failure}" if figure.failure else "not measured")
    baseline = (
        f"{figure.baseline}: {format_value(figure.baseline_value, figure.unit)}" if figure.baseline_values else ""
    )
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    verdict = {True: "met", False: "missed", None: ""}[figure.met]
    return (figure.work, format_value(figure.value, figure.unit), baseline, ratio, aim, verdict)
