"""What a server does beside answering: it renews leases, watches the database, and deletes what has had its time."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import structlog
from msgspec import Struct

from antiphon.errors import ServiceUnavailableError
from antiphon.service.storage import Storage
from antiphon.store.limits import RENEW_INTERVAL

PRUNE_INTERVAL = 600.0
"""Seconds between two deletions of what is too old or too many."""
PROBE_INTERVAL = 5.0
"""Seconds between two looks at the database: for so long a fault that no request meets may go unnoticed."""

logger = structlog.get_logger(__name__)


class Retention(Struct, frozen=True, kw_only=True):
    """How long stored completions are kept, and how many of each project; None: for ever, and all."""

    max_age: float | None = None
    """Seconds."""
    max_count: int | None = None


async def renew_leases(storage: Storage, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
    """Keep the places and the keys of this process's requests, until cancelled; apart from what may take long.

    Sweeps the rows of end users as often, so that they do not pile up.
    """
    while True:
        await _attempt("renew", storage.limiter.renew)
        await _attempt("renew", storage.idempotency.renew)
        await _attempt("sweep", storage.limiter.sweep)
        await sleep(RENEW_INTERVAL)


async def watch_database(storage: Storage, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
    """Find out whether the database works, until cancelled; the database itself remembers. Logs what changes."""
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
    """Delete what has had its time, until cancelled. A database that fails is tried again at the next turn."""
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
