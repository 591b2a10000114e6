"""Why a schema is refused, before it is known for which field of the request."""

from typing import Final

MAX_SHAPES: Final = 20_000
"""Alternatives that one schema may unfold to."""


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
    """Counts the alternatives that a schema unfolds to, so that a hostile one ends early."""

    def __init__(self, shapes: int = MAX_SHAPES) -> None:
        self._left = shapes

    def spend(self, shapes: int) -> None:
        """Count ``shapes`` more. Raises :class:`SchemaRefusedError` beyond the limit."""
        self._left -= shapes
        if self._left < 0:
            raise SchemaRefusedError("the schema has too many combinations of alternatives", ())
