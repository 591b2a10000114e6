"""Why a schema is refused, before it is known for which field of the request."""

from typing import Final

MAX_WORK: Final = 64_000
"""Alternatives that one schema may make, which take a few seconds."""
COMPARISONS: Final = 8
"""Comparisons of small shapes that cost as much as one alternative."""
COMPILED_PATTERN: Final = 15
"""Alternatives that compiling a pattern counts as."""


class SchemaRefusedError(Exception):
    """The schema is malformed, or asks for what cannot be enforced exactly; the reason is a clause."""

    def __init__(self, reason: str, path: tuple[str | int, ...] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        """Keys that lead to the subschema at fault; None while they are not known."""


class CircularReferenceError(SchemaRefusedError):
    """Following references comes back to the same subschema without going into a property or an item."""


class Budget:
    """Counts the work that a schema makes, so that a hostile one ends early, and always the same one."""

    def __init__(self, work: int = MAX_WORK) -> None:
        self.left = work * COMPARISONS
        """Comparisons that may still be made; below 0 when there were too many."""

    def spend_alternatives(self, work: int, keyword: str = "") -> None:
        """Count ``work`` more, in alternatives, that ``keyword`` makes. Raises :class:`SchemaRefusedError`."""
        self.spend(work * COMPARISONS, keyword)

    def spend(self, comparisons: int, keyword: str = "") -> None:
        """Count comparisons of small shapes. Raises :class:`SchemaRefusedError` beyond the limit."""
        self.left -= comparisons
        if self.left < 0:
            made = f"'{keyword}' makes " if keyword else ""
            raise SchemaRefusedError(f"{made}too many combinations of alternatives")
