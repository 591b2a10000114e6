"""Connects to public addresses only: resolves a host once, checks every address, and dials the checked ones.

A name cannot be rebound between the check and the connection, because the address is dialled, not the name. The name
stays in the header Host and in the TLS handshake.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import anyio
import httpcore2

from antiphon.media.addresses import is_public

CONNECT_SECONDS: Final = 5.0
"""Seconds for resolving a host, and for connecting to each of its addresses."""
MAX_ADDRESSES: Final = 4
"""Addresses of a host that are tried."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host. Raises OSError."""


class AddressError(Exception):
    """The host has no address, or one that is not public. Both are one error, so that it names no private host."""


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, from the system's resolver, each once."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [*dict.fromkeys(str(address[0]) for *_, address in found)]


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Opens the connections of an HTTP client."""

    def __init__(self, resolve: Resolve = resolve_host, is_allowed: Callable[[str], bool] = is_public) -> None:
        """Hold the resolver, and the check of an address."""
        self._resolve = resolve
        self._is_allowed = is_allowed
        self._dialler = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 (the base class's own signature)
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Return a connection to the first address that accepts one.

        Raises :class:`AddressError`, and httpcore2's ``ConnectError`` or ``ConnectTimeout``.
        """
        failure: Exception = httpcore2.ConnectError("no address")
        for address in await self._checked_addresses(host, port):
            try:
                return await self._dialler.connect_tcp(address, port, timeout=CONNECT_SECONDS)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host if all are allowed. Raises :class:`AddressError` and ``ConnectTimeout``."""
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise AddressError from error
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise AddressError
        return addresses[:MAX_ADDRESSES]
