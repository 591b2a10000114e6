"""Whether requests are taken: what an operator, an orchestrator and a load balancer ask.

Nothing is probed here: engines are watched by their supervisors, the database by its own transactions, so that an
answer costs nothing and comes at once, whoever asks and however often.
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
"""``ready``: every request is taken. ``degraded``: some are, others are refused. ``live``: none is."""


class Preparing(Struct, frozen=True, kw_only=True):
    """The long requests, and those with tools or schemas, that are prepared now in processes of their own."""

    running: int
    waiting: int
    """Requests that wait for a process."""
    oldest_seconds: float
    """How long the one that began first has run; it is refused when it takes too much processor time."""


NOTHING_PREPARED: Final = Preparing(running=0, waiting=0, oldest_seconds=0.0)


class ModelHealth(Struct, frozen=True, kw_only=True):
    """One model."""

    id: str
    status: Literal["starting", "ready", "restarting"]
    reason: str | None
    """Why its engine is not ready, a sentence; null when it is, or before it ever was."""
    restarts: int
    """How often its engine was started again."""
    preparing: Preparing


class DatabaseHealth(Struct, frozen=True, kw_only=True):
    """The database, as its last transactions have shown it."""

    status: Literal["ready", "failing"]
    reason: str | None
    """What it fails at, a sentence; null when it does not."""


class Health(Struct, frozen=True, kw_only=True):
    """What the server can do now."""

    status: Status
    """`ready`: every request is taken. `degraded`: some are, others are refused. `live`: none is."""
    version: str
    """Of the server."""
    draining: bool
    """Whether it is stopping: what runs may end, nothing new is taken."""
    models: list[ModelHealth]
    database: DatabaseHealth | None
    """Null when the server keeps nothing."""

    @property
    def takes_requests(self) -> bool:
        """Whether it is worth sending it a request."""
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
    """Return what the server can do now."""
    models = [_model(name, router.status(name), engines.get(name)) for name in router]
    database = None if storage is None else _database(storage)
    ready = [model.status == "ready" for model in models]
    if draining or not any(ready) or (storage is not None and _locks_out(storage, access)):
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


def _locks_out(storage: Storage, access: Access | None) -> bool:
    """Say whether the database fails at what every request needs: its key, or its place within the limits."""
    database = storage.database
    unknown = database.read_failure is not None and access is not None and access.asks_for_keys
    return unknown or (database.write_failure is not None and storage.limiter.active)
