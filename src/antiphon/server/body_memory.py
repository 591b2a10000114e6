"""Bounds the memory for the bodies of all requests together.

A body counts from its first piece to the end of its request. A body whose Content-Length does not fit at its beginning
is refused unread; announced bytes that have not arrived do not count. Another bound limits each single body; without
this one, the memory would be that bound times the number of connections.

A complete JSON body also counts for its decoded form before it is decoded: every array, object and text becomes a
Python object, so that 3 bytes may become 64.
"""

from typing import Final

from antiphon.errors import BodyMemoryError, PayloadTooLargeError

SMALL_BODY: Final = 64 * 1024
"""Bytes up to which a body counts but is always accepted, so that large bodies do not block short requests."""
SMALL_DECODED: Final = 8 * SMALL_BODY
"""Bytes up to which a body and its decoded form together count but are always accepted."""
MAX_STRUCTURE: Final = 1 << 19
"""The most structural characters (RFC 8259: brackets, braces, colons, commas) of one JSON body. A request with every
field at its limit has 400,000. Decoding blocks the event loop."""
STRUCTURE_BYTES: Final = 64
"""Bytes of memory per structural character. Measured: 61 for objects with one short text each, 58 for short texts in an
array, 21 for empty arrays."""
_NOT_COUNTED: Final = 4096
"""Bytes up to which a body's decoded form is not counted."""
_FEW: Final = SMALL_DECODED // STRUCTURE_BYTES
_SLICE: Final = 1 << 16
_STRUCTURAL: Final = b"[]{}:,"


class BodyMemory:
    """Counts the bytes of all requests' bodies, and refuses a large body that does not fit.

    Invariant: ``held`` is the sum of the bytes granted to running requests.
    """

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes."""
        self.limit = limit
        self.held = 0

    def grow(self, granted: int, size: int, *, small: int = SMALL_BODY) -> None:
        """Grant a body ``size`` bytes instead of ``granted``, or raise ``BodyMemoryError``.

        Up to ``small`` bytes are always granted.
        """
        self.check(granted, size, small=small)
        self.held += size - granted

    def check(self, granted: int, size: int, *, small: int = SMALL_BODY) -> None:
        """Raise ``BodyMemoryError`` when a body with ``granted`` bytes cannot be granted ``size`` now."""
        if self.held + size - granted > self.limit and size > small:
            message = (
                f"The bodies of all requests may take {self.limit} bytes of this server's memory together, and there "
                "is no room for this one now."
            )
            raise BodyMemoryError(message)

    def release(self, granted: int) -> None:
        """Release the bytes granted to the body of a request that has ended."""
        self.held -= granted
        assert self.held >= 0, f"{self.held} >= 0"

    def grow_decoded(self, granted: int, text: bytes) -> int:
        """Grant the memory to decode JSON text that has ``granted`` bytes; return the bytes granted now.

        Raises ``PayloadTooLargeError`` when the text can never be decoded here, and ``BodyMemoryError``.
        """
        if len(text) <= _NOT_COUNTED:
            return granted
        structure = structural_characters(text)
        if structure > MAX_STRUCTURE:
            message = f"The request body has too many values: at most {MAX_STRUCTURE} structural characters are taken."
            raise PayloadTooLargeError(message)
        size = granted + structure * STRUCTURE_BYTES
        if size > max(self.limit, SMALL_DECODED):
            raise PayloadTooLargeError(f"The request body would take more than {self.limit} bytes when it is decoded.")
        self.grow(granted, size, small=SMALL_DECODED)
        return size


def structural_characters(text: bytes) -> int:
    """Count the structural characters of JSON text outside its strings, up to a number above ``MAX_STRUCTURE``.

    If the whole text has few, the characters in strings count, too, which is faster.
    """
    count = _structural(text)
    return count if count <= _FEW else _outside_strings(text)


def _outside_strings(text: bytes) -> int:
    count = 0
    in_string = 0
    rest = b""
    for start in range(0, len(text), _SLICE):
        piece = (rest + text[start : start + _SLICE]).replace(rb"\\", b"")
        rest = b"\\" if piece.endswith(b"\\") else b""
        parts = piece.removesuffix(rest).replace(rb"\"", b"").split(b'"')
        count += _structural(b"".join(parts[in_string::2]))
        if count > MAX_STRUCTURE:
            break
        in_string = (in_string + len(parts) - 1) % 2
    return count


def _structural(text: bytes) -> int:
    return len(text) - len(text.translate(None, _STRUCTURAL))
