"""Authentication and authorisation of requests by API keys and their scopes.

A server without keys is open if its operator allows it: every request belongs to the default project. The first key
closes it permanently; revoking all keys does not open it again.
"""

import asyncio
import hmac
import time
from collections.abc import Callable

from msgspec import Struct

from antiphon.errors import AuthenticationError, PermissionDeniedError, ServiceUnavailableError
from antiphon.store.keys import KeyStore, Principal, Scope

__all__ = ["Access", "Caller", "Credentials", "Scope"]

OPEN_CHECK_INTERVAL = 1.0
"""Seconds for which an open server does not check again whether there are keys."""

_CHALLENGE = {"www-authenticate": "Bearer"}
"""The header of every 401 (RFC 6750, section 3)."""


class Caller(Struct, frozen=True, kw_only=True):
    """The principal of a request, and the request's id."""

    principal: Principal = Principal()
    request_id: str = ""

    @property
    def project(self) -> str:
        """The id of the project whose objects and cached prefixes the request may use."""
        return self.principal.project_id


class Credentials(Struct, frozen=True, kw_only=True):
    """The headers of a request for authentication; None if absent."""

    authorization: str | None = None
    organization: str | None = None
    project: str | None = None


class Access:
    """Authenticates requests and checks their scopes."""

    def __init__(
        self,
        keys: KeyStore,
        *,
        open_without_keys: bool = True,
        organization: str,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """``open_without_keys``: whether a server that never had a key needs none.

        ``organization`` is the organisation of all projects; ``timer`` returns seconds.
        """
        self._keys = keys
        self._open_without_keys = open_without_keys
        self._organization = organization
        self._timer = timer
        self._open_until = float("-inf")
        self._running_check: asyncio.Future[bool] | None = None
        """The query for keys that runs now."""

    @property
    def requires_keys(self) -> bool:
        """Whether requests without a key are refused, as of the last check."""
        return not self._open_without_keys

    async def authenticate(self, credentials: Credentials, scope: Scope) -> Principal:
        """Return the principal of a request that needs ``scope``.

        Raises AuthenticationError (the key is missing or invalid, or a header names another project),
        PermissionDeniedError (the key lacks the scope) and DatabaseUnavailableError.
        """
        if await self._check_open():
            return Principal()
        principal = await self._keys.authenticate(_bearer(credentials.authorization))
        self._check_headers(credentials, principal)
        if not {scope, "admin"} & principal.scopes:
            raise PermissionDeniedError(
                f"You have insufficient permissions for this operation: the key lacks the scope '{scope}'."
            )
        return principal

    async def _check_open(self) -> bool:
        """Return whether the server is open; query the database at most once per :data:`OPEN_CHECK_INTERVAL`."""
        if not self._open_without_keys:
            return False
        if self._timer() < self._open_until:
            return True
        if await self._has_keys_shared():
            self._open_without_keys = False
            return False
        self._open_until = self._timer() + OPEN_CHECK_INTERVAL
        return True

    async def _has_keys_shared(self) -> bool:
        """Return whether there are keys. Concurrent callers share one query."""
        if self._running_check is None:
            self._running_check = asyncio.ensure_future(self._has_keys())
            self._running_check.add_done_callback(self._end_check)
        return await asyncio.shield(self._running_check)

    def _end_check(self, check: "asyncio.Future[bool]") -> None:
        self._running_check = None
        if not check.cancelled():
            check.exception()  # marks it as retrieved, since all callers may have been cancelled

    async def _has_keys(self) -> bool:
        """Query for keys. While the database fails, a server that was open stays open."""
        try:
            return await self._keys.any()
        except ServiceUnavailableError:
            if not self._was_open:
                raise
            return False

    @property
    def _was_open(self) -> bool:
        return self._open_until > float("-inf")

    def _check_headers(self, credentials: Credentials, principal: Principal) -> None:
        for name, given, expected in (
            ("organization", credentials.organization, self._organization),
            ("project", credentials.project, principal.project_id),
        ):
            if given is not None and not hmac.compare_digest(given.encode(), expected.encode()):
                message = f"The OpenAI-{name.capitalize()} header does not match the {name} of the API key."
                raise AuthenticationError(message, code=f"mismatched_{name}", headers=_CHALLENGE)


def _bearer(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        message = "No API key was given. Send one in the header 'Authorization: Bearer KEY'."
        raise AuthenticationError(message, headers=_CHALLENGE)
    return key.strip()
