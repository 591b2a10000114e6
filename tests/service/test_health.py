"""The health of the server for every combination of working and failing parts."""

import pytest

from antiphon.backends.local import LocalBackend
from antiphon.isolation.process_pool import PoolLoad
from antiphon.routing.router import Router
from antiphon.service.access import Access
from antiphon.service.health import DatabaseHealth, Health, ModelHealth, Preparing, Status, assess
from antiphon.service.storage import Storage
from antiphon.store.database import Database
from antiphon.store.limits import UNLIMITED, Limits
from tests.scripted_engine import ScriptedEngine, ScriptedRenderer, scripted_backend

pytestmark = pytest.mark.anyio

IDLE = Preparing(running=0, waiting=0, oldest_seconds=0.0)
BUSY = "The database is busy."


def engine(*, ready: bool = True) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.ready = ready
    engine.failure = None if ready else "It was killed by SIGKILL."
    engine.restarts = 2
    return engine


Backends = dict[str, LocalBackend]


def backends(*engines: ScriptedEngine) -> Backends:
    return {name: scripted_backend(engine) for name, engine in zip("abc", engines, strict=False)}


def health(
    backends: Backends, storage: Storage | None = None, access: Access | None = None, *, draining: bool = False
) -> Health:
    router = Router({name: [backend] for name, backend in backends.items()})
    return assess(router, storage, access, engines=backends, draining=draining, version="1")


@pytest.mark.parametrize(
    ("ready", "status"),
    [
        ((True, True), "ready"),
        ((True, False), "degraded"),
        ((False, False), "live"),
        ((), "live"),
    ],
)
def test_status_is_ready_with_all_models_and_live_with_none(ready: tuple[bool, ...], status: Status) -> None:
    found = health(backends(*(engine(ready=each) for each in ready)))
    assert (status, status != "live") == (found.status, found.accepts_requests)


def test_draining_server_is_live() -> None:
    found = health(backends(engine()), draining=True)
    assert ("live", True, "1") == (found.status, found.draining, found.version)


def test_each_model_has_its_state_and_its_reason() -> None:
    models = health(backends(engine(), engine(ready=False), ScriptedEngine(info=None))).models
    assert [
        ModelHealth(id="a", status="ready", reason=None, restarts=2, preparing=IDLE),
        ModelHealth(id="b", status="restarting", reason="It was killed by SIGKILL.", restarts=2, preparing=IDLE),
        ModelHealth(id="c", status="starting", reason=None, restarts=0, preparing=IDLE),
    ] == models


def test_health_has_the_requests_in_preparation() -> None:
    renderer = ScriptedRenderer()
    renderer.load = PoolLoad(running=2, waiting=3, oldest_seconds=4.56)
    models = health({"a": scripted_backend(engine(), renderer)}).models
    assert Preparing(running=2, waiting=3, oldest_seconds=4.6) == models[0].preparing


def test_server_without_storage_has_no_database_health() -> None:
    assert health(backends(engine())).database is None


async def test_working_database_is_ready(database: Database) -> None:
    found = health(backends(engine()), Storage(database, holder="test"))
    assert ("ready", DatabaseHealth(status="ready", reason=None)) == (found.status, found.database)


async def test_status_is_degraded_while_the_database_fails(database: Database) -> None:
    database.write_failure = database.read_failure = BUSY
    found = health(backends(engine()), Storage(database, holder="test"))
    assert ("degraded", DatabaseHealth(status="failing", reason=BUSY)) == (found.status, found.database)


@pytest.mark.parametrize(("open_", "status"), [(True, "degraded"), (False, "live")])
async def test_status_is_live_if_keys_are_required_and_reads_fail(
    database: Database, *, open_: bool, status: Status
) -> None:
    storage = Storage(database, holder="test")
    database.read_failure = BUSY
    access = Access(storage.keys, open_without_keys=open_, organization="org")
    assert status == health(backends(engine()), storage, access).status


@pytest.mark.parametrize(("limits", "status"), [(UNLIMITED, "degraded"), (Limits(requests_per_minute=1), "live")])
async def test_status_is_live_with_limits_if_writes_fail(database: Database, limits: Limits, status: Status) -> None:
    database.write_failure = BUSY
    storage = Storage(database, holder="test", project_limits=limits)
    assert status == health(backends(engine()), storage).status
