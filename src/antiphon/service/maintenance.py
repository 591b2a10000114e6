"""Background work of a server: it renews leases, watches the database, and deletes expired rows."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import structlog
from msgspec import Struct

from antiphon.errors import ServiceUnavailableError
from antiphon.service.storage import Storage
from antiphon.store.limits import RENEW_INTERVAL

PRUNE_INTERVAL = 600.0
"""Seconds between two deletions of expired keys and old completions."""
PROBE_INTERVAL = 5.0
"""Seconds between two probes of the database."""

logger = structlog.get_logger(__name__)


class Retention(Struct, frozen=True, kw_only=True):
    """Bounds of stored completions; None is no bound."""

    max_age: float | None = None
    """Seconds."""
    max_count: int | None = None
    """Completions of each project."""


async def renew_leases(storage: Storage, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
    """Renew the leases of this process's running requests until cancelled. Nothing slow may delay it.

    Also deletes the expired rows of end users, so that they do not accumulate.
    """
    while True:
        await _attempt("renew", storage.limiter.renew)
        await _attempt("renew", storage.idempotency.renew)
        await _attempt("sweep", storage.limiter.sweep)
        await sleep(RENEW_INTERVAL)


async def watch_database(storage: Storage, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
    """Probe the database until cancelled, and log changes of its state."""
    failure = None
    while True:
        with suppress(ServiceUnavailableError):
            await storage.database.probe()
        if (found := storage.database.failure) != failure:
            failure = found
            if failure is None:
                logger.info("database_ready")
            else:
                logger.warning("database_failing", reason=failure)
        await sleep(PROBE_INTERVAL)


async def delete_old(
    storage: Storage, retention: Retention, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
) -> None:
    """Delete expired keys and old completions until cancelled. After a failure it goes on at the next turn."""
    while True:
        await storage.database.reserve_room()
        await _attempt("purge", storage.idempotency.purge)
        await _attempt("prune", lambda: _prune(storage, retention))
        await sleep(PRUNE_INTERVAL)


async def _prune(storage: Storage, retention: Retention) -> None:
    if retention != Retention():
        deleted = await storage.completions.prune(max_age=retention.max_age, max_count=retention.max_count)
        if deleted:
            logger.info("pruned", completions=deleted)


async def _attempt(work: str, do: Callable[[], Awaitable[object]]) -> None:
    try:
        await do()
    except ServiceUnavailableError as error:
        logger.warning("maintenance_failed", work=work, error=error.message)
