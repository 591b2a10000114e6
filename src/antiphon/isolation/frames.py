"""Reads and writes the messages between a pool and its processes: a kind, a length and a payload."""

import struct
from typing import Final, Literal, Protocol

JOB: Final = b"j"
"""To a process: the payload of one job."""
STAGE: Final = b"s"
"""From a process: the name of the stage of the job that begins now, UTF-8."""
RESULT: Final = b"r"
"""From a process: the result of the job."""
LAST_RESULT: Final = b"l"
"""From a process: the result of the job; then the process ends."""
Kind = Literal[b"j", b"s", b"r", b"l"]
LARGEST: Final = {STAGE: 256, RESULT: 1 << 28, LAST_RESULT: 1 << 28}
"""The largest payload of a message from a process in bytes, by kind. A result has at most the ids of two texts as long
as the context, and schemas as long as a request; or the pixels of an image, or the samples of a sound, which have less
than half of it. A process that hostile bytes control might send anything."""

_HEADER: Final = struct.Struct("!cI")
HEADER_SIZE: Final = _HEADER.size


class FrameError(Exception):
    """A process sent an invalid message: hostile bytes may control it."""


class Stream(Protocol):
    """A blocking stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer at the end."""


def pack(kind: bytes, payload: bytes) -> bytes:
    """Return one message as bytes. The payload must have less than 4 GiB."""
    return _HEADER.pack(kind, len(payload)) + payload


def unpack_header(header: bytes) -> tuple[bytes, int]:
    """Return the kind of a message and the size of its payload in bytes."""
    kind, size = _HEADER.unpack(header)
    return kind, size


def unpack_answer(header: bytes) -> tuple[bytes, int]:
    """Return the kind and the size of a message from a process. Raises :class:`FrameError` if they are invalid."""
    kind, size = unpack_header(header)
    if size > LARGEST.get(kind, -1):
        raise FrameError(f"message {kind!r} of {size} bytes")
    return kind, size


def take_answer(received: bytearray) -> tuple[bytes, bytes] | None:
    """Take the first message from a process off the bytes, as kind and payload; None while it is not whole.

    Raises :class:`FrameError` for what none of ours sends.
    """
    if len(received) < HEADER_SIZE:
        return None
    kind, size = unpack_answer(bytes(received[:HEADER_SIZE]))
    end = HEADER_SIZE + size
    if len(received) < end:
        return None
    payload = bytes(memoryview(received)[HEADER_SIZE:end])
    del received[:end]
    return kind, payload


def read(stream: Stream) -> tuple[bytes, bytes] | None:
    """Read one message; return its kind and its payload, None at the end of the stream."""
    header = stream.read(HEADER_SIZE)
    if len(header) < HEADER_SIZE:
        return None
    kind, size = unpack_header(header)
    payload = stream.read(size)
    return None if len(payload) < size else (kind, payload)
