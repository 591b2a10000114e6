"""Which bytes of an answer are content and which are tool calls, by the notation of the model's family.

A call is one as soon as a trigger has led to the name of a declared tool, in the notation's own form; until then it is
held back, and what turns out to be none is content, unchanged. So is the text around calls, but for the whitespace
behind a call and the notation's marks of content. The parser reads ahead no further than it must: content is held while
it can still become a trigger, arguments come as they are decoded.

Invariants: any cut of the same bytes gives the same pieces, adjacent ones joined; the content pieces are slices of the
answer, in order; a call's texts come behind its start and before that of the next call.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from antiphon.assembly.byte_source import SPACE, ByteSource, Match, Reading
from antiphon.assembly.call_arguments import PythonArguments, XMLArguments, json_arguments
from antiphon.assembly.detokenizer import Detokenizer
from antiphon.assembly.json_text import json_string, json_value
from antiphon.chat_formats.base import CUSTOM_CALL, ToolNotation

MAX_NAME = 64
"""Characters of a tool's name. Reference: function.name."""
_NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


class Content(Struct, frozen=True):
    """Bytes that belong to the content, and where in the answer they begin."""

    start: int
    data: bytes


class CallStart(Struct, frozen=True):
    """A call has begun; calls count from 0."""

    index: int
    name: str
    custom: bool


class CallText(Struct, frozen=True):
    """Text that the call's ``arguments`` (JSON text) or ``input`` gained."""

    index: int
    text: str


class CallEnd(Struct, frozen=True):
    """The call is over; one that is cut has no end."""

    index: int


Piece = Content | CallStart | CallText | CallEnd

Tools = Mapping[str, dict[str, Any] | None]
"""The schema of the parameters by name of each function; None for a custom tool."""


class ToolParser:
    """Splits the bytes of one answer, from behind the reasoning on."""

    __slots__ = ("_calls", "_complete", "_last", "_leading", "_notation", "_opening", "_pieces", "_reading", "_source",
                 "_spoken", "_texts", "_tools", "_triggers")  # fmt: skip

    def __init__(self, notation: ToolNotation, tools: Tools, *, opening: str = "") -> None:
        """``opening``: what of the notation the prompt ends with, to be read as if the model had written it."""
        self._notation = notation
        self._tools = tools
        notations = (notation, *notation.alternatives) if tools else ()
        self._leading = [(text, one) for one in notations if one.leads for text in one.triggers]
        self._triggers = {text.encode(): one for one in notations if not one.leads for text in one.triggers}
        custom = (CUSTOM_CALL.start,) if None in tools.values() else ()
        self._texts = tuple(dict.fromkeys((*self._triggers, *_encoded(custom), *_encoded(notation.content_marks))))
        self._source = ByteSource()
        self._opening = len(opening.encode())
        self._spoken = False
        self._calls = 0
        self._complete = True
        self._pieces: list[Piece] = []
        self._reading = self._answer()
        self.push(opening.encode())

    @property
    def calls(self) -> int:
        """Calls that have begun."""
        return self._calls

    def push(self, data: bytes) -> list[Piece]:
        """Take the next bytes; return what they decide."""
        self._source.feed(data)
        return self._resume()

    def end(self) -> list[Piece]:
        """End the answer: return what was held back."""
        self._source.end()
        return self._resume()

    def _resume(self) -> list[Piece]:
        next(self._reading, None)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _answer(self) -> Reading[None]:
        source = self._source
        while True:
            if not self._spoken and (yield from self._led()):
                continue
            found = yield from source.until(self._texts, self._content)
            if found is None:
                return
            if not (yield from self._special(found)):
                self._content(source.bytes_between(source.position, source.position + 1))
                source.position += 1

    def _content(self, data: bytes) -> None:
        start = self._source.position - self._opening
        shown = data[max(0, -start) :]
        if shown:
            self._pieces.append(Content(max(0, start), shown))
        self._spoken = self._spoken or not shown.isspace()

    def _led(self) -> Reading[bool]:
        """Read calls whose trigger counts at the start only."""
        source = self._source
        for trigger, notation in self._leading:
            source.mark()
            match = yield from source.literal(trigger)
            source.position = source.unmark()
            if match is Match.YES and (yield from self._section(notation)):
                return True
        return False

    def _special(self, found: bytes) -> Reading[bool]:
        """Read what begins with a text that may be special here; False when it is content."""
        for mark in _encoded(self._notation.content_marks):
            if mark.startswith(found) and (yield from self._source.exactly(mark)) is Match.YES:
                return True
        if found == CUSTOM_CALL.start.encode():
            return (yield from self._custom())
        return found in self._triggers and (yield from self._section(self._triggers[found]))

    def _section(self, notation: ToolNotation) -> Reading[bool]:
        """Read a section of calls; False when it does not begin with a call, and then nothing was read."""
        source = self._source
        source.mark()
        begun = (yield from source.literal(notation.section_start)) is Match.YES and (yield from self._call(notation))
        start = source.unmark()
        if not begun:
            source.position = start
            return False
        if notation.section_start:
            yield from self._more_calls(notation)
        yield from source.skip(SPACE)
        return True

    def _more_calls(self, notation: ToolNotation) -> Reading[None]:
        source = self._source
        while self._complete and (match := (yield from source.literal(notation.section_end))) is not Match.YES:
            source.mark()
            more = (yield from source.literal(notation.separator)) is Match.YES and (yield from self._call(notation))
            start = source.unmark()
            if not more:
                source.position = source.size if match is Match.CUT else start
                return

    def _call(self, notation: ToolNotation) -> Reading[bool]:
        """Read one call; False when it is none, and then the position is anywhere in what was read."""
        source = self._source
        if (yield from source.literal(notation.call_start)) is not Match.YES:
            return False
        calls = self._calls
        if notation.shape == "object":
            self._complete = yield from self._object(notation)
        else:
            name = yield from self._head(notation)
            if name is None:
                return False
            self._begin(name)
            self._complete = yield from self._arguments(notation, name)
        if calls == self._calls:
            return False
        if self._complete:
            match = yield from source.literal(notation.call_end)
            self._complete = match is not Match.CUT or not notation.call_end.strip()
            source.position = source.size if match is Match.CUT else source.position
            self._pieces.append(CallEnd(self._calls - 1))
        return True
