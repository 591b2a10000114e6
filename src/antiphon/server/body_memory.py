"""What the bodies of all requests may take of the memory together.

A body counts piece by piece to the end of its request: while it arrives, while the request waits, and while its answer
is generated from it. One whose Content-Length does not fit when it begins is refused unread; what is announced and does
not come takes nothing from others. Each body by itself is bounded elsewhere; without a bound on their sum, memory would
be that bound times the connections.
"""

from typing import Final

from antiphon.errors import BodyMemoryError

SMALL_BODY: Final = 64 * 1024
"""Bytes up to which a body is counted and always let in, so that large ones keep nobody from asking a question."""


class BodyMemory:
    """Counts the bytes of all requests' bodies; a large body that does not fit among them is refused.

    Invariant: ``held`` is the sum of what the requests that have not ended were granted, and 0 when there are none.
    """

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes."""
        self.limit = limit
        self.held = 0

    def grow(self, granted: int, size: int) -> None:
        """Let a body that was granted ``granted`` bytes have ``size``, or raise ``BodyMemoryError``."""
        self.check(granted, size)
        self.held += size - granted

    def check(self, granted: int, size: int) -> None:
        """Raise ``BodyMemoryError`` when a body that was granted ``granted`` bytes could not have ``size`` now."""
        if self.held + size - granted > self.limit and size > SMALL_BODY:
            message = (
                f"The bodies of all requests may take {self.limit} bytes of this server's memory together, and there "
                "is no room for this one now."
            )
            raise BodyMemoryError(message)

    def give_back(self, granted: int) -> None:
        """Free what the body of a request that has ended was granted."""
        self.held -= granted
        assert self.held >= 0, f"{self.held} >= 0"
