"""Letters and digits from random bytes, for ids and padding."""

from typing import Final

DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGIT_OF_BYTE: Final = bytes(DIGITS[byte % len(DIGITS)] for byte in range(256))


def base62(data: bytes) -> bytes:
    """Return one letter or digit for each byte. Of 256 byte values 5 give each of the first 8 digits, 4 each other."""
    return data.translate(_DIGIT_OF_BYTE)
