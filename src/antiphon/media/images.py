"""Decodes an image into RGB pixels: checked, upright, without transparency, in the size that ``detail`` allows.

Call it in a process with limits: the decoders are C code that reads untrusted bytes.
"""

import hashlib
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Final

from msgspec import Struct
from PIL import Image, ImageOps

from antiphon.media.base64_data import MAX_IMAGE_BYTES, image_size_error
from antiphon.media.image_size import Detail, Size, target_size
from antiphon.media.media_error import MediaError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF")
"""Pillow's decoders that may be used."""
MAX_PIXELS: Final = 64_000_000
"""Pixels of one image, as its header declares them."""
MAX_ASPECT: Final = 200
"""Ratio of the longer edge to the shorter one."""
CHANNELS: Final = 3

_ANIMATED: Final = ("PNG", "WEBP", "GIF")
"""Formats with animations. A JPEG with several pictures, which cameras write, shows its first."""
_UNUSABLE: Final = (
    "You uploaded an unsupported image. Please make sure your image is valid and has one of the following formats: "
    "['png', 'jpeg', 'gif', 'webp']."
)


class Picture(Struct, frozen=True, kw_only=True, tag="picture"):
    """The pixels of an image."""

    rgb: bytes
    """Rows from the top, pixels from the left, one byte for each of red, green and blue."""
    width: int
    height: int
    digest: bytes
    """SHA-256 of the pixels and the shape: equal pictures have equal digests, even from different files."""


def decode_image(data: bytes, detail: Detail) -> Picture:
    """Return the pixels of an encoded image. Raises :class:`MediaError`."""
    if not data:
        raise MediaError("The image is empty.", "empty_image_file")
    if len(data) > MAX_IMAGE_BYTES:
        raise image_size_error()
    with _decoder_errors():
        image = Image.open(BytesIO(data), formats=FORMATS)
        _check_header(image)
        image.load()
        _turn_upright(image)
        size = target_size(image.size, detail)
        return picture(_reduced(_flat(image), size))


def picture(image: Image.Image) -> Picture:
    """Return the pixels of an image in mode RGB."""
    width, height = image.size
    rgb = image.tobytes()
    return Picture(rgb=rgb, width=width, height=height, digest=picture_digest(rgb, (width, height)))


def picture_digest(rgb: bytes, size: Size) -> bytes:
    """Return the SHA-256 of pixels and shape."""
    digest = hashlib.sha256(b"rgb %d %d " % size)
    digest.update(rgb)
    return digest.digest()


@contextmanager
def _decoder_errors() -> Iterator[None]:
    """Raise :class:`MediaError` for every error of a decoder; each format has exceptions of its own.

    Warnings, which concern damaged metadata, are dropped.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (MemoryError, MediaError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except Exception as error:
        raise MediaError(_UNUSABLE, "invalid_image_format") from error


def _check_header(image: Image.Image) -> None:
    """Check the declared size, and that there is one frame. Raises :class:`MediaError`."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large()
    if max(width, height) > MAX_ASPECT * min(width, height):
        message = f"The image has {width}x{height} pixels; its longer edge may have {MAX_ASPECT} times the shorter one."
        raise MediaError(message, "invalid_image")
    if image.format in _ANIMATED and getattr(image, "is_animated", False):
        raise MediaError("Animated images are not supported.", "invalid_image_format")


def _too_large() -> MediaError:
    return MediaError(f"The image is too large: it may have at most {MAX_PIXELS} pixels.", "image_too_large")


def _turn_upright(image: Image.Image) -> None:
    """Turn and mirror the image as its EXIF data say. Unreadable EXIF data change nothing."""
    with suppress(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)


def _flat(image: Image.Image) -> Image.Image:
    """Return the image in RGB, on white where it is transparent."""
    if image.mode.startswith("I"):
        return _first_byte(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    flat = Image.new("RGB", layer.size, "white")
    flat.paste(layer, mask=layer.getchannel("A"))
    return flat


def _first_byte(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits in 8 bits; Pillow's own conversion clips at 255."""
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _reduced(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
