"""Incremental reading and writing of JSON text.

Values are passed on as they are written; strings are decoded and encoded piece by piece.
"""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from antiphon.assembly.byte_source import SPACE, ByteSource, Match, Reading
from antiphon.assembly.detokenizer import Detokenizer

Emit = Callable[[str], None]

_STRUCTURE = re.compile(rb'["{}\[\]]')
_QUOTED = re.compile(rb'["\\]')
_SCALAR_ENDS = tuple(bytes((byte,)) for byte in b",]}" + SPACE)
_VALUE_STARTS = frozenset(bytes((byte,)) for byte in b'{["-0123456789tfn')
_ESCAPES = {
    b"n": "\n", b"t": "\t", b"r": "\r", b"b": "\b", b"f": "\f", b"v": "\v", b"a": "\a", b"0": "\0",
    b"\\": "\\", b"'": "'", b'"': '"', b"/": "/", b"\n": "",
}  # fmt: skip
"""The escapes of JSON and of Python."""
_HEX_DIGITS = {b"x": 2, b"u": 4, b"U": 8}
_HIGH_SURROGATES = range(0xD800, 0xDC00)
_LOW_SURROGATES = range(0xDC00, 0xE000)
_SURROGATES = range(0xD800, 0xE000)
_REPLACEMENT = "\ufffd"


def may_be_json(data: bytes) -> bool:
    """Return whether the data, which are not all of a text, may be the beginning of JSON."""
    return data.lstrip()[:1] in _VALUE_STARTS


def decoded(text: str) -> Any:  # noqa: ANN401 (any JSON value)
    """Return the value of JSON text. Raises ``ValueError`` for other text, also for NaN and Infinity."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def encoded(text: str) -> str:
    """Return the text as a JSON string."""
    return json.dumps(text, ensure_ascii=False)


class JSONString:
    """Writes the inside of a JSON string, without quotes, piece by piece from UTF-8 bytes and text."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._text = Detokenizer()

    def add(self, data: bytes) -> None:
        """Append UTF-8 bytes, which may end within a character."""
        self.add_text(self._text.push(data))

    def add_text(self, text: str) -> None:
        """Append text."""
        if text:
            self._emit(encoded(text)[1:-1])

    def end(self) -> None:
        """End the bytes; an incomplete character becomes U+FFFD."""
        self.add_text(self._text.flush())


def json_value(source: ByteSource, take: Callable[[bytes], None]) -> Reading[bool]:
    """Pass one JSON value to ``take``, without whitespace before it; return False if it is incomplete or missing.

    Only brackets and strings are checked, not the rest of the grammar.
    """
    yield from source.skip(SPACE)
    first = yield from source.peek()
    if first and first in b'"{[':
        return (yield from _structure(source, take))
    size = source.position
    yield from source.until(_SCALAR_ENDS, take)
    return source.position > size


def _structure(source: ByteSource, take: Callable[[bytes], None]) -> Reading[bool]:
    depth, quoted, skipped = 0, False, 0
    while True:
        data = source.unread()
        at = skipped
        while found := (_QUOTED if quoted else _STRUCTURE).search(data, at):
            at = found.end()
            byte = found[0]
            if byte == b"\\":
                at += 1
            elif byte == b'"':
                quoted = not quoted
            else:
                depth += 1 if byte in b"{[" else -1
            if depth <= 0 and not quoted:
                take(data[:at])
                source.position += at
                return True
        skipped = max(0, at - len(data))
        if data:
            take(data)
            source.position += len(data)
        if not (yield from source.more()):
            return False


def json_string(source: ByteSource) -> Reading[str | None]:
    """Read a JSON string and return its text; None if the next value is no complete string."""
    raw = bytearray()
    if not (yield from json_value(source, raw.extend)):
        return None
    try:
        value = decoded(raw.decode("utf-8", "replace"))
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def quoted_text(source: ByteSource, quote: bytes, take: Callable[[bytes], None], emit: Emit) -> Reading[bool]:
    """Read a string and its closing quote; return False if it is incomplete.

    Plain bytes go to ``take``, the characters of JSON's and Python's escapes to ``emit``.
    """
    while True:
        end = yield from source.until((quote, b"\\"), take)
        if end is None:
            return False
        source.position += len(end)
        if end == quote:
            return True
        yield from _escape(source, take, emit)


def _escape(source: ByteSource, take: Callable[[bytes], None], emit: Emit) -> Reading[None]:
    """Read the escape after a backslash: an unknown one is passed on unchanged, an incomplete one is dropped."""
    name = yield from source.peek()
    source.position += len(name)
    if name in _ESCAPES:
        emit(_ESCAPES[name])
    elif name in _HEX_DIGITS:
        code = yield from _hexadecimal(source, _HEX_DIGITS[name])
        if code is not None and code in _HIGH_SURROGATES:
            code = yield from _second_half(source, code)
        if code is not None:
            emit(chr(code) if code <= sys.maxunicode and code not in _SURROGATES else _REPLACEMENT)
    elif name:
        take(b"\\" + name)


def _second_half(source: ByteSource, high: int) -> Reading[int | None]:
    """Return the code point of a surrogate pair: ``high`` without a low surrogate, None if that is incomplete."""
    match = yield from source.exactly(b"\\u")
    if match is not Match.YES:
        return high if match is Match.NO else None
    low = yield from _hexadecimal(source, 4)
    if low is None:
        return None
    if low not in _LOW_SURROGATES:
        return high
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)


def _hexadecimal(source: ByteSource, digits: int) -> Reading[int | None]:
    """Return the number; a surrogate if it is malformed, None if it is incomplete."""
    text = yield from source.skip(b"0123456789abcdefABCDEF", digits)
    if len(text) == digits:
        return int(text, 16)
    return _SURROGATES[0] if (yield from source.peek()) else None
