"""Divides a step into batches. This module is pure: two costs describe llama.cpp's attention.

On a CPU llama.cpp attends in two ways (ggml's ``flash_attn_ext``). It processes a batch of fewer than :data:`TILE`
rows row by row over the cells of each row's sequence. It cuts a larger batch into tiles of that many rows. A tile is
multiplied with every cell that any of its rows attends to: several times as fast for a row and a cell, but no faster
for rows that share no cells. So the rows of one prompt belong in a tile, even a padded one; the newest tokens of many
conversations do not. docs/performance.md has the measurements.

The two ways round differently, which changes a token now and then. Generated tokens and drafts are always decoded row
by row, so neither drafts nor prompts in the same step change an answer. (llama.cpp divides a single row over more than
512 cells among its threads, which is a third way.)
"""

from math import ceil
from typing import Final

from msgspec import Struct

TILE: Final = 64
"""Rows of a tile (GGML_FA_TILE_Q)."""
NEW_BATCH: Final = 8.0
"""Time of one more batch, in rows: the weights are read again, and smaller products are slower."""


class AttentionCosts(Struct, frozen=True, kw_only=True):
    """The costs of attention, in units of the time that the rest of a row takes."""

    row_cell: float
    """Cost of a cell for a row outside a tile."""
    tile_cell: float
    """Cost of a cell for a whole tile."""
    padding_id: int
    """The sequence id of padding rows."""


class SequenceRows(Struct, frozen=True):
    """The rows of one sequence in a step."""

    rows: int
    cells: int
    """Cells that the last row attends to."""
    generates: bool = False
    """Whether the rows are a newest token and its draft, not a prompt."""


class Batch(Struct, frozen=True):
    """Sequences that are decoded together, by their indices in the step, and the number of padding rows."""

    places: list[int]
    padding: int = 0


def plan_batches(sequences: list[SequenceRows], costs: AttentionCosts | None) -> list[Batch]:
    """Return the batches of a step: those of fewer rows than a tile, then one that is decoded in tiles."""
    everything = list(range(len(sequences)))
    if costs is None:
        return [Batch(everything)]
    dense: list[int] = []
    by_row: list[int] = []
    for place, sequence in enumerate(sequences):
        (dense if _is_dense(sequence, costs) else by_row).append(place)
    rows = sum(sequences[place].rows for place in dense)
    if rows < TILE and not _is_worth_padding([sequences[place] for place in dense], costs):
        dense, by_row = [], everything
    batches = [Batch(places) for places in _split_evenly(by_row, sequences)]
    return [*batches, Batch(dense, max(0, TILE - rows))] if dense else batches


def _is_dense(sequence: SequenceRows, costs: AttentionCosts) -> bool:
    """Return whether a prompt's rows are decoded faster in tiles, even without other sequences in them."""
    return not sequence.generates and sequence.rows * costs.row_cell > ceil(sequence.rows / TILE) * costs.tile_cell


def _is_worth_padding(sequences: list[SequenceRows], costs: AttentionCosts) -> bool:
    """Return whether rows that do not fill a tile are decoded faster in a padded tile than row by row."""
    alone = sum(sequence.rows * (1 + costs.row_cell * sequence.cells) for sequence in sequences)
    return TILE + NEW_BATCH + costs.tile_cell * sum(sequence.cells for sequence in sequences) < alone


def _split_evenly(places: list[int], sequences: list[SequenceRows]) -> list[list[int]]:
    """Return batches of about equal sizes, each of fewer rows than a tile."""
    if not places:
        return []
    rows = sum(sequences[place].rows for place in places)
    target = ceil(rows / ceil(rows / (TILE - 1)))
    parts: list[list[int]] = [[]]
    held = 0
    for place in places:
        if held >= target or (parts[-1] and held + sequences[place].rows >= TILE):
            parts.append([])
            held = 0
        parts[-1].append(place)
        held += sequences[place].rows
    return parts
