"""Splits an answer into content and tool calls, by the notation of the model's family.

A call begins when a trigger is followed by the name of a declared tool in the form of the notation. The bytes up to the
name are held back; if no call follows, they are content, unchanged. The text around calls is content, too, except the
whitespace after a call and the notation's marks of content. Content is held only while it may be the start of a
trigger; arguments are returned as they are decoded.

If the answer ends inside a marker, the bytes of the marker are content only where the grammar admits such content: an
answer that must call has none, JSON does not begin with a marker, no text follows calls or holds control tokens.

Invariants: any split of the same bytes gives the same pieces, if adjacent ones are joined. The content pieces are
slices of the answer, in order. The texts of a call come after its start and before the start of the next call. No call
equals an earlier one: such a call ends the message.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from antiphon.assembly.byte_source import SPACE, ByteSource, Match, Reading, discard
from antiphon.assembly.call_arguments import PythonArguments, XMLArguments, json_arguments
from antiphon.assembly.call_pieces import CallPieces, CallStart, CallText
from antiphon.assembly.detokenizer import Detokenizer
from antiphon.assembly.foreign_parser import ForeignParser
from antiphon.assembly.json_text import json_string, json_value, may_be_json
from antiphon.chat_formats.answer_calls import ContentForm
from antiphon.chat_formats.chat_format import CUSTOM_CALL, ToolNotation
from antiphon.chat_formats.foreign_notations import foreign_notations

MAX_NAME = 64
"""Characters of a tool's name. Reference: function.name."""
_NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_JSON_STARTS = (b"{", b'"')


class Content(Struct, frozen=True):
    """Bytes of content and their offset in the answer."""

    start: int
    data: bytes


Piece = Content | CallStart | CallText

Tools = Mapping[str, dict[str, Any] | None]
"""By the name of each tool: the schema of the function's parameters, None for a custom tool."""


class ToolParser:
    """Splits the bytes of one answer after its reasoning."""

    __slots__ = (
        "_after_calls",
        "_calls",
        "_complete",
        "_content",
        "_control_end",
        "_foreign",
        "_has_content",
        "_leading",
        "_markers",
        "_notation",
        "_opening_size",
        "_pieces",
        "_reading",
        "_source",
        "_tools",
        "_triggers",
    )  # fmt: skip

    def __init__(
        self,
        notation: ToolNotation,
        tools: Tools,
        *,
        opening: str = "",
        content: ContentForm = "text",
        foreign: bool = False,
    ) -> None:
        """``opening``: the start of the notation at the end of the prompt, parsed as if the model had written it.

        ``foreign``: the answer may begin with calls in the notations of other families and with JSON.
        """
        self._notation = notation
        self._tools = tools
        self._content = content
        notations = (notation, *notation.alternatives) if tools else ()
        self._leading = [(text, one) for one in notations if one.leading_only for text in one.triggers]
        self._triggers = {text.encode(): one for one in notations if not one.leading_only for text in one.triggers}
        custom = (CUSTOM_CALL.start,) if None in tools.values() else ()
        self._markers = tuple(dict.fromkeys((*self._triggers, *_encoded(custom), *_encoded(notation.content_marks))))
        self._source = ByteSource()
        self._opening_size = len(opening.encode())
        self._control_end = 0
        self._has_content = self._after_calls = False
        self._complete = True
        self._pieces: list[Piece] = []
        self._calls = CallPieces(self._pieces.append)
        others = foreign_notations(notation) if foreign and tools else None
        self._foreign = ForeignParser(self._source, others, tools, self._calls) if others else None
        self._reading = self._answer()
        self._source.feed(opening.encode())
        next(self._reading, None)

    def push(self, data: bytes) -> list[Piece]:
        """Parse the next bytes and return the pieces that are certain."""
        self._source.feed(data)
        return self._resume()

    def end(self, control_end: int = 0) -> list[Piece]:
        """End the answer and return the pieces that were held back.

        ``control_end``: the offset after the newest control token among the bytes.
        """
        self._control_end = control_end + self._opening_size
        self._source.end()
        next(self._reading, None)
        self._calls.release()
        return self._take()

    @property
    def repeated(self) -> bool:
        """Whether a call equals an earlier one. The message ends before it; nothing follows."""
        return self._calls.repeated

    def _resume(self) -> list[Piece]:
        next(self._reading, None)
        return self._take()

    def _take(self) -> list[Piece]:
        pieces = self._pieces.copy()
        self._pieces.clear()
        return pieces

    def _answer(self) -> Reading[None]:
        source = self._source
        while True:
            if not self._has_content and ((yield from self._leading_calls()) or (yield from self._foreign_calls())):
                continue
            found = yield from self._json_up_to_marker() if self._content == "json" else self._up_to(self._markers)
            if found is None:
                return
            if not (yield from self._mark_or_call(found)):
                self._add_content(source.bytes_between(source.position, source.position + 1))
                source.position += 1

    def _up_to(self, markers: tuple[bytes, ...]) -> Reading[bytes | None]:
        return self._source.until(markers, self._add_content, self._add_cut_marker)

    def _json_up_to_marker(self) -> Reading[bytes | None]:
        """Read content up to a marker, which is a trigger only at the start: strings in JSON may hold triggers."""
        source = self._source
        for marker in () if self._has_content else self._markers:
            match = yield from source.peek_literal(marker.decode())
            if match is not Match.NO:
                return (yield from self._up_to((marker,)))
        return (yield from self._up_to(_encoded(self._notation.content_marks)))

    def _add_cut_marker(self, data: bytes) -> None:
        """Add the beginning of a marker, with which the answer ends, unless the grammar admits no such content."""
        has_control = self._source.position < self._control_end
        cannot_begin = self._content == "json" and not self._has_content and not may_be_json(data)
        if not (has_control or cannot_begin or self._after_calls):
            self._add_content(data)

    def _add_content(self, data: bytes) -> None:
        if self._content == "none" or self.repeated:
            return
        start = self._source.position - self._opening_size
        shown = data[max(0, -start) :]
        if shown:
            self._pieces.append(Content(max(0, start), shown))
        self._has_content = self._has_content or not shown.isspace()
        self._after_calls = False

    def _leading_calls(self) -> Reading[bool]:
        """Read calls whose trigger counts only at the start; return False if there are none."""
        source = self._source
        for trigger, notation in self._leading:
            if (yield from source.peek_literal(trigger)) is Match.YES and (yield from self._section(notation)):
                return True
        return False

    def _foreign_calls(self) -> Reading[bool]:
        """Read calls in foreign notations; return False and read nothing if there are none."""
        if self._foreign is None or self._calls.count:
            return False
        if not (yield from self._foreign.read()):
            self._source.wanted_more = False
            return False
        yield from self._source.skip(SPACE)
        self._after_calls = True
        return True

    def _mark_or_call(self, found: bytes) -> Reading[bool]:
        """Read a mark of content or calls that begin with the marker ``found``; return False if it is content."""
        for mark in _encoded(self._notation.content_marks):
            if mark.startswith(found) and (yield from self._source.exactly(mark)) is Match.YES:
                return True
        if found == CUSTOM_CALL.start.encode():
            return (yield from self._custom_call())
        return found in self._triggers and (yield from self._section(self._triggers[found]))

    def _section(self, notation: ToolNotation) -> Reading[bool]:
        """Read a section of calls; return False and read nothing if it does not begin with a call.

        If the answer ends before the first call has a name, the incomplete opening is dropped: it is no content.
        """
        source = self._source
        source.mark()
        begun = (yield from source.literal(notation.section_start)) is Match.YES and (yield from self._call(notation))
        start = source.unmark()
        if not begun:
            source.position = source.size if source.wanted_more else start
            return source.wanted_more
        if notation.section_start:
            yield from self._more_calls(notation)
        yield from source.skip(SPACE)
        self._after_calls = True
        return True

    def _more_calls(self, notation: ToolNotation) -> Reading[None]:
        source = self._source
        while self._complete and (yield from source.literal(notation.section_end)) is not Match.YES:
            source.mark()
            more = (yield from source.literal(notation.separator)) is Match.YES and (yield from self._call(notation))
            start = source.unmark()
            if not more:
                source.position = source.size if source.wanted_more else start
                return

    def _call(self, notation: ToolNotation) -> Reading[bool]:
        """Read one call; return False if it is none. Then the caller must reset the position."""
        source = self._source
        if (yield from source.literal(notation.call_start)) is not Match.YES:
            return False
        calls = self._calls.count
        if notation.shape == "object":
            self._complete = yield from self._object(notation)
        elif (name := (yield from self._call_head(notation))) is not None:
            self._calls.begin(name)
            self._complete = yield from self._arguments(notation, name)
        if calls == self._calls.count:
            return False
        if self._complete:
            if self._calls.is_empty:
                self._calls.add("{}")
            self._calls.complete()
            if (yield from source.literal(notation.call_end)) is Match.CUT:
                source.position = source.size
        elif source.ended:
            source.position = source.size
        return True

    def _object(self, notation: ToolNotation) -> Reading[bool]:
        """Read a call of the shape ``object``; return False if it is no call, incomplete or malformed."""
        source, calls = self._source, self._calls.count
        held: list[str] = []
        if (yield from source.literal("{")) is not Match.YES:
            return False
        while True:
            key = yield from json_string(source)
            if key is None or (yield from source.literal(":")) is not Match.YES:
                return False
            if key == notation.name_key and calls == self._calls.count:
                name = yield from json_string(source)
                if name is None or not self._is_function(name):
                    return False
                self._calls.begin(name)
                self._calls.add("".join(held))
            elif key == notation.arguments_key:
                emit = self._calls.add if calls < self._calls.count else held.append
                if not (yield from json_arguments(source, emit)):
                    return False
            elif not (yield from json_value(source, discard)):
                return False
            if (yield from source.literal(",")) is not Match.YES:
                return (yield from source.literal("}")) is Match.YES

    def _call_head(self, notation: ToolNotation) -> Reading[str | None]:
        """Read the part before the arguments; return the function's name, or None if this is no call of a function."""
        source, call_id = self._source, notation.call_id
        yield from source.skip(SPACE)
        if call_id is not None and call_id.before_name:
            yield from source.skip(_NAME_CHARACTERS)
            if (yield from source.literal(call_id.text)) is not Match.YES:
                return None
        name = (yield from source.skip(_NAME_CHARACTERS, MAX_NAME)).decode()
        if not self._is_function(name):
            return None
        if call_id is not None and not call_id.before_name:
            yield from source.literal(call_id.text)
            yield from source.skip(_NAME_CHARACTERS)
        if (yield from source.literal(notation.name_end)) is not Match.YES:
            return None
        return name if (yield from self._arguments_follow(notation)) else None

    def _arguments_follow(self, notation: ToolNotation) -> Reading[bool]:
        """Return whether arguments or the end of the call come next, after optional whitespace."""
        if notation.shape == "pythonic":
            return True
        source = self._source
        yield from source.skip(SPACE)
        if notation.parameters is not None:
            follows = (yield from source.peek_literal(notation.parameters.start)) is Match.YES
        else:
            follows = (yield from source.peek()) in _JSON_STARTS
        if not follows and notation.call_end.strip():
            follows = (yield from source.peek_literal(notation.call_end)) is Match.YES
        return follows

    def _arguments(self, notation: ToolNotation, name: str) -> Reading[bool]:
        """Read the arguments; return False if they are incomplete or malformed."""
        source, schema = self._source, self._tools[name] or {}
        if notation.shape == "pythonic":
            return (yield from PythonArguments(source, notation, schema, self._calls.add).read())
        if notation.parameters is not None:
            return (yield from XMLArguments(source, notation, schema, self._calls.add).read())
        if (yield from source.peek()) not in _JSON_STARTS:
            return True
        return (yield from json_arguments(source, self._calls.add))

    def _custom_call(self) -> Reading[bool]:
        """Read the call of a custom tool up to the end of the answer; return False and read nothing if it is none."""
        source = self._source
        source.mark()
        yield from source.literal(CUSTOM_CALL.start)
        name = (yield from source.skip(_NAME_CHARACTERS, MAX_NAME)).decode()
        known = name in self._tools and self._tools[name] is None
        begun = known and (yield from source.literal(CUSTOM_CALL.name_end)) is Match.YES
        start = source.unmark()
        if not begun:
            source.position = source.size if source.wanted_more else start
            return source.wanted_more
        self._calls.begin(name, custom=True)
        yield from source.exactly(b"\n")
        text = Detokenizer()
        yield from source.until((), lambda data: self._calls.add(text.push(data)))
        self._calls.add(text.flush())
        return True

    def _is_function(self, name: str) -> bool:
        return self._tools.get(name) is not None


def _encoded(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)
