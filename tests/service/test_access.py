import asyncio

import pytest

from antiphon.errors import AuthenticationError, DatabaseUnavailableError, PermissionDeniedError
from antiphon.service.access import OPEN_CHECK_INTERVAL, Access, Caller, Credentials
from antiphon.store.database import Database
from antiphon.store.keys import KeyStore, Principal, Scope
from tests.store.rows import OTHER, PROJECT, Clock, add_project

pytestmark = pytest.mark.anyio

ORGANIZATION = "org-tests"
NOTHING = Credentials()


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)


def access(keys: KeyStore, *, open_without_keys: bool = True, timer: Clock | None = None) -> Access:
    return Access(keys, open_without_keys=open_without_keys, organization=ORGANIZATION, timer=timer or Clock())


def bearing(key: str, **headers: str) -> Credentials:
    return Credentials(authorization=f"Bearer {key}", **headers)


async def test_caller_on_a_server_without_keys_is_the_default_project(keys: KeyStore) -> None:
    assert Principal() == await access(keys).authenticate(bearing("anything"), "write")


async def test_closed_server_without_keys_refuses_requests_without_a_key(keys: KeyStore) -> None:
    with pytest.raises(AuthenticationError):
        await access(keys, open_without_keys=False).authenticate(NOTHING, "read")


async def test_first_key_closes_a_running_server(keys: KeyStore) -> None:
    timer = Clock()
    door = access(keys, timer=timer)
    await door.authenticate(NOTHING, "read")
    await keys.create(PROJECT, "first")
    timer.now += OPEN_CHECK_INTERVAL
    with pytest.raises(AuthenticationError):
        await door.authenticate(NOTHING, "read")


async def test_revoking_every_key_does_not_open_it_again(keys: KeyStore) -> None:
    new = await keys.create(PROJECT, "only")
    await keys.revoke(new.key.id)
    with pytest.raises(AuthenticationError):
        await access(keys).authenticate(NOTHING, "read")


async def test_concurrent_callers_share_one_query_for_keys(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def any_key() -> bool:
        asked.append(1)
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(keys, "any", any_key)
    door = access(keys)
    await asyncio.gather(*(door.authenticate(NOTHING, "read") for _ in range(3)))
    assert [1] == asked


async def test_cancelled_caller_does_not_cancel_the_shared_query(keys: KeyStore) -> None:
    door = access(keys)
    first, second = (asyncio.create_task(door.authenticate(NOTHING, "read")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert Principal() == await second


async def test_key_authenticates_its_project_and_key_id(keys: KeyStore, database: Database) -> None:
    await add_project(database)
    new = await keys.create(OTHER, "theirs")
    principal = await access(keys).authenticate(bearing(new.text), "read")
    assert (OTHER, new.key.id) == (principal.project_id, principal.key_id)
    assert OTHER == Caller(principal=principal).project


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "sk-antiphon-abc"])
async def test_missing_bearer_key_is_a_401_with_a_challenge(keys: KeyStore, header: str | None) -> None:
    await keys.create(PROJECT, "one")
    with pytest.raises(AuthenticationError) as caught:
        await access(keys).authenticate(Credentials(authorization=header), "read")
    assert ("invalid_api_key", {"www-authenticate": "Bearer"}) == (caught.value.code, caught.value.headers)


@pytest.mark.parametrize("key", ["sk-antiphon-" + "x" * 48, "wrong", "\xff", "sk-antiphon-"])
async def test_an_unknown_key_is_a_401(keys: KeyStore, key: str) -> None:
    await keys.create(PROJECT, "one")
    with pytest.raises(AuthenticationError):
        await access(keys).authenticate(bearing(key), "read")


@pytest.mark.parametrize(
    ("scopes", "asked", "passes"),
    [
        (("read",), "read", True),
        (("read",), "write", False),
        (("write",), "read", False),
        (("admin",), "write", True),
        (("read", "write"), "admin", False),
    ],
)
async def test_scopes_of_a_key_are_checked(
    keys: KeyStore, scopes: tuple[Scope, ...], asked: Scope, *, passes: bool
) -> None:
    new = await keys.create(PROJECT, "one", scopes)
    try:
        await access(keys).authenticate(bearing(new.text), asked)
    except PermissionDeniedError:
        assert not passes
    else:
        assert passes


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"organization": "org-else"}, "mismatched_organization"),
        ({"project": "proj_else"}, "mismatched_project"),
        ({"project": "\xff"}, "mismatched_project"),
    ],
)
async def test_headers_of_another_project_are_a_401(keys: KeyStore, headers: dict[str, str], code: str) -> None:
    new = await keys.create(PROJECT, "one")
    with pytest.raises(AuthenticationError) as caught:
        await access(keys).authenticate(bearing(new.text, **headers), "read")
    assert code == caught.value.code


async def test_headers_that_match_the_key_are_accepted(keys: KeyStore) -> None:
    new = await keys.create(PROJECT, "one")
    credentials = bearing(new.text, organization=ORGANIZATION, project=PROJECT)
    assert PROJECT == (await access(keys).authenticate(credentials, "read")).project_id


async def test_a_server_that_was_open_stays_open_while_the_database_fails(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = Clock()
    door = access(keys, timer=timer)
    await door.authenticate(NOTHING, "read")
    monkeypatch.setattr(keys, "any", fail)
    timer.now += OPEN_CHECK_INTERVAL
    assert (Principal(), False) == (await door.authenticate(NOTHING, "read"), door.requires_keys)


@pytest.mark.parametrize("open_without_keys", [True, False])
async def test_server_that_could_never_check_for_keys_answers_503(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch, *, open_without_keys: bool
) -> None:
    monkeypatch.setattr(keys, "any", fail)
    monkeypatch.setattr(keys, "authenticate", fail)
    with pytest.raises(DatabaseUnavailableError):
        await access(keys, open_without_keys=open_without_keys).authenticate(bearing("anything"), "read")


async def fail(*_: object) -> bool:
    raise DatabaseUnavailableError("The database cannot be reached. Please try again.")
