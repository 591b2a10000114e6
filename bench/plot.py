"""The plot of a run: the margin of every figure over its aim."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from antiphon.load_testing.figures import Figure

LIMIT: Final = 32.0
"""Maximum margin in the plot."""
_MET, _MISSED = "#2563eb", "#dc2626"


def margin(figure: Figure) -> float | None:
    """Return how many times better than its aim a figure is, 1 for exactly; None without an aim or a value."""
    if figure.aim is None or not figure.measured:
        return None
    value = figure.value if figure.aim.of == "figure" else figure.ratio
    if value is None:
        return None
    better, worse = (value, figure.aim.bound) if figure.aim.sign == ">=" else (figure.aim.bound, value)
    return LIMIT if worse <= 0 else min(LIMIT, max(1 / LIMIT, better / worse))


def label(figure: Figure) -> str:
    """Return the text of a bar: the work, and the measured ratio or figure with its aim."""
    assert figure.aim is not None, f"{figure.work} has an aim"
    value = figure.value if figure.aim.of == "figure" else figure.ratio
    baseline = f" / {figure.baseline}" if figure.baseline else ""
    return f"{figure.work}{baseline}\n{value:.3g}, aim {figure.aim.describe('')}"


def plot(figures: Sequence[Figure], title: str, path: Path) -> None:
    """Draw a bar for every figure with an aim, from the line of margin 1."""
    import matplotlib as mpl  # noqa: PLC0415 (only `make bench` installs it)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    drawn = [(figure, distance) for figure in figures if (distance := margin(figure)) is not None]
    image, axis = plt.subplots(figsize=(11, 1.2 + 0.45 * max(1, len(drawn))), constrained_layout=True)
    powers = [math.log2(distance) for _, distance in drawn]
    axis.barh(range(len(drawn)), powers, 0.6, color=[_MET if power >= 0 else _MISSED for power in powers])
    axis.set_yticks(range(len(drawn)), [label(figure) for figure, _ in drawn], fontsize=7)
    axis.invert_yaxis()
    axis.axvline(0, color="black", linewidth=1)
    ends = [0, *powers]
    ticks = range(math.floor(min(ends)), math.ceil(max(ends)) + 1)
    axis.set_xticks(list(ticks), [f"{2.0**tick:g}" for tick in ticks])
    axis.set_xlabel("times better than the aim (left of the line: the aim is missed)")
    axis.set_title(title, fontsize=10, loc="right")
    axis.spines[["top", "right"]].set_visible(False)
    image.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(image)
