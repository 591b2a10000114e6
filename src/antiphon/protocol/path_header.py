"""A response header that names paths in the request."""

from collections.abc import Sequence
from typing import Final

UNENFORCED: Final = "x-antiphon-unenforced"
"""The header with the keywords of the request's schemas that are not enforced."""
IGNORED: Final = "x-antiphon-ignored"
"""The header with the unknown members of the request that were ignored."""
MAX_BYTES: Final = 2048
"""Bytes of the header's value; proxies take 4096 for a header, or 8192 for all."""


def path_header(name: str, paths: Sequence[str]) -> dict[str, str]:
    """Return the header with as many of the paths as fit, then ``...``; no header without paths.

    The paths are ASCII without commas.
    """
    if not paths:
        return {}
    value, shown = "", 0
    for path in paths:
        longer = f"{value}, {path}" if value else path
        if len(longer) > MAX_BYTES - len(", ..."):
            break
        value, shown = longer, shown + 1
    return {name: value if shown == len(paths) else f"{value}, ...".removeprefix(", ")}
