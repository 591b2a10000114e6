"""The keywords of a request's schemas that are not enforced, and the schemas that have them."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

MAX_KEY: Final = 64
"""Characters of a key in a path; the rest of a longer key is cut."""


class Unenforced(Struct, frozen=True, kw_only=True):
    """The keywords that are not enforced, by their paths in the request, and the schemas that have them."""

    paths: tuple[str, ...] = ()
    content: dict[str, Any] | None = None
    """The schema of the content, if some of its keywords are not enforced."""
    functions: dict[str, dict[str, Any]] = {}
    """The schemas of parameters with such keywords, by the names of the functions."""


NOTHING: Final = Unenforced()


def request_path(param: str, path: Iterable[str | int]) -> str:
    """Return a path in ASCII without commas: ``tools[0].function.parameters.properties.x.oneOf[1]``."""
    return param + "".join(f"[{key}]" if isinstance(key, int) else f".{quote(key[:MAX_KEY], safe='$')}" for key in path)
