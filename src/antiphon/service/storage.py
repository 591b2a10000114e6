"""The stores over one database, opened and closed together."""

import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import anyio

from antiphon.errors import DatabaseUnavailableError
from antiphon.store.completions import CompletionStore
from antiphon.store.database import BUSY_TIMEOUT, Database
from antiphon.store.idempotency import IdempotencyStore
from antiphon.store.identifiers import RandomBytes
from antiphon.store.keys import KeyStore
from antiphon.store.limits import UNLIMITED, Limits, RateLimiter


class Storage:
    """The stores that a server uses."""

    def __init__(
        self,
        database: Database,
        *,
        holder: str,
        project_limits: Limits = UNLIMITED,
        key_limits: Limits = UNLIMITED,
        end_user_limits: Limits = UNLIMITED,
        clock: Callable[[], float] | None = None,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        """``holder`` is a unique name of this process.

        ``clock`` returns Unix seconds; by default, limits and idempotency keys use the clock of the database.
        """
        self.database = database
        self.completions = CompletionStore(database, clock=clock or time.time)
        self.keys = KeyStore(database, clock=clock or time.time, random_bytes=random_bytes)
        self.limiter = RateLimiter(
            database, holder=holder, project=project_limits, key=key_limits, end_user=end_user_limits, clock=clock
        )
        self.idempotency = IdempotencyStore(database, holder=holder, clock=clock, random_bytes=random_bytes)

    async def check(self) -> None:
        """Raise DatabaseUnavailableError if the database fails; call it before an answer is generated to be stored.

        After a failure the database is probed first, so that the end of the failure is noticed.
        """
        if self.database.failure is None:
            return
        try:
            await self.database.probe()
        except DatabaseUnavailableError as error:
            message = f"Nothing was generated, since it could not be stored. {error.message}"
            raise DatabaseUnavailableError(message, retry_after=error.retry_after) from error

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str | None,
        data_dir: Path,
        *,
        project_limits: Limits = UNLIMITED,
        key_limits: Limits = UNLIMITED,
        end_user_limits: Limits = UNLIMITED,
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> AsyncGenerator[Self, None]:
        """Open ``postgresql://…``, or SQLite in ``data_dir`` when ``url`` is None, upgraded to this version's schema.

        Raises ``StoreError`` with a message for the operator.
        """
        database = await Database.open(url, data_dir=data_dir, busy_timeout=busy_timeout)
        try:
            await database.upgrade()
            yield cls(
                database,
                holder=uuid.uuid4().hex,
                project_limits=project_limits,
                key_limits=key_limits,
                end_user_limits=end_user_limits,
            )
        finally:
            with anyio.CancelScope(shield=True):
                await database.close()
