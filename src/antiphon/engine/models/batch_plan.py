"""Which parts of a step are decoded together. Pure: what llama.cpp does is a pair of costs here.

On a processor llama.cpp attends in two ways (ggml's ``flash_attn_ext``). A batch of fewer than :data:`TILE` rows goes
row by row through the cells of the row's own sequence. A larger one is cut into tiles of that many rows, and each tile
is multiplied with every cell that any of its rows sees: several times as fast for a row and a cell, but no faster for
rows that share no cells. So the rows of one prompt belong into a tile, if need be one that is filled up with padding;
the newest tokens of many conversations do not. docs/performance.md has what that saves.

The two ways also round differently, by enough for another token now and then. What is generated, drafts included, is
always decoded row by row: so neither drafts nor prompts that are computed beside an answer round it otherwise. (Single
rows over more than 512 cells llama.cpp divides among its threads, which is a third way.)
"""

from collections.abc import Sequence
from math import ceil
from typing import Final

from msgspec import Struct

TILE: Final = 64
"""Rows of a tile (GGML_FA_TILE_Q)."""
NEW_BATCH: Final = 8.0
"""Time that one more batch takes, in rows: the weights are read again, and smaller products are slower."""


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
    generates: bool = False
    """Whether these are newest tokens and their draft, not a prompt."""


class Batch(Struct, frozen=True):
    """Sequences that are decoded together, by their places in the step, and rows of padding."""

    places: list[int]
    padding: int = 0


def plan_batches(loads: Sequence[Load], costs: AttentionCosts | None) -> list[Batch]:
    """Divide a step: what is decoded row by row, in batches of fewer rows than a tile, and what in tiles."""
    everything = list(range(len(loads)))
    if costs is None:
        return [Batch(everything)]
    dense: list[int] = []
    by_row: list[int] = []
    for place, load in enumerate(loads):
        (dense if _is_dense(load, costs) else by_row).append(place)
    rows = sum(loads[place].rows for place in dense)
    if rows < TILE and not _is_worth_padding([loads[place] for place in dense], costs):
        dense, by_row = [], everything
    batches = [Batch(places) for places in _parted(by_row, loads)]
    return [*batches, Batch(dense, max(0, TILE - rows))] if dense else batches


def _is_dense(load: Load, costs: AttentionCosts) -> bool:
    """Whether a prompt's rows are computed faster in tiles, even if they share them with nobody."""
    return not load.generates and load.rows * costs.row_cell > ceil(load.rows / TILE) * costs.tile_cell


def _is_worth_padding(loads: Sequence[Load], costs: AttentionCosts) -> bool:
    """Whether fewer rows than a tile are computed faster in one than by themselves."""
    alone = sum(load.rows * (1 + costs.row_cell * load.cells) for load in loads)
    return TILE + NEW_BATCH + costs.tile_cell * sum(load.cells for load in loads) < alone


def _parted(places: list[int], loads: Sequence[Load]) -> list[list[int]]:
    """Cut into batches that are no tiles, of about equal sizes."""
    if not places:
        return []
    rows = sum(loads[place].rows for place in places)
    target = ceil(rows / ceil(rows / (TILE - 1)))
    parts: list[list[int]] = [[]]
    held = 0
    for place in places:
        if held >= target or (parts[-1] and held + loads[place].rows >= TILE):
            parts.append([])
            held = 0
        parts[-1].append(place)
        held += loads[place].rows
    return parts
