"""Random letters and digits, as ids and padding have them."""

from typing import Final

DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGIT_OF_BYTE: Final = bytes(DIGITS[byte % len(DIGITS)] for byte in range(256))


def base62(data: bytes) -> bytes:
    """Return one letter or digit for each byte. The first 8 of the 62 come 5 times of 256, the others 4 times."""
    return data.translate(_DIGIT_OF_BYTE)
