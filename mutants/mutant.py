"""A mutant: one fault in a source text."""

from msgspec import Struct

Name = tuple[str, str, str]
"""Function, line before the change, and line after it."""


class Mutant(Struct, frozen=True):
    """One fault: the text from ``start`` to ``end`` of the source is replaced by ``text``."""

    function: str
    """Qualified name of its function."""
    line: int
    before: str
    """The changed lines of the source, as one line."""
    after: str
    start: int
    end: int
    text: str

    @property
    def name(self) -> Name:
        """The name in the list of equivalent mutants, which changes of other lines do not affect."""
        return (self.function, self.before, self.after)

    def applied(self, source: str) -> str:
        """Return the source with the fault."""
        return source[: self.start] + self.text + source[self.end :]
