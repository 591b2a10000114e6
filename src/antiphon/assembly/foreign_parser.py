"""Reads the calls in foreign notations with which an answer may begin.

The bytes before the name of a declared function are held back only while such a call may follow. If none follows, they
are content, also at the end of the answer.
"""

from collections.abc import Mapping
from typing import Any

from antiphon.assembly.byte_source import SPACE, ByteSource, Match, Reading, discard
from antiphon.assembly.call_arguments import json_arguments
from antiphon.assembly.call_pieces import CallPieces
from antiphon.assembly.json_text import encoded, json_string, json_value
from antiphon.chat_formats.foreign_notations import (
    ARGUMENTS_KEYS,
    FENCES,
    ID_KEYS,
    MAX_ENDINGS,
    MAX_ID,
    NAME_KEYS,
    NESTING_KEYS,
    TYPE_KEY,
    TYPES,
    ForeignNotations,
    NamedOpening,
)

_ID_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_KEYS = {encoded(key).encode(): key for key in (*NAME_KEYS, *NESTING_KEYS, TYPE_KEY, *ID_KEYS)}
_TYPES = tuple(encoded(name).encode() for name in TYPES)
_NESTED_NAME = (encoded(NAME_KEYS[0]).encode(),)


class ForeignParser:
    """Reads calls of functions, those of ``tools`` with a schema, from the position of the source."""

    __slots__ = ("_calls", "_names", "_notations", "_quoted_names", "_source")

    def __init__(
        self,
        source: ByteSource,
        notations: ForeignNotations,
        tools: Mapping[str, dict[str, Any] | None],
        calls: CallPieces,
    ) -> None:
        self._source = source
        self._notations = notations
        self._calls = calls
        functions = [name for name, schema in tools.items() if schema is not None]
        self._names = {name.encode(): name for name in sorted(functions, key=len, reverse=True)}
        self._quoted_names = {encoded(name).encode(): name for name in functions}

    def read(self) -> Reading[bool]:
        """Read calls and the endings after them; return False and read nothing if no call comes next."""
        source = self._source
        if not (yield from self._call()):
            return False
        endings = 0
        while True:
            start = source.mark()
            yield from source.literal(",")
            called = yield from self._call()
            source.unmark()
            if called:
                endings = 0
                continue
            source.position = start
            if endings == MAX_ENDINGS or not (yield from self._ending()):
                source.position = source.size if source.wanted_more else start
                return True
            endings += 1

    def _ending(self) -> Reading[bool]:
        for ending in self._notations.endings:
            if (yield from self._source.literal(ending)) is Match.YES:
                return True
        return False

    def _call(self) -> Reading[bool]:
        """Read one call; return False and read nothing if none comes next."""
        source = self._source
        start = source.mark()
        name = yield from self._object_opening()
        is_object = name is not None
        if name is None:
            source.position = start
            name = yield from self._named_opening()
        source.unmark()
        if name is None:
            source.position = start
            return False
        self._calls.begin(name)
        complete = yield from (self._members() if is_object else json_arguments(source, self._calls.add))
        if complete:
            self._calls.complete()
        elif source.ended:
            source.position = source.size
        return True

    def _named_opening(self) -> Reading[str | None]:
        for one in self._notations.named:
            start = self._source.position
            name = yield from self._name_after(one)
            if name is not None:
                return name
            self._source.position = start
        return None

    def _name_after(self, one: NamedOpening) -> Reading[str | None]:
        source = self._source
        if (yield from source.literal(one.opening)) is not Match.YES:
            return None
        yield from source.skip(SPACE)
        for text, name in self._names.items():
            start = source.position
            if (yield from source.exactly(text)) is Match.YES and (yield from self._name_end(one.name_end)):
                return name
            source.position = start
        return None

    def _name_end(self, text: str) -> Reading[bool]:
        if text.strip():
            return (yield from self._source.literal(text)) is Match.YES
        yield from self._source.skip(b" \t")
        return (yield from self._source.exactly(text.encode())) is Match.YES

    def _object_opening(self) -> Reading[str | None]:
        """Read a JSON call up to the name; return the name, None if it is no declared function's."""
        source = self._source
        for texts in (self._notations.marks, FENCES, ("[",)):
            for text in texts:
                if (yield from source.literal(text)) is Match.YES:
                    break
        if (yield from source.literal("{")) is not Match.YES:
            return None
        while (key := (yield from self._one_of(tuple(_KEYS)))) is not None:
            if (yield from source.literal(":")) is not Match.YES:
                return None
            if _KEYS[key] in NAME_KEYS:
                return (yield from self._name(may_nest=_KEYS[key] in NESTING_KEYS))
            if not (yield from self._skipped(_KEYS[key])) or (yield from source.literal(",")) is not Match.YES:
                return None
        return None

    def _name(self, *, may_nest: bool) -> Reading[str | None]:
        source = self._source
        if may_nest and (yield from source.literal("{")) is Match.YES:
            is_name = (yield from self._one_of(_NESTED_NAME)) and (yield from source.literal(":")) is Match.YES
            if not is_name:
                return None
        name = yield from self._one_of(tuple(self._quoted_names))
        return None if name is None else self._quoted_names[name]

    def _skipped(self, key: str) -> Reading[bool]:
        """Read the value of a key before the name; return False if it is none."""
        source = self._source
        if key == TYPE_KEY:
            return (yield from self._one_of(_TYPES)) is not None
        if (yield from source.literal('"')) is not Match.YES:
            return False
        yield from source.skip(_ID_CHARACTERS, MAX_ID)
        return (yield from source.exactly(b'"')) is Match.YES

    def _one_of(self, texts: tuple[bytes, ...]) -> Reading[bytes | None]:
        yield from self._source.skip(SPACE)
        for text in texts:
            if (yield from self._source.exactly(text)) is Match.YES:
                return text
        return None

    def _members(self) -> Reading[bool]:
        """Read the members after the name and the brace after them; return False if they are incomplete."""
        source = self._source
        while (yield from source.literal(",")) is Match.YES:
            key = yield from json_string(source)
            if key is None or (yield from source.literal(":")) is not Match.YES:
                return False
            if key in ARGUMENTS_KEYS and self._calls.is_empty:
                if not (yield from json_arguments(source, self._calls.add)):
                    return False
            elif not (yield from json_value(source, discard)):
                return False
        if (yield from source.literal("}")) is not Match.YES:
            return False
        if self._calls.is_empty:
            self._calls.add("{}")
        return True
