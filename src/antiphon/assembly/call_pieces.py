"""Collects the pieces of a message's calls and ends the message at a call that equals an earlier one.

A weak model that must call repeats one call until its limit. So the pieces of a later call are held back while its name
and the text of its arguments equal the beginning of an earlier call of the same name. The first difference releases
them. Arguments are compared as text: the grammar gives all calls one order of keys and one style of whitespace.
"""

from collections.abc import Callable

from msgspec import Struct


class CallStart(Struct, frozen=True):
    """The start of a call; calls count from 0."""

    index: int
    name: str
    custom: bool


class CallText(Struct, frozen=True):
    """The next piece of a call's ``arguments`` (JSON text) or ``input``."""

    index: int
    text: str


class CallPieces:
    """Passes on the pieces of the calls of one message."""

    __slots__ = ("_candidates", "_earlier", "_emit", "_held", "_name", "_size", "_texts", "count", "repeated")

    def __init__(self, emit: Callable[[CallStart | CallText], None]) -> None:
        self._emit = emit
        self._earlier: dict[str, list[str]] = {}
        self._candidates: list[str] = []
        self._held: list[CallStart | CallText] = []
        self._name = ""
        self._texts: list[str] = []
        self._size = 0
        self.count = 0
        """Calls that have begun."""
        self.repeated = False
        """Whether a call equals an earlier one: the message ends before it."""

    @property
    def is_empty(self) -> bool:
        """Whether the newest call has no text."""
        return not self._size

    def begin(self, name: str, *, custom: bool = False) -> None:
        """Begin the next call."""
        self.release()
        self._name, self._texts, self._size = name, [], 0
        self._candidates = [] if custom else self._earlier.get(name, [])
        self._pass_on(CallStart(self.count, name, custom))
        self.count += 1

    def add(self, text: str) -> None:
        """Append a piece to the newest call's arguments or input."""
        if text and not self.repeated:
            self._candidates = [earlier for earlier in self._candidates if earlier.startswith(text, self._size)]
            self._texts.append(text)
            self._size += len(text)
            self._pass_on(CallText(self.count - 1, text))

    def complete(self) -> None:
        """End the newest call, whose text is complete."""
        text = "".join(self._texts)
        self.repeated = self.repeated or text in self._candidates
        if not self.repeated:
            self.release()
            self._earlier.setdefault(self._name, []).append(text)

    def release(self) -> None:
        """Pass on the pieces that are held back, unless they repeat a call."""
        if not self.repeated:
            for piece in self._held:
                self._emit(piece)
        self._held, self._candidates = [], []

    def _pass_on(self, piece: CallStart | CallText) -> None:
        if self._candidates:
            self._held.append(piece)
            return
        self.release()
        if not self.repeated:
            self._emit(piece)
