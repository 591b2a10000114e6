"""The table of equivalent mutants in docs/mutants.md: mutants that change no tested behaviour, each with a reason."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from mutants.mutant import Name

PAGE: Final = Path("docs/mutants.md")
MARKED: Final = re.compile(r"<!-- equivalent -->\n(.*?)<!-- /equivalent -->", re.DOTALL)
CELL: Final = re.compile(r"(?<!\\)\|")
COLUMNS: Final = 5
HEAD: Final = 2
"""Lines of the table's head."""


class Listed(Struct, frozen=True):
    """One row of the table."""

    module: str
    function: str
    before: str
    after: str
    reason: str

    @property
    def name(self) -> Name:
        """The mutant's name within its module."""
        return (self.function, self.before, self.after)


def listed(page: str) -> list[Listed]:
    """Return the rows of a page's table.

    Raises ValueError when the page has no table, or a row lacks a cell.
    """
    table = MARKED.search(page)
    if table is None:
        raise ValueError("the page has no table between the marks of equivalent mutants")
    return [_row(line) for line in table[1].strip().splitlines()[HEAD:]]


def row(entry: Listed) -> str:
    """Return the row of a mutant."""
    code = (f"`{text}`" for text in (entry.module, *entry.name))
    return "| " + " | ".join(text.replace("|", "\\|") for text in (*code, entry.reason)) + " |"


def gone(entries: Iterable[Listed], names: Mapping[str, Sequence[Name]]) -> list[Listed]:
    """Return the rows without a mutant; ``names`` has the mutants' names of each examined module."""
    return [entry for entry in entries if entry.module in names and entry.name not in names[entry.module]]


def _row(line: str) -> Listed:
    cells = [cell.strip().replace("\\|", "|") for cell in CELL.split(line.strip().removeprefix("|").removesuffix("|"))]
    if len(cells) != COLUMNS or not all(cells):
        raise ValueError(f"a row has {COLUMNS} cells, none of them empty: {line}")
    *code, reason = cells
    module, function, before, after = (text.removeprefix("`").removesuffix("`") for text in code)
    return Listed(module, function, before, after, reason)
