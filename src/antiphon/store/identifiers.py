"""Random identifiers and secrets of letters and digits."""

from collections.abc import Callable

from antiphon.protocol.base62 import DIGITS, base62

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes, as ``os.urandom`` does."""

_EVEN = 256 - 256 % len(DIGITS)


def random_text(length: int, random_bytes: RandomBytes) -> str:
    """Return ``length`` random characters of 62 (5.95 bits each); bytes above a multiple of 62 are dropped."""
    text = b""
    while len(text) < length:
        text += base62(bytes(byte for byte in random_bytes(length) if byte < _EVEN))
    return text[:length].decode()
