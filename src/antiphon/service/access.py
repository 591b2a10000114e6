"""Who asks: the key of a request, the project it belongs to, and what it may do.

A server without keys is open, where its operator lets it be: everybody is the default project. From the first key on it
is closed, for good: revoking every key does not open it again.
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
"""Seconds for which a server that was seen to have no keys stays open without another look."""

_CHALLENGE = {"www-authenticate": "Bearer"}
"""RFC 6750, section 3: every 401 says how to authenticate."""


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent a request, and the request's own id."""

    principal: Principal = Principal()
    request_id: str = ""

    @property
    def project(self) -> str:
        """The project whose objects the request sees, and whose cached prefixes it shares."""
        return self.principal.project_id


class Credentials(Struct, frozen=True, kw_only=True):
    """The headers of a request that say who sends it, None where they are absent."""

    authorization: str | None = None
    organization: str | None = None
    project: str | None = None


class Access:
    """Decides who may do what."""

    def __init__(
        self,
        keys: KeyStore,
        *,
        open_without_keys: bool = True,
        organization: str,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """``open_without_keys``: whether a server that never had a key serves everybody.

        ``organization`` is the one that all projects belong to; ``timer`` is in seconds.
        """
        self._keys = keys
        self._open_without_keys = open_without_keys
        self._organization = organization
        self._timer = timer
        self._open_until = float("-inf")
        self._looking: asyncio.Future[bool] | None = None
        """The look at the database that goes on now."""

    @property
    def asks_for_keys(self) -> bool:
        """Whether requests without a key are refused, as far as is known."""
        return not self._open_without_keys

    async def authenticate(self, credentials: Credentials, scope: Scope) -> Principal:
        """Return who sends a request that needs ``scope``.

        Raises AuthenticationError (no key, or one that does not work, or headers of another project),
        PermissionDeniedError (the key lacks the scope) and DatabaseUnavailableError (nobody knows).
        """
        if await self._open():
            return Principal()
        principal = await self._keys.authenticate(_bearer(credentials.authorization))
        self._check_headers(credentials, principal)
        if not {scope, "admin"} & principal.scopes:
            raise PermissionDeniedError(
                f"You have insufficient permissions for this operation: the key lacks the scope '{scope}'."
            )
        return principal

    async def _open(self) -> bool:
        if not self._open_without_keys:
            return False
        if self._timer() < self._open_until:
            return True
        if await self._look():
            self._open_without_keys = False
            return False
        self._open_until = self._timer() + OPEN_CHECK_INTERVAL
        return True

    async def _look(self) -> bool:
        """Say whether there are keys; whoever asks while the database is asked already waits for the same answer."""
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._has_keys())
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    def _looked(self, looking: "asyncio.Future[bool]") -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # those who wait are told; nobody may be left of them

    async def _has_keys(self) -> bool:
        """Ask the database; while it fails, a server that was seen to be open stays so for what needs no database."""
        try:
            return await self._keys.any()
        except ServiceUnavailableError:
            if not self._seen_open:
                raise
            return False

    @property
    def _seen_open(self) -> bool:
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
