"""One fault in a source text, as data."""

from msgspec import Struct

Name = tuple[str, str, str]
"""Function, line before and line after."""


class Mutant(Struct, frozen=True):
    """One fault: the text from ``start`` to ``end`` of the source is replaced by ``text``."""

    function: str
    """Qualified name of the function that it is in."""
    line: int
    before: str
    """The lines of the source that it changes, as one line."""
    after: str
    start: int
    end: int
    text: str

    @property
    def name(self) -> Name:
        """What the list of equivalent mutants calls it by: it outlives changes of other lines."""
        return (self.function, self.before, self.after)

    def applied(self, source: str) -> str:
        """Return the source with the fault."""
        return source[: self.start] + self.text + source[self.end :]
