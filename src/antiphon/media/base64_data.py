"""Decodes base64: the data URL of an image and the plain base64 of a sound. Sizes are checked before decoding."""

import binascii
import re
from typing import Final

from antiphon.media.media_error import MediaError

MAX_IMAGE_BYTES: Final = 20 << 20
"""Bytes of one encoded image; the reference's bound."""
MAX_AUDIO_BYTES: Final = 20 << 20
"""Bytes of one encoded sound."""
MAX_PREFIX: Final = 256
"""Characters of a data URL before its comma."""

_DATA: Final = "data:"
_PREFIX: Final = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(;[\w.+-]+=[^;,]*)*;base64,", re.ASCII | re.IGNORECASE)


def is_data_url(url: str) -> bool:
    """Return whether the URL holds its data itself."""
    return url[: len(_DATA)].lower() == _DATA


def image_bytes(url: str) -> bytes:
    """Return the encoded image of a data URL. Raises :class:`MediaError`."""
    prefix = _PREFIX.match(url[:MAX_PREFIX])
    if prefix is None:
        message = "Invalid image URL: a base64-encoded data URL such as 'data:image/png;base64,...' is expected."
        raise MediaError(message, "invalid_image_url")
    if not prefix["type"].lower().startswith("image/"):
        raise MediaError("Invalid MIME type. Only image types are supported.", "invalid_image_format")
    if not is_within(len(url) - prefix.end(), MAX_IMAGE_BYTES):
        raise image_size_error()
    try:
        return _decode(url[prefix.end() :])
    except ValueError as error:
        raise MediaError("Invalid base64 in the image's data URL.", "invalid_base64_image") from error


def audio_bytes(text: str) -> bytes:
    """Return the encoded sound of plain base64. Raises :class:`MediaError`."""
    if not is_within(len(text), MAX_AUDIO_BYTES):
        raise audio_size_error()
    try:
        return _decode(text)
    except ValueError as error:
        raise MediaError("Invalid base64 in the audio data.", "invalid_value") from error


def is_within(characters: int, max_bytes: int) -> bool:
    """Return whether base64 of this length decodes to at most ``max_bytes``."""
    return characters <= (max_bytes + 2) // 3 * 4


def image_size_error() -> MediaError:
    """Return the error for an encoded image that is too large."""
    message = f"The image is too large: an image may have at most {MAX_IMAGE_BYTES >> 20} MiB."
    return MediaError(message, "image_file_too_large")


def audio_size_error() -> MediaError:
    """Return the error for an encoded sound that is too large."""
    return MediaError(f"The audio is too large: it may have at most {MAX_AUDIO_BYTES >> 20} MiB.", "invalid_value")


def _decode(text: str) -> bytes:
    """Decode base64 with padding and without any other character. Raises ValueError."""
    return binascii.a2b_base64(text, strict_mode=True)
