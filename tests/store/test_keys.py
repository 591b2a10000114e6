"""API keys: creation, authentication, expiry, rotation and revocation."""

import hashlib
import hmac
import re
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection

from antiphon.errors import AuthenticationError, ConflictError, NotFoundError
from antiphon.store import schema
from antiphon.store.database import Database
from antiphon.store.keys import APIKey, KeyStore, Principal
from tests.store.rows import OTHER, PROJECT, Clock, add_project, recorded

pytestmark = pytest.mark.anyio

NOW = 1000


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def store(database: Database, clock: Clock) -> KeyStore:
    await add_project(database)
    return KeyStore(database, clock=clock)


async def refusal(store: KeyStore, text: str) -> str:
    with pytest.raises(AuthenticationError) as caught:
        await store.authenticate(text)
    assert (401, "invalid_api_key") == (caught.value.status, caught.value.code)
    return caught.value.message


async def test_key_authenticates_its_project_and_scopes(store: KeyStore) -> None:
    new = await store.create(OTHER, "laptop", ["write", "read"], expires_at=NOW + 1)
    assert re.fullmatch(r"sk-antiphon-[0-9A-Za-z]{48}", new.text)
    expected = APIKey(
        id=new.key.id,
        project_id=OTHER,
        name="laptop",
        scopes=("read", "write"),
        created=NOW,
        expires_at=NOW + 1,
        revoked_at=None,
    )
    assert expected == new.key
    principal = Principal(project_id=OTHER, key_id=new.key.id, scopes=frozenset({"read", "write"}))
    assert principal == await store.authenticate(new.text)


async def test_default_scopes_are_read_and_write(store: KeyStore) -> None:
    new = await store.create(PROJECT, "laptop")
    assert ("read", "write") == new.key.scopes
    assert [new.key] == await store.list()


async def test_text_of_a_key_is_not_stored(database: Database, store: KeyStore) -> None:
    def everything(connection: Connection) -> str:
        return str([connection.execute(table.select()).all() for table in schema.metadata.sorted_tables])

    new = await store.create(PROJECT, "laptop")
    content = await database.read(everything)
    assert new.text[24:] not in content
    assert hashlib.sha256(new.text.encode()).hexdigest() in content
    assert new.text[24:] not in repr(new) + str(await store.list())


async def test_texts_and_ids_come_from_the_given_random_bytes(database: Database) -> None:
    new = await KeyStore(database, random_bytes=lambda size: bytes(range(size))).create(PROJECT, "x")
    assert "sk-antiphon-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl" == new.text
    assert "key_0123456789ABCDEFGHIJKLMN" == new.key.id


async def test_any_is_true_after_the_first_key_even_if_revoked(store: KeyStore, clock: Clock) -> None:
    assert not await store.any()
    new = await store.create(PROJECT, "laptop", expires_at=NOW + 1)
    await store.create(PROJECT, "phone", expires_at=NOW + 1)
    await store.revoke(new.key.id)
    clock.now += 10
    assert await store.any()


@pytest.mark.parametrize(
    "text",
    ["", "sk-antiphon-", "sk-other", "Bearer x", "é" * 60, "\0", "\ud800", "sk-antiphon-" + "0" * 48, "x" * 100_000],
)
async def test_an_unknown_key_is_refused(text: str, store: KeyStore) -> None:
    await store.create(PROJECT, "laptop")
    assert "Incorrect API key provided." == await refusal(store, text)


async def test_key_with_any_changed_character_is_refused(store: KeyStore) -> None:
    text = (await store.create(PROJECT, "laptop")).text
    for index in (0, 11, 12, 23, 24, 59):
        changed = text[:index] + ("x" if text[index] != "x" else "y") + text[index + 1 :]
        assert "Incorrect API key provided." == await refusal(store, changed)
    assert "Incorrect API key provided." == await refusal(store, text + "x")


async def test_unknown_key_takes_the_same_work_as_a_known_one(
    database: Database, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def compare(first: str, second: str) -> bool:
        compared.append(len(first) + len(second))
        return compare_digest(first, second)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)

    async def work(text: str) -> tuple[list[str], list[int]]:
        compared.clear()
        with recorded(database) as statements, suppress(AuthenticationError):
            await store.authenticate(text)
        return [statement for statement, _ in statements], list(compared)

    text = (await store.create(PROJECT, "laptop")).text
    known = await work(text)
    assert [128] == known[1]
    for other in (text[:-1] + "!", "sk-antiphon-" + "0" * 48, "nonsense", ""):
        assert known == await work(other)


async def test_expired_key_is_refused(store: KeyStore, clock: Clock) -> None:
    new = await store.create(PROJECT, "laptop", expires_at=NOW + 10)
    clock.now = NOW + 9.9
    await store.authenticate(new.text)
    clock.now = NOW + 10
    assert "This API key has expired." == await refusal(store, new.text)


async def test_revoked_key_is_refused_at_once_and_permanently(store: KeyStore, clock: Clock) -> None:
    new, other = await store.create(PROJECT, "laptop"), await store.create(PROJECT, "phone")
    assert NOW == (await store.revoke(new.key.id)).revoked_at
    clock.now += 5
    assert NOW == (await store.revoke(new.key.id)).revoked_at
    assert "This API key has been revoked." == await refusal(store, new.text)
    assert "Incorrect API key provided." == await refusal(store, new.text[:-1] + "!")
    await store.authenticate(other.text)


async def test_rotation_replaces_the_text_at_once(store: KeyStore) -> None:
    old = await store.create(PROJECT, "laptop", ["read"])
    new = await store.rotate(old.key.id)
    assert (old.key, True) == (new.key, new.text != old.text)
    assert "Incorrect API key provided." == await refusal(store, old.text)
    assert old.key.id == (await store.authenticate(new.text)).key_id


async def test_rotation_does_not_change_the_expiry(store: KeyStore, clock: Clock) -> None:
    old = await store.create(PROJECT, "laptop", expires_at=NOW + 10)
    new = await store.rotate(old.key.id)
    clock.now = NOW + 9
    assert old.key.id == (await store.authenticate(new.text)).key_id
    clock.now = NOW + 10
    assert "This API key has expired." == await refusal(store, new.text)


async def test_rotation_does_not_change_other_keys(store: KeyStore, clock: Clock) -> None:
    rotated, other = await store.create(PROJECT, "laptop"), await store.create(PROJECT, "phone")
    await store.rotate(other.key.id, grace=10)
    await store.rotate(rotated.key.id, grace=100)
    clock.now += 9
    assert other.key.id == (await store.authenticate(other.text)).key_id
    clock.now += 2
    await store.rotate(rotated.key.id)
    assert "This API key has expired." == await refusal(store, other.text)


async def test_the_old_text_works_until_the_grace_ends(store: KeyStore, clock: Clock) -> None:
    first = await store.create(PROJECT, "laptop")
    second = await store.rotate(first.key.id, grace=100)
    clock.now += 50
    third = await store.rotate(first.key.id, grace=100)
    for text in (first.text, second.text, third.text):
        assert first.key.id == (await store.authenticate(text)).key_id
    clock.now = NOW + 100
    assert "This API key has expired." == await refusal(store, first.text)
    await store.authenticate(second.text)
    clock.now = NOW + 150
    assert "This API key has expired." == await refusal(store, second.text)
    await store.authenticate(third.text)


async def test_a_later_rotation_may_cut_the_grace_short(store: KeyStore) -> None:
    first = await store.create(PROJECT, "laptop")
    await store.rotate(first.key.id, grace=100)
    await store.rotate(first.key.id)
    assert "Incorrect API key provided." == await refusal(store, first.text)


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_revoked_or_expired_key_is_not_rotated(end: str, store: KeyStore, clock: Clock) -> None:
    new = await store.create(PROJECT, "laptop", expires_at=NOW + 1)
    if end == "revoked":
        await store.revoke(new.key.id)
    else:
        clock.now += 1
    with pytest.raises(ConflictError):
        await store.rotate(new.key.id)


async def test_keys_are_listed_by_project(store: KeyStore, clock: Clock) -> None:
    first = await store.create(PROJECT, "one")
    clock.now += 1
    second, third = await store.create(OTHER, "two"), await store.create(OTHER, "three", ["admin"])
    assert [first.key] == await store.list(PROJECT)
    assert sorted([second.key.id, third.key.id]) == [key.id for key in await store.list(OTHER)]
    assert 3 == len(await store.list())


@pytest.mark.parametrize("call", ["revoke", "rotate"])
async def test_another_project_s_key_is_not_found(call: str, store: KeyStore) -> None:
    theirs = await store.create(OTHER, "two")
    method: Any = getattr(store, call)
    with pytest.raises(NotFoundError):
        await method(theirs.key.id, project_id=PROJECT)
    with pytest.raises(NotFoundError):
        await method("nowhere")
    await store.authenticate(theirs.text)


async def test_a_server_without_keys_has_all_scopes_in_the_default_project() -> None:
    assert Principal() == Principal(project_id=PROJECT, key_id=None, scopes=frozenset({"read", "write", "admin"}))
