"""Keeps fetched files for a short time, for each project alone, in a bounded number of bytes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from msgspec import Struct

MAX_CACHE_BYTES: Final = 64 << 20
"""Bytes of all kept files; the file that was used longest ago is dropped first."""
CACHE_SECONDS: Final = 60.0
"""Seconds after which a kept file is fetched again."""
ENTRY_BYTES: Final = 1024
"""Bytes that an entry counts for beside its file, its key and its address."""


class Fetched(Struct, frozen=True, kw_only=True):
    """A fetched file."""

    data: bytes
    content_type: str
    """Media type in lower case, without parameters."""
    url: str
    """The address after redirects."""


class FetchCache:
    """Files by project and URL: no project learns whether another fetched a URL."""

    def __init__(self, clock: Callable[[], float], max_bytes: int = MAX_CACHE_BYTES) -> None:
        """Hold the clock, which gives monotonic seconds."""
        self._clock = clock
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, str], tuple[float, Fetched]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """The bytes that the entries count for."""
        return self._bytes

    def get(self, project: str, url: str) -> Fetched | None:
        """Return the file if it is kept and fresh."""
        key = project, url
        if key not in self._entries:
            return None
        expiry, fetched = self._entries[key]
        if expiry <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return fetched

    def put(self, project: str, url: str, fetched: Fetched) -> None:
        """Keep a file unless it exceeds the bytes alone, and drop others while all of them do."""
        key = project, url
        if key in self._entries:
            self._drop(key)
        if _cost(key, fetched) > self._max_bytes:
            return
        self._entries[key] = self._clock() + CACHE_SECONDS, fetched
        self._bytes += _cost(key, fetched)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, str]) -> None:
        _, fetched = self._entries.pop(key)
        self._bytes -= _cost(key, fetched)


def _cost(key: tuple[str, str], fetched: Fetched) -> int:
    return ENTRY_BYTES + sum(map(len, key)) + len(fetched.url) + len(fetched.data)
