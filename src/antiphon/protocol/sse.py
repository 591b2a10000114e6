"""Server-sent events: how chunks and errors are framed, and an incremental decoder for clients.

Reference: the event-stream format of the WHATWG HTML standard, section 9.2 (server-sent events).
"""

import re
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.errors import APIError
from antiphon.protocol.responses import ChatCompletionChunk, ErrorBody, ErrorResponse

DONE = b"data: [DONE]\n\n"
"""Ends a stream that went well. Reference: streaming."""

_NO_CHOICES = b"[]}"
"""How a chunk ends that has nothing but what all chunks of an answer share."""

_encode = msgspec.json.Encoder().encode
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


def encode_chunk(chunk: ChatCompletionChunk) -> bytes:
    """Frame one chunk. JSON text has no raw line ends, so one ``data`` line holds it."""
    return b"data: " + _encode(chunk) + b"\n\n"


class ChunkEncoder:
    """Frames the chunks of one answer, byte for byte as :func:`encode_chunk` does; what they share is encoded once."""

    __slots__ = ("_head", "_id", "_padding")

    def __init__(self, padding: Callable[[int], bytes] | None = None) -> None:
        """``padding`` gives the ``obfuscation`` of a chunk whose choices take that many bytes: letters and digits."""
        self._padding = padding
        self._id: str | None = None
        self._head = b""

    def encode(self, chunk: ChatCompletionChunk) -> bytes:
        """Frame the next chunk. One without choices is not padded."""
        if self._id is None:
            self._begin(chunk)
        assert chunk.id == self._id, f"{chunk.id} == {self._id}"
        choices = _encode(chunk.choices)
        usage = b"" if chunk.usage is UNSET else _member(b"usage", chunk.usage)
        if self._padding is None or not chunk.choices:
            return b"".join((self._head, choices, usage, _member(b"obfuscation", chunk.obfuscation), b"}\n\n"))
        return b'%b%b%b,"obfuscation":"%b"}\n\n' % (self._head, choices, usage, self._padding(len(choices)))

    def _begin(self, first: ChatCompletionChunk) -> None:
        shared = msgspec.structs.replace(first, choices=[], usage=UNSET, obfuscation=UNSET)
        self._id = first.id
        self._head = b"data: " + _encode(shared).removesuffix(_NO_CHOICES)


def _member(name: bytes, value: object) -> bytes:
    """Encode a member behind others, if it is there."""
    return b"" if isinstance(value, UnsetType) else b',"%b":%b' % (name, _encode(value))


def error_response(error: APIError) -> ErrorResponse:
    """Give the body of the answer that reports ``error``."""
    return ErrorResponse(ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code))


def encode_error(error: APIError) -> bytes:
    """Frame an error that comes after the first chunk. It ends the stream: no ``[DONE]`` follows."""
    return b"event: error\ndata: " + _encode(error_response(error)) + b"\n\n"


class SSEDecoder:
    r"""Turns the bytes of an event stream, however they are cut, into the data of its events.

    Lines end in CR, LF or CRLF; comments and the fields ``event``, ``id`` and ``retry`` are read over; an event that
    no blank line ends is dropped, as the standard says. Malformed UTF-8 becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[str] = []
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes; give the data of every event that they complete, in order."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        events: list[str] = []
        for end in ended:
            self._line += end
            self._take_line(bytes(self._line), events)
            self._line.clear()
        self._line += rest
        return events

    def _take_line(self, line: bytes, events: list[str]) -> None:
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if line:
            self._take_field(line)
        elif self._data:
            events.append("\n".join(self._data))
            self._data.clear()

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
