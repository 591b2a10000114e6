"""Which parts of a step are decoded together. Pure: what llama.cpp does is a pair of costs here.

On a processor llama.cpp attends in two ways (ggml's ``flash_attn_ext``). A batch of fewer than :data:`TILE` rows goes
row by row through the cells of the row's own sequence. A larger one is cut into tiles of that many rows, and each tile
is multiplied with every cell that any of its rows sees: several times as fast for a row and a cell, but no faster for
rows that share no cells. So the rows of one prompt, or of one long draft, belong into a tile, if need be one that is
filled up with padding; the newest tokens of many conversations do not, and are decoded by themselves.
docs/performance.md has what that saves.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

from msgspec import Struct

TILE: Final = 64
"""Rows of a tile (GGML_FA_TILE_Q)."""
NEW_BATCH: Final = 8.0
"""Time that one more batch takes, in rows: the weights are read again, and smaller products are slower."""
LEAST_ROWS: Final = 16
"""Rows below which nothing is to be gained."""


class AttentionCosts(Struct, frozen=True, kw_only=True):
    """What attention costs, in the time that everything else of a row takes."""

    row_cell: float
    """A cell, for a row that is computed by itself."""
    tile_cell: float
    """A cell, for a whole tile of rows."""
    padding_id: int
    """The sequence id that rows of padding belong to."""


class Load(Struct, frozen=True):
    """What one sequence brings to a step."""

    rows: int
    cells: int
    """Cells that its last row sees."""


class Batch(Struct, frozen=True):
    """Sequences that are decoded together, by their places in the step, and rows of padding."""

    places: list[int]
    padding: int = 0


Distinct = Callable[[list[int]], int]
"""Counts the cells of some sequences, by their places, those that several share once."""


def plan_batches(loads: Sequence[Load], costs: AttentionCosts | None, distinct: Distinct) -> list[Batch]:
    """Choose the cheaper: everything in one batch, or many conversations' newest tokens beside whole prompts."""
    everything = list(range(len(loads)))
    if costs is None or sum(load.rows for load in loads) < LEAST_ROWS:
        return [Batch(everything)]
    plan = _Plan(loads, costs, distinct)
    together, one = plan.batch(everything)
    sparse = [place for place in everything if not plan.is_dense(loads[place])]
    dense = [place for place in everything if plan.is_dense(loads[place])]
    parts = [plan.batch(places) for places in [*plan.parted(sparse), dense] if places]
    apart = sum(time for time, _ in parts) + NEW_BATCH * (len(parts) - 1)
    return [batch for _, batch in parts] if apart < together else [one]


class _Plan:
    def __init__(self, loads: Sequence[Load], costs: AttentionCosts, distinct: Distinct) -> None:
        self._loads = loads
        self._costs = costs
        self._distinct = distinct

    def is_dense(self, load: Load) -> bool:
        """Whether a sequence's rows are computed faster in tiles, even if they share them with nobody."""
        return load.rows * self._costs.row_cell > ceil(load.rows / TILE) * self._costs.tile_cell

    def batch(self, places: list[int]) -> tuple[float, Batch]:
        """Time of one batch, in rows, and the batch, with padding where that is faster."""
        rows = self._rows(places)
        if rows >= TILE:
            return rows + self._tiled(places), Batch(places)
        alone = rows + self._costs.row_cell * sum(self._loads[at].rows * self._loads[at].cells for at in places)
        if alone <= TILE:
            return alone, Batch(places)
        return min((alone, Batch(places)), (TILE + self._tiled(places), Batch(places, TILE - rows)), key=_time)

    def parted(self, places: list[int]) -> list[list[int]]:
        """Cut into batches that are no tiles, of about equal sizes."""
        if not places:
            return []
        rows = self._rows(places)
        target = ceil(rows / ceil(rows / (TILE - 1)))
        parts: list[list[int]] = [[]]
        for place in places:
            held = self._rows(parts[-1])
            if held >= target or held + self._loads[place].rows >= TILE:
                parts.append([])
            parts[-1].append(place)
        return parts

    def _rows(self, places: list[int]) -> int:
        return sum(self._loads[place].rows for place in places)

    def _tiled(self, places: list[int]) -> float:
        """Time of attention in tiles: those of many sequences see all of their cells, those of one its own."""
        sparse = [place for place in places if not self.is_dense(self._loads[place])]
        cells = self._distinct(sparse) * ceil(self._rows(sparse) / TILE) if sparse else 0
        for place in places:
            load = self._loads[place]
            cells += ceil(load.rows / TILE) * load.cells if self.is_dense(load) else 0
        return self._costs.tile_cell * cells


def _time(timed: tuple[float, Batch]) -> float:
    return timed[0]
