"""The refusal of a schema, and the budget that bounds the work of compiling one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MAX_WORK: Final = 64_000
"""Alternatives that one schema may make; they take a few seconds."""
COMPARISONS: Final = 8
"""Comparisons of small shapes that cost as much as one alternative."""
COMPILED_PATTERN: Final = 15
"""Alternatives that the compilation of one pattern costs."""
_QUOTED: Final = re.compile(r"'([$\w]+)'")


class SchemaRefusedError(Exception):
    """The schema is malformed, or cannot be enforced exactly. The reason is a clause."""

    def __init__(self, reason: str, path: tuple[str | int, ...] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        """Keys from the root to the subschema at fault; None until they are known."""


class UnenforceableError(SchemaRefusedError):
    """A keyword of a well-formed schema cannot be enforced."""

    @property
    def keyword(self) -> str:
        """The first keyword that the reason names, or an empty text."""
        found = _QUOTED.search(self.reason)
        return found[1] if found else ""


class Unenforced:
    """The keywords of one schema that are not enforced. Without ``allowed`` the first of them is refused."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self.count = 0
        """Calls of :meth:`add`: it also grows for a keyword that is not enforced in two places."""
        self._paths: dict[tuple[str | int, ...], None] = {}

    @property
    def paths(self) -> tuple[tuple[str | int, ...], ...]:
        """The path of each keyword, once, in the order in which they were found."""
        return tuple(self._paths)

    def add(self, error: UnenforceableError, path: tuple[str | int, ...]) -> None:
        """Add the keyword at ``path``. Raises ``error`` unless keywords may be left out."""
        if not self.allowed:
            raise error
        self.count += 1
        self._paths[path] = None

    @contextmanager
    def forbidden(self) -> Iterator[None]:
        """Refuse inside the block: for questions whose answer needs an exact schema."""
        allowed, self.allowed = self.allowed, False
        try:
            yield
        finally:
            self.allowed = allowed


class CircularReferenceError(SchemaRefusedError):
    """References lead back to the same subschema without entering a property or an item."""


class Budget:
    """Counts the work of one schema, so that a hostile schema ends early and always at the same place."""

    def __init__(self, work: int = MAX_WORK) -> None:
        self.left = work * COMPARISONS
        """Comparisons left; below 0 once the budget is exceeded."""

    def spend_alternatives(self, count: int, keyword: str = "") -> None:
        """Spend ``count`` alternatives that ``keyword`` makes. Raises :class:`SchemaRefusedError`."""
        self.spend(count * COMPARISONS, keyword)

    def spend(self, comparisons: int, keyword: str = "") -> None:
        """Spend comparisons of small shapes. Raises :class:`SchemaRefusedError` beyond the budget."""
        self.left -= comparisons
        if self.left < 0:
            made = f"'{keyword}' makes " if keyword else ""
            raise SchemaRefusedError(f"{made}too many combinations of alternatives")
