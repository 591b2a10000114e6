"""Counts the work of compiling a schema: by the compiler's budget, and in calls of Python functions."""

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
"""Allowed calls of a schema: a constant, for each character, for each unit of its budget; five times the measured."""


class Work(Struct):
    """The charged work and the calls."""

    spent: int = 0
    calls: int = 0


@contextmanager
def counted_work(budget: int) -> Iterator[Work]:
    """Count the work of all schemas that are compiled in the block, with a budget of ``budget``."""
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
