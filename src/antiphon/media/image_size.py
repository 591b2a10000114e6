"""Computes the size in pixels that an image is reduced to, from its own size and the field ``detail``.

The reference measures images in patches of 32 by 32 pixels; the numbers are its bounds. No image is enlarged.
"""

from math import ceil, floor, sqrt
from typing import Final, Literal

from antiphon.media.media_error import MediaError

Detail = Literal["auto", "low", "high", "original"]

PATCH: Final = 32
"""Pixels of the side of a patch."""
MAX_LOW_EDGE: Final = 512
"""Pixels of the longer edge with ``low``."""
MAX_EDGE: Final = 2048
"""Pixels of the longer edge with ``high`` and ``auto``."""
MAX_PATCHES: Final = 2500
"""Patches with ``high`` and ``auto``."""
MAX_ORIGINAL_PATCHES: Final = 30_000
"""Patches with ``original``; a larger image is refused."""

Size = tuple[int, int]
"""Width and height in pixels."""


def target_size(size: Size, detail: Detail) -> Size:
    """Return the size that an image of ``size`` is reduced to.

    Raises :class:`MediaError` for an image that is too large to be kept as it is.
    """
    if detail == "low":
        return _within_edge(size, MAX_LOW_EDGE)
    if detail == "original":
        _check_original(size)
        return size
    return _within_patches(_within_edge(size, MAX_EDGE))


def patches(size: Size) -> int:
    """Return the number of patches that cover the image."""
    width, height = size
    return ceil(width / PATCH) * ceil(height / PATCH)


def _check_original(size: Size) -> None:
    if (count := patches(size)) > MAX_ORIGINAL_PATCHES:
        message = (
            f"The image has {count} patches of {PATCH}x{PATCH} pixels; with detail 'original' it may have at most "
            f"{MAX_ORIGINAL_PATCHES}."
        )
        raise MediaError(message, "image_too_large")


def _within_edge(size: Size, edge: int) -> Size:
    """Reduce the size until its longer edge has at most ``edge`` pixels."""
    longest = max(size)
    if longest <= edge:
        return size
    width, height = (max(1, round(length * edge / longest)) for length in size)
    return width, height


def _within_patches(size: Size) -> Size:
    """Reduce the size until at most MAX_PATCHES cover it, and one edge ends with a patch."""
    if patches(size) <= MAX_PATCHES:
        return size
    width, height = size
    scale = sqrt(MAX_PATCHES * PATCH * PATCH / (width * height))
    columns, rows = width * scale / PATCH, height * scale / PATCH
    scale *= min(floor(columns) / columns, floor(rows) / rows)
    return max(1, floor(width * scale)), max(1, floor(height * scale))
