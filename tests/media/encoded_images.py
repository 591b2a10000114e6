"""Encoded images that the tests make."""

import struct
import zlib
from io import BytesIO

from PIL import Image

RED = (254, 0, 0)
"""Red in all formats: JPEG's conversion gives 254."""
BLUE = (0, 0, 254)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """Return an image as a file of the format."""
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def two_colours(width: int = 32, height: int = 16) -> Image.Image:
    """Return an image whose left half is red and whose right half is blue."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def png(
    width: int, height: int, pixels: bytes = b"", *, depth: int = 8, colour_type: int = 2, extra: bytes = b""
) -> bytes:
    """Return a PNG with any header: ``pixels`` are filtered rows, ``extra`` are whole chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    data = zlib.compress(pixels, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
