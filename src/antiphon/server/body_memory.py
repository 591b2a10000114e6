"""What the bodies of all requests may take of the memory together.

A body counts piece by piece to the end of its request: while it arrives, while the request waits, and while its answer
is generated from it. One whose Content-Length does not fit when it begins is refused unread; what is announced and does
not come takes nothing from others. Each body by itself is bounded elsewhere; without a bound on their sum, memory would
be that bound times the connections.

A body of JSON that has come whole counts for what it is decoded to as well, before it is: every array, object and text
is an object of Python's, so that three bytes may become sixty-four.
"""

from typing import Final

from antiphon.errors import BodyMemoryError, PayloadTooLargeError

SMALL_BODY: Final = 64 * 1024
"""Bytes up to which a body is counted and always let in, so that large ones keep nobody from asking a question."""
SMALL_WEIGHT: Final = 8 * SMALL_BODY
"""Bytes up to which a whole body and what it is decoded to are counted and always let in."""
MAX_STRUCTURE: Final = 1 << 19
"""Structural characters of JSON in one body, which RFC 8259 calls so: brackets, braces, colons and commas. A request at
all the bounds of its fields has 400,000; the event loop does nothing else while a body is decoded."""
STRUCTURE_BYTES: Final = 64
"""Bytes of memory that a structural character may stand for. Measured: 61 of objects with one short text each, 58 of
short texts in an array, 21 of empty arrays."""
_NOT_COUNTED: Final = 4096
"""Bytes of a body that is too short to become much."""
_FEW: Final = SMALL_WEIGHT // STRUCTURE_BYTES
_SLICE: Final = 1 << 16
_STRUCTURAL: Final = b"[]{}:,"


class BodyMemory:
    """Counts the bytes of all requests' bodies; a large body that does not fit among them is refused.

    Invariant: ``held`` is the sum of what the requests that have not ended were granted, and 0 when there are none.
    """

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes."""
        self.limit = limit
        self.held = 0

    def grow(self, granted: int, size: int, *, small: int = SMALL_BODY) -> None:
        """Let a body that was granted ``granted`` bytes have ``size``, or raise ``BodyMemoryError``.

        Up to ``small`` bytes are let in whatever the others take.
        """
        self.check(granted, size, small=small)
        self.held += size - granted

    def check(self, granted: int, size: int, *, small: int = SMALL_BODY) -> None:
        """Raise ``BodyMemoryError`` when a body that was granted ``granted`` bytes could not have ``size`` now."""
        if self.held + size - granted > self.limit and size > small:
            message = (
                f"The bodies of all requests may take {self.limit} bytes of this server's memory together, and there "
                "is no room for this one now."
            )
            raise BodyMemoryError(message)

    def give_back(self, granted: int) -> None:
        """Free what the body of a request that has ended was granted."""
        self.held -= granted
        assert self.held >= 0, f"{self.held} >= 0"

    def weigh(self, granted: int, text: bytes) -> int:
        """Let JSON text that was granted ``granted`` bytes be decoded; return what it is granted now.

        Raises ``PayloadTooLargeError`` for what can never be decoded here, and ``BodyMemoryError``.
        """
        if len(text) <= _NOT_COUNTED:
            return granted
        marks = structural_characters(text)
        if marks > MAX_STRUCTURE:
            message = f"The request body has too many values: at most {MAX_STRUCTURE} structural characters are taken."
            raise PayloadTooLargeError(message)
        weight = granted + marks * STRUCTURE_BYTES
        if weight > max(self.limit, SMALL_WEIGHT):
            raise PayloadTooLargeError(f"The request body would take more than {self.limit} bytes when it is decoded.")
        self.grow(granted, weight, small=SMALL_WEIGHT)
        return weight


def structural_characters(text: bytes) -> int:
    """Count the structural characters of JSON text outside of its strings; beyond ``MAX_STRUCTURE`` it stops.

    Where few stand in the whole text, those in strings count, too: looking closer would take longer than it is worth.
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
