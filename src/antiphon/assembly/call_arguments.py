"""Converts the arguments of one call from the family's notation to JSON text, incrementally.

JSON is passed on byte for byte; other notations are converted in the style of ``json.dumps``. The JSON of a truncated
call is incomplete; the JSON of a malformed call, which only a model without a grammar writes, ends before the mistake.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from antiphon.assembly.byte_source import SPACE, ByteSource, Match, Reading
from antiphon.assembly.detokenizer import Detokenizer
from antiphon.assembly.json_text import Emit, JSONString, decoded, encoded, json_value, quoted_text
from antiphon.chat_formats.chat_format import ToolNotation
from antiphon.chat_formats.value_kinds import json_type, parameter_types, value_kind

MAX_DEPTH = 64
"""Levels of nested Python literals; deeper literals are malformed."""
_WORDS = {"True": "true", "False": "false", "None": "null"}
_WORD_ENDS = tuple(bytes((byte,)) for byte in b",)]}" + SPACE)
_NUMBER = re.compile(r"[+-]?[0-9][0-9_]*|[+-]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|0[xX][0-9a-fA-F]{1,16}")
_MAX_DIGITS = 400
"""Characters of a number in a form that JSON lacks; a longer one is a string."""
_NESTED = (b"{", b"[", b'"')
_LISTS = {b"[": "]", b"(": ")"}


def json_arguments(source: ByteSource, emit: Emit) -> Reading[bool]:
    """Read arguments that are a JSON value; return False if it is incomplete or missing.

    Objects and arrays are emitted as they are written, a JSON string as its text, null as ``{}``.
    """
    text = Detokenizer()
    yield from source.skip(SPACE)
    first = yield from source.peek()
    if first == b'"':
        source.position += 1
        complete = yield from quoted_text(source, b'"', lambda data: emit(text.push(data)), emit)
    elif first and first in b"{[":
        complete = yield from json_value(source, lambda data: emit(text.push(data)))
    else:
        word = bytearray()
        complete = yield from json_value(source, word.extend)
        emit("{}" if word == b"null" and not source.ended else text.push(bytes(word)))
    emit(text.flush())
    return complete


class XMLArguments:
    """Reads parameters that are written in tags (shape ``xml``)."""

    def __init__(self, source: ByteSource, notation: ToolNotation, schema: dict[str, Any], emit: Emit) -> None:
        assert notation.parameters is not None
        self._source = source
        self._tags = notation.parameters
        self._end = notation.call_end
        self._schema = schema
        self._emit = emit

    def read(self) -> Reading[bool]:
        """Read all parameters; return False if they are incomplete or malformed."""
        self._emit("{")
        source, separator = self._source, ""
        while (match := (yield from source.peek_literal(self._end))) is Match.NO:
            match = yield from source.literal(self._tags.start)
            if match is not Match.YES:
                break
            if not (yield from self._parameter(separator)):
                return False
            separator = ", "
        if match is Match.CUT:
            return False
        self._emit("}")
        return True

    def _parameter(self, separator: str) -> Reading[bool]:
        tags, source = self._tags, self._source
        name_ends = (tags.name_end, *tags.json_name_ends)
        name = bytearray()
        if (yield from source.until(tuple({end.split()[0].encode() for end in name_ends}), name.extend)) is None:
            return False
        key = name.decode("utf-8", "replace").strip()
        for name_end in name_ends:
            if (yield from source.literal(name_end)) is Match.YES:
                self._emit(f"{separator}{encoded(key)}: ")
                return (yield from self._value(key, name_end))
        return False

    def _value(self, key: str, name_end: str) -> Reading[bool]:
        tags, source = self._tags, self._source
        yield from source.exactly(name_end[len(name_end.rstrip()) :].encode())
        end = tags.end.replace("{key}", key)
        last = end.strip().encode()
        before = end[: len(end) - len(end.lstrip())].encode()
        types = parameter_types(self._schema, key)
        kind = value_kind(types)
        if tags.json_name_ends:
            kind = "string" if name_end == tags.name_end else "json"
        ends = (before + last, last)
        if kind == "string":
            return (yield from self._string(ends))
        raw = yield from self._raw(ends)
        if raw is None:
            return False
        self._emit(_read_value(raw.decode("utf-8", "replace"), admits=types if kind == "either" else None))
        return True

    def _raw(self, ends: tuple[bytes, ...]) -> Reading[bytes | None]:
        """Read a value and the end tag after it; return the value, or None if it is incomplete.

        A JSON string may hold the end tag. So a JSON value is read as JSON if the end tag follows it.
        """
        source, value = self._source, bytearray()
        start = source.mark()
        yield from source.skip(SPACE)
        nested = (yield from source.peek()) in _NESTED
        is_json = nested and (yield from json_value(source, value.extend))
        is_json = is_json and (yield from source.literal(ends[-1].decode())) is Match.YES
        source.unmark()
        if is_json:
            return bytes(value)
        value.clear()
        source.position = start
        found = yield from source.until(ends, value.extend)
        source.position += len(found or b"")
        return None if found is None else bytes(value)

    def _string(self, ends: tuple[bytes, ...]) -> Reading[bool]:
        text = JSONString(self._emit)
        self._emit('"')
        found = yield from self._source.until(ends, text.add)
        text.end()
        if found is None:
            return False
        self._source.position += len(found)
        self._emit('"')
        return True


def _read_value(raw: str, admits: frozenset[str] | None) -> str:
    """Return a raw value as JSON text: JSON and Python words as such, any other text as a string.

    ``admits``: the types that the schema admits beside strings; a value of another type is a string. None: any type.
    """
    text = raw.strip()
    text = _WORDS.get(text, text)
    try:
        found = json_type(decoded(text))
    except ValueError:
        return encoded(raw)
    return text if admits is None or found in admits else encoded(raw)


class PythonArguments:
    """Reads keyword arguments with Python literals (shape ``pythonic``), with the notation's quotes and key ends."""

    def __init__(self, source: ByteSource, notation: ToolNotation, schema: dict[str, Any], emit: Emit) -> None:
        self._source = source
        self._quote = notation.quote.encode()
        self._key_end = notation.key_end
        self._end = notation.call_end.strip().encode()
        self._schema = schema
        self._emit = emit

    def read(self) -> Reading[bool]:
        """Read all arguments before the end of the call; return False if they are incomplete or malformed."""
        separator = ""
        self._emit("{")
        while (match := (yield from self._match_end(self._end, after_item=bool(separator)))) is Match.NO:
            if not (yield from self._argument(separator)):
                return False
            separator = ", "
        if match is Match.YES:
            self._emit("}")
        return match is Match.YES

    def _match_end(self, end: bytes, *, after_item: bool) -> Reading[Match]:
        """Return whether ``end`` comes next, without reading it.

        ``after_item``: a comma must come before the next item; without one the result is ``Match.CUT``.
        """
        source = self._source
        start = source.mark()
        yield from source.skip(SPACE)
        comma = (yield from source.exactly(b",")) if after_item else Match.YES
        yield from source.skip(SPACE)
        match = yield from source.exactly(end)
        if match is Match.YES:
            source.position -= len(end)
        elif comma is not Match.YES:
            source.position, match = start, Match.CUT
        source.unmark()
        return match

    def _argument(self, separator: str) -> Reading[bool]:
        key = yield from self._key(self._key_end)
        if key is None:
            return False
        self._emit(f"{separator}{encoded(key)}: ")
        types = parameter_types(self._schema, key)
        return (yield from self._value(0, bare_string=bool(types) and types <= {"string"}))

    def _key(self, end: str) -> Reading[str | None]:
        """Read a key, bare or quoted, and ``end`` after it; return None if it is incomplete or malformed."""
        source, text = self._source, bytearray()
        first = yield from source.peek()
        if self._quote and (yield from source.exactly(self._quote)) is Match.YES:
            if (yield from source.until((self._quote,), text.extend)) is None:
                return None
            source.position += len(self._quote)
        elif first and first in b"'\"":
            source.position += 1
            if not (yield from quoted_text(source, first, text.extend, lambda part: text.extend(part.encode()))):
                return None
        else:
            yield from source.until((end.encode(), *_WORD_ENDS), text.extend)
        return text.decode("utf-8", "replace") if (yield from source.literal(end)) is Match.YES else None

    def _value(self, depth: int, *, bare_string: bool = False) -> Reading[bool]:
        source = self._source
        yield from source.skip(SPACE)
        first = yield from source.peek()
        if not first or depth > MAX_DEPTH:
            return False
        if self._quote and (yield from source.exactly(self._quote)) is Match.YES:
            return (yield from self._delimited())
        if first in b"'\"":
            return (yield from self._quoted(first))
        if first == b"{":
            return (yield from self._items(depth, "{", "}", self._item))
        if first in _LISTS:
            return (yield from self._items(depth, "[", _LISTS[first], self._value))
        return (yield from self._word(bare_string=bare_string))

    def _delimited(self) -> Reading[bool]:
        text = JSONString(self._emit)
        self._emit('"')
        found = yield from self._source.until((self._quote,), text.add)
        return self._string_end(text, complete=found is not None, size=len(self._quote))

    def _quoted(self, quote: bytes) -> Reading[bool]:
        source, text = self._source, JSONString(self._emit)
        self._emit('"')
        tripled = (yield from source.exactly(quote * 3)) is Match.YES
        source.position += 0 if tripled else 1
        complete = yield from quoted_text(source, quote * 3 if tripled else quote, text.add, text.add_text)
        return self._string_end(text, complete=complete, size=0)

    def _string_end(self, text: JSONString, *, complete: bool, size: int) -> bool:
        text.end()
        if complete:
            self._source.position += size
            self._emit('"')
        return complete

    def _items(self, depth: int, start: str, end: str, item: Callable[[int], Reading[bool]]) -> Reading[bool]:
        source, separator = self._source, ""
        source.position += 1
        self._emit(start)
        while (match := (yield from self._match_end(end.encode(), after_item=bool(separator)))) is Match.NO:
            self._emit(separator)
            separator = ", "
            if not (yield from item(depth + 1)):
                return False
        if match is Match.YES:
            source.position += len(end)
            self._emit("}" if start == "{" else "]")
        return match is Match.YES

    def _item(self, depth: int) -> Reading[bool]:
        key = yield from self._key(":")
        if key is None:
            return False
        self._emit(f"{encoded(key)}: ")
        return (yield from self._value(depth))

    def _word(self, *, bare_string: bool) -> Reading[bool]:
        word = bytearray()
        found = yield from self._source.until(_WORD_ENDS, word.extend)
        text = word.decode("utf-8", "replace")
        if found is not None and text:
            self._emit(encoded(text) if bare_string else _word_value(text))
        return found is not None and bool(text)


def _word_value(word: str) -> str:
    """Return a bare word as JSON text: JSON, Python words and numbers as such, any other word as a string."""
    text = _WORDS.get(word, word)
    try:
        decoded(text)
    except ValueError:
        return _number(text) or encoded(word)
    return text


def _number(text: str) -> str | None:
    """Return a Python number that is no JSON as JSON text; None if it is no finite number."""
    if not _NUMBER.fullmatch(text) or len(text) > _MAX_DIGITS:
        return None
    number = int(text, 16) if "x" in text.lower() else float(text) if "." in text else int(text)
    return repr(number) if isinstance(number, int) or math.isfinite(number) else None
