"""The work of compiling a schema, counted twice: by the compiler's own budget, and in calls of Python functions."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from msgspec import Struct

from antiphon.constraints.json_schema import compiler, document
from antiphon.constraints.json_schema.schema_errors import COMPARISONS, Budget

FREE_CALLS: Final = 10_000
CALLS_OF_CHARACTER: Final = 8
CALLS_OF_WORK: Final = 400
"""Calls that a schema may take at all, for a character and for a unit of its budget: five times what was measured."""


class Work(Struct):
    """What was paid for, and what was done."""

    spent: int = 0
    calls: int = 0


@contextmanager
def counted_work(budget: int) -> Iterator[Work]:
    """Count the work of every schema that is compiled in the block, with so large a budget."""
    work = Work()

    class CountedBudget(Budget):
        def __init__(self) -> None:
            super().__init__(budget)

        def spend(self, comparisons: int, keyword: str = "") -> None:
            work.spent += comparisons
            super().spend(comparisons, keyword)

    def count(_: object, event: str, __: Any) -> None:  # noqa: ANN401 (the profiler's)
        work.calls += event == "call"

    nothing_cached = patch.object(compiler, "_cached_compile", vars(compiler)["_compile"])
    with nothing_cached, patch.object(document, "Budget", CountedBudget):
        sys.setprofile(count)
        try:
            yield work
        finally:
            sys.setprofile(None)
            work.spent //= COMPARISONS
