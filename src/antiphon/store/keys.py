"""API keys of projects, and their scopes.

A key's text is shown once, when the key is created. It has 12 characters that find its row and 36 random ones (214
bits). Against so many bits no search succeeds, so one round of SHA-256 is enough; a slow hash would add nothing.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Collection
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select, update

from antiphon.errors import AuthenticationError, ConflictError, NotFoundError
from antiphon.protocol.validation import shorten
from antiphon.store.database import Database
from antiphon.store.identifiers import RandomBytes, random_text
from antiphon.store.schema import DEFAULT_PROJECT, api_key_secrets, api_keys

PREFIX = "sk-antiphon-"
LOOKUP_LENGTH = 12
SECRET_LENGTH = 36
ID_LENGTH = 24

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""All scopes. ``admin`` also passes every check for another scope."""

_NO_DIGEST = "0" * 64


class Principal(Struct, frozen=True, kw_only=True):
    """The project, key and scopes of a request. On a server without keys: the default project without a key."""

    project_id: str = DEFAULT_PROJECT
    key_id: str | None = None
    scopes: frozenset[Scope] = frozenset(SCOPES)


class APIKey(Struct, frozen=True, kw_only=True):
    """A key without its text. Times are Unix seconds; the key does not work from ``expires_at`` on."""

    id: str
    project_id: str
    name: str
    scopes: tuple[Scope, ...]
    created: int
    expires_at: int | None
    revoked_at: int | None


class NewKey(Struct, frozen=True, kw_only=True):
    """A key with its text, which is not stored."""

    key: APIKey
    text: str

    def __repr__(self) -> str:
        """Return the representation without the text, for logs and tracebacks."""
        return f"NewKey(key={self.key!r})"


class KeyStore:
    """The keys of all projects. Every method raises ServiceUnavailableError when the database fails."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        """``clock`` returns Unix seconds."""
        self._database = database
        self._clock = clock
        self._random_bytes = random_bytes

    async def create(
        self, project_id: str, name: str, scopes: Collection[Scope] = SCOPES[:2], *, expires_at: int | None = None
    ) -> NewKey:
        """Create a key. The project must exist."""
        key = APIKey(
            id=f"key_{random_text(ID_LENGTH, self._random_bytes)}",
            project_id=project_id,
            name=name,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            created=int(self._clock()),
            expires_at=expires_at,
            revoked_at=None,
        )
        text = self._new_text()
        await self._database.write(lambda connection: _insert(connection, key, text))
        return NewKey(key=key, text=text)

    async def any(self) -> bool:
        """Return whether any key exists, including revoked and expired ones: such a server must not open again."""
        statement = select(api_keys.c.id).limit(1)
        return await self._database.read(lambda connection: connection.execute(statement).one_or_none() is not None)

    async def list(self, project_id: str | None = None) -> list[APIKey]:
        """Return the keys of a project, or of all projects, the oldest first."""
        statement = select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
        if project_id is not None:
            statement = statement.where(api_keys.c.project_id == project_id)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [_key(row) for row in rows]

    async def revoke(self, key_id: str, *, project_id: str | None = None) -> APIKey:
        """Revoke a key at once and permanently. Idempotent. Raises NotFoundError."""
        revoked_at = func.coalesce(api_keys.c.revoked_at, int(self._clock()))
        statement = update(api_keys).where(_is(key_id, project_id)).values(revoked_at=revoked_at).returning(api_keys)
        row = await self._database.write(lambda connection: connection.execute(statement).one_or_none(), urgent=True)
        return _key(_found(row, key_id))

    async def rotate(self, key_id: str, *, grace: float = 0.0, project_id: str | None = None) -> NewKey:
        """Give the key a new text; the old text works for another ``grace`` seconds.

        Raises NotFoundError, and ConflictError when the key is revoked or expired.
        """
        text, now = self._new_text(), int(self._clock())
        old_end = int(self._clock() + grace)
        key = await self._database.write(lambda connection: _rotate(connection, key_id, project_id, text, now, old_end))
        return NewKey(key=key, text=text)

    async def authenticate(self, text: str) -> Principal:
        """Return the principal of a key. Raises AuthenticationError.

        An unknown key takes the same work as a known one: one look-up, one hash, one comparison.
        """
        statement = (
            select(api_keys, api_key_secrets.c.digest, api_key_secrets.c.expires_at.label("secret_expires_at"))
            .join_from(api_key_secrets, api_keys, api_keys.c.id == api_key_secrets.c.key_id)
            .where(api_key_secrets.c.lookup == _lookup(text))
        )
        row = await self._database.read(lambda connection: connection.execute(statement).one_or_none())
        matches = hmac.compare_digest(_digest(text), _NO_DIGEST if row is None else row.digest)
        if row is None or not matches:
            raise AuthenticationError("Incorrect API key provided.")
        return _principal(row, self._clock())

    def _new_text(self) -> str:
        return PREFIX + random_text(LOOKUP_LENGTH + SECRET_LENGTH, self._random_bytes)


def _lookup(text: str) -> str:
    """Return the part of a key that finds its row; for a text that cannot be a key, one that finds none."""
    found = text.removeprefix(PREFIX)[:LOOKUP_LENGTH]
    return found if found.isascii() else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _principal(row: Row[*tuple[Any, ...]], now: float) -> Principal:
    if row.revoked_at is not None:
        raise AuthenticationError("This API key has been revoked.")
    if any(end is not None and end <= now for end in (row.expires_at, row.secret_expires_at)):
        raise AuthenticationError("This API key has expired.")
    return Principal(project_id=row.project_id, key_id=row.id, scopes=frozenset(row.scopes.split()))


def _key(row: Row[*tuple[Any, ...]]) -> APIKey:
    return APIKey(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        created=row.created,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _is(key_id: str, project_id: str | None) -> ColumnElement[bool]:
    mine = api_keys.c.id == key_id
    return mine if project_id is None else and_(mine, api_keys.c.project_id == project_id)


def _found(row: Row[*tuple[Any, ...]] | None, key_id: str) -> Row[*tuple[Any, ...]]:
    if row is None:
        raise NotFoundError(f"API key with id '{shorten(key_id)}' not found.", param="key_id")
    return row


def _insert(connection: Connection, key: APIKey, text: str) -> None:
    values = {
        "id": key.id,
        "project_id": key.project_id,
        "name": key.name,
        "scopes": " ".join(key.scopes),
        "created": key.created,
        "expires_at": key.expires_at,
    }
    connection.execute(api_keys.insert(), values)
    _insert_secret(connection, key.id, text, key.created)


def _insert_secret(connection: Connection, key_id: str, text: str, now: int) -> None:
    values = {"lookup": _lookup(text), "key_id": key_id, "digest": _digest(text), "created": now}
    connection.execute(api_key_secrets.insert(), values)


def _rotate(connection: Connection, key_id: str, project_id: str | None, text: str, now: int, old_end: int) -> APIKey:
    statement = select(api_keys).where(_is(key_id, project_id)).with_for_update()
    key = _key(_found(connection.execute(statement).one_or_none(), key_id))
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise ConflictError("A key that is revoked or expired cannot be rotated.")
    secrets = api_key_secrets.c
    ends_later = and_(secrets.key_id == key_id, or_(secrets.expires_at.is_(None), secrets.expires_at > old_end))
    connection.execute(update(api_key_secrets).where(ends_later).values(expires_at=old_end))
    connection.execute(delete(api_key_secrets).where(secrets.key_id == key_id, secrets.expires_at <= now))
    _insert_secret(connection, key_id, text, now)
    return key
