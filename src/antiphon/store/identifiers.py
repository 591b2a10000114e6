"""Random names and secrets of letters and digits."""

from collections.abc import Callable

RandomBytes = Callable[[int], bytes]
"""Gives that many bytes that nobody can guess: ``os.urandom``."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_EVEN = 256 - 256 % len(_BASE62)


def random_text(length: int, random_bytes: RandomBytes) -> str:
    """Return ``length`` characters, each of the 62 as likely (5.95 bits): bytes beyond a multiple of 62 are dropped."""
    text = ""
    while len(text) < length:
        text += "".join(_BASE62[byte % 62] for byte in random_bytes(length) if byte < _EVEN)
    return text[:length]
