"""Fetches files from URLs that users send: from allowed hosts, at public addresses, within limits of time and bytes.

One guarded fetcher serves images, and later pages. It follows redirects by itself and checks each as the first URL; it
reads no proxy from the environment and sends no credentials.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import anyio
import httpcore2
from msgspec import Struct

from antiphon import __version__
from antiphon.errors import RateLimitError
from antiphon.media.base64_data import MAX_IMAGE_BYTES
from antiphon.media.fetch_cache import FetchCache, Fetched
from antiphon.media.guarded_network import AddressError
from antiphon.media.media_error import MediaError
from antiphon.media.urls import AllowedHosts, Target, parse_url, redirected

MAX_REDIRECTS: Final = 3
FETCH_SECONDS: Final = 20.0
"""Seconds for a file, all its redirects included."""
MAX_FETCHES: Final = 16
"""Files that are fetched at a time."""
MAX_WAITING_FETCHES: Final = 256
"""Files that may wait until others are fetched; one more is refused with 429."""

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_OK: Final = 200
_HEADERS: Final = (
    (b"User-Agent", f"antiphon/{__version__}".encode()),
    (b"Accept-Encoding", b"identity"),  # so that the bytes on the wire are those of the file
    (b"Connection", b"close"),
)


class ContentRule(Struct, frozen=True, kw_only=True):
    """The files that a caller accepts."""

    noun: str
    """The file in messages."""
    types: tuple[str, ...]
    """The beginnings of the accepted media types, in lower case."""
    max_bytes: int

    def check_type(self, content_type: str) -> None:
        """Raise :class:`MediaError` for another media type."""
        if not content_type.startswith(self.types):
            raise MediaError(f"The URL gives no {self.noun}, by its Content-Type.", "invalid_image_url")

    def check_size(self, size: int) -> None:
        """Raise :class:`MediaError` for too many bytes."""
        if size > self.max_bytes:
            message = f"Failed to download the {self.noun}: it has more than the {self.max_bytes >> 20} MiB allowed."
            raise MediaError(message, "image_file_too_large")


IMAGE_RULE: Final = ContentRule(
    noun="image",
    types=("image/", "application/octet-stream", "binary/octet-stream"),
    max_bytes=MAX_IMAGE_BYTES,
)
"""Images, and files of unknown type, as stores of objects serve them: the decoder finds out what they are."""


class Fetcher:
    """Fetches files, and keeps them for a short time."""

    def __init__(
        self,
        allowed: AllowedHosts,
        network: httpcore2.AsyncNetworkBackend,
        cache: FetchCache,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Hold the allowed hosts, the guarded network and the cache.

        Without a context, the certificate authorities of the system are trusted.
        """
        self._allowed = allowed
        self._network = network
        self._cache = cache
        self._ssl_context = httpcore2.default_ssl_context() if ssl_context is None else ssl_context
        self._slots = asyncio.Semaphore(MAX_FETCHES)
        self._waiting = 0

    async def fetch(self, url: str, rule: ContentRule, project: str) -> Fetched:
        """Return the file at a URL.

        Raises :class:`MediaError` for a URL that is not allowed or gives no such file in time, ``RateLimitError`` when
        too many files wait.
        """
        target = parse_url(url)
        self._allowed.check(target)
        fetched = self._cache.get(project, target.url)
        if fetched is None:
            async with self._slot():
                fetched, is_kept = await self._download(target, rule)
            if is_kept:
                self._cache.put(project, target.url, fetched)
        rule.check_type(fetched.content_type)
        rule.check_size(len(fetched.data))
        return fetched

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait until fewer than MAX_FETCHES files are fetched. Raises ``RateLimitError``."""
        if self._waiting >= MAX_WAITING_FETCHES:
            raise RateLimitError("Too many files are waiting to be fetched.")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _download(self, target: Target, rule: ContentRule) -> tuple[Fetched, bool]:
        """Follow redirects to the file. Return it, and whether it may be kept."""
        with _network_errors(rule.noun):
            with anyio.fail_after(FETCH_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    async with self._answer(target) as answer:
                        if answer.status not in _REDIRECTS:
                            return await _file(answer, target, rule)
                        target = redirected(target, _header(answer, b"location"))
                        self._allowed.check(target)
        raise _failure(rule.noun, f"it is redirected more than {MAX_REDIRECTS} times")

    @asynccontextmanager
    async def _answer(self, target: Target) -> AsyncIterator[httpcore2.Response]:
        """Send one request over a connection of its own, which the block closes."""
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        headers = [(b"Host", target.authority.encode()), *_HEADERS]
        connection = httpcore2.AsyncHTTPConnection(
            url.origin, ssl_context=self._ssl_context, network_backend=self._network
        )
        async with connection, connection.stream("GET", url, headers=headers) as answer:
            yield answer


async def _file(answer: httpcore2.Response, target: Target, rule: ContentRule) -> tuple[Fetched, bool]:
    """Read the file of an answer, and whether it may be kept. Raises :class:`MediaError`."""
    if answer.status != _OK:
        raise _failure(rule.noun, f"its server answered with status {answer.status}")
    if _header(answer, b"content-encoding").lower() not in {"", "identity"}:
        raise _failure(rule.noun, "its server compressed it, although that was not asked for")
    content_type = _header(answer, b"content-type").partition(";")[0].strip().lower()
    rule.check_type(content_type)
    data = await _body(answer, rule)
    is_kept = not any(word in _header(answer, b"cache-control").lower() for word in ("no-store", "no-cache"))
    return Fetched(data=data, content_type=content_type, url=target.url), is_kept


async def _body(answer: httpcore2.Response, rule: ContentRule) -> bytes:
    """Read the body, at most as many bytes as the rule allows. Raises :class:`MediaError`."""
    length = _header(answer, b"content-length")
    if length.isdecimal():
        rule.check_size(int(length))
    body = bytearray()
    async for block in answer.aiter_stream():
        body += block
        rule.check_size(len(body))
    return bytes(body)


def _header(answer: httpcore2.Response, name: bytes) -> str:
    """Return the first value of a header, empty if there is none."""
    values = (value for key, value in answer.headers if key.lower() == name)
    return next(values, b"").decode(errors="replace")


@contextmanager
def _network_errors(noun: str) -> Iterator[None]:
    """Raise :class:`MediaError` for every failure of the network or of the other server."""
    try:
        yield
    except AddressError as error:
        raise _failure(noun, "its host has no public address") from error
    except (TimeoutError, httpcore2.TimeoutException) as error:
        raise MediaError(f"Timeout while downloading the {noun}.", "invalid_image_url") from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
        raise _failure(noun, "the connection failed, or its server does not speak HTTP") from error


def _failure(noun: str, reason: str) -> MediaError:
    return MediaError(f"Error while downloading the {noun}: {reason}.", "invalid_image_url")
