"""The health of the server, for operators, orchestrators and load balancers.

Nothing is probed here, so that an answer is immediate and cheap: supervisors watch the engines, and transactions show
the state of the database.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from antiphon.backends.backend import BackendStatus
from antiphon.backends.engine_counters import EngineCounters
from antiphon.isolation.process_pool import PoolLoad
from antiphon.routing.router import Router
from antiphon.service.access import Access
from antiphon.service.storage import Storage

Status = Literal["ready", "degraded", "live"]
"""``ready``: every request is accepted. ``degraded``: some are. ``live``: none is."""


class Preparing(Struct, frozen=True, kw_only=True):
    """Requests that separate processes prepare."""

    running: int
    waiting: int
    """Requests that wait for a process."""
    oldest_seconds: float
    """Seconds that the oldest running one has taken. It is refused when it takes too much processor time."""


NOTHING_PREPARED: Final = Preparing(running=0, waiting=0, oldest_seconds=0.0)


class ModelHealth(Struct, frozen=True, kw_only=True):
    """The health of one model."""

    id: str
    status: Literal["starting", "ready", "restarting"]
    reason: str | None
    """The reason for `restarting`, a sentence; null in the other states."""
    restarts: int
    """Restarts of its engine."""
    preparing: Preparing


class DatabaseHealth(Struct, frozen=True, kw_only=True):
    """The state of the database after its last transactions."""

    status: Literal["ready", "failing"]
    reason: str | None
    """The reason for `failing`, a sentence; else null."""


class Health(Struct, frozen=True, kw_only=True):
    """The state of the server now."""

    status: Status
    """`ready`: every request is accepted. `degraded`: some are. `live`: none is."""
    version: str
    """The server's version."""
    draining: bool
    """Whether the server is stopping: running requests may end, new ones are refused."""
    models: list[ModelHealth]
    database: DatabaseHealth | None
    """Null without a database."""

    @property
    def accepts_requests(self) -> bool:
        """Whether the server accepts any requests."""
        return self.status != "live"


def assess(
    router: Router,
    storage: Storage | None,
    access: Access | None,
    *,
    engines: Mapping[str, EngineCounters],
    draining: bool,
    version: str,
) -> Health:
    """Return the state of the server now."""
    models = [_model(name, router.status(name), engines.get(name)) for name in router]
    database = None if storage is None else _database(storage)
    ready = [model.status == "ready" for model in models]
    if draining or not any(ready) or (storage is not None and _refuses_all_requests(storage, access)):
        status: Status = "live"
    elif all(ready) and (database is None or database.status == "ready"):
        status = "ready"
    else:
        status = "degraded"
    return Health(status=status, version=version, draining=draining, models=models, database=database)


def _model(name: str, status: BackendStatus, engine: EngineCounters | None) -> ModelHealth:
    return ModelHealth(
        id=name,
        status="restarting" if status.state == "unavailable" else status.state,
        reason=status.reason,
        restarts=0 if engine is None else engine.report.restarts,
        preparing=NOTHING_PREPARED if engine is None else _preparing(engine.preparing),
    )


def _preparing(load: PoolLoad) -> Preparing:
    return Preparing(running=load.running, waiting=load.waiting, oldest_seconds=round(load.oldest_seconds, 1))


def _database(storage: Storage) -> DatabaseHealth:
    reason = storage.database.failure
    return DatabaseHealth(status="ready" if reason is None else "failing", reason=reason)


def _refuses_all_requests(storage: Storage, access: Access | None) -> bool:
    """Return whether the database fails and every request needs it: to check its key or its rate limits."""
    database = storage.database
    unknown = database.read_failure is not None and access is not None and access.requires_keys
    return unknown or (database.write_failure is not None and storage.limiter.active)
