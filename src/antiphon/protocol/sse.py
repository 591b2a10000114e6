"""Encoders of chunks and errors as server-sent events, and an incremental decoder for clients.

Reference: the event-stream format of the WHATWG HTML standard, section 9.2 (server-sent events).
"""

import re
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.errors import APIError
from antiphon.protocol.responses import ChatCompletionChunk, ErrorBody, ErrorResponse

DONE = b"data: [DONE]\n\n"
"""The last event of a successful stream. Reference: streaming."""

_NO_CHOICES = b"[]}"
"""The end of an encoded chunk without choices, after the fields that all chunks of an answer share."""

_encode = msgspec.json.Encoder().encode
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


def encode_chunk(chunk: ChatCompletionChunk) -> bytes:
    """Return one chunk as an event. JSON text has no raw line ends, so one ``data`` line holds it."""
    return b"data: " + _encode(chunk) + b"\n\n"


class ChunkEncoder:
    """Encodes the chunks of one answer as :func:`encode_chunk` does, but the shared fields only once."""

    __slots__ = ("_header", "_id", "_padding")

    def __init__(self, padding: Callable[[int], bytes] | None = None) -> None:
        """``padding`` returns the ``obfuscation``, letters and digits, for the size of the encoded choices in bytes."""
        self._padding = padding
        self._id: str | None = None
        self._header = b""

    def encode(self, chunk: ChatCompletionChunk) -> bytes:
        """Return the next chunk as an event; a chunk without choices gets no padding."""
        if self._id is None:
            self._encode_header(chunk)
        assert chunk.id == self._id, f"{chunk.id} == {self._id}"
        choices = _encode(chunk.choices)
        usage = b"" if chunk.usage is UNSET else _member(b"usage", chunk.usage)
        if chunk.prompt_token_ids is not UNSET:
            usage = _member(b"prompt_token_ids", chunk.prompt_token_ids) + usage
        if self._padding is None or not chunk.choices:
            return b"".join((self._header, choices, usage, _member(b"obfuscation", chunk.obfuscation), b"}\n\n"))
        return b'%b%b%b,"obfuscation":"%b"}\n\n' % (self._header, choices, usage, self._padding(len(choices)))

    def _encode_header(self, first: ChatCompletionChunk) -> None:
        shared = msgspec.structs.replace(first, choices=[], prompt_token_ids=UNSET, usage=UNSET, obfuscation=UNSET)
        self._id = first.id
        self._header = b"data: " + _encode(shared).removesuffix(_NO_CHOICES)


def _member(name: bytes, value: object) -> bytes:
    """Encode a further member of an object; empty if it is unset."""
    return b"" if isinstance(value, UnsetType) else b',"%b":%b' % (name, _encode(value))


def error_response(error: APIError) -> ErrorResponse:
    """Return the body of an error response."""
    return ErrorResponse(ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code))


def encode_error(error: APIError) -> bytes:
    """Return an error within a stream as an event. It ends the stream without ``[DONE]``."""
    return b"event: error\ndata: " + _encode(error_response(error)) + b"\n\n"


class SSEDecoder:
    r"""Decodes the bytes of an event stream, in any split, into the data of its events.

    Lines end in CR, LF or CRLF. Comments and the fields ``event``, ``id`` and ``retry`` are ignored. As the standard
    says, an event without a blank line after it is dropped. Malformed UTF-8 becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[str] = []
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[str]:
        """Decode the next bytes and return the data of every event that they complete, in order."""
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
