import pytest

from antiphon.errors import ConflictError, InvalidRequestError, ServiceUnavailableError
from antiphon.service.access import Caller
from antiphon.service.idempotent_requests import MAX_KEY_LENGTH, idempotent_request
from antiphon.store.database import Database
from antiphon.store.idempotency import IdempotencyStore
from antiphon.store.keys import Principal
from tests.store.rows import OTHER, add_project

pytestmark = pytest.mark.anyio

ME = Caller()


@pytest.fixture
def store(database: Database) -> IdempotencyStore:
    return IdempotencyStore(database, holder="test")


async def answered(store: IdempotencyStore, key: str = "k", body: bytes = b"{}", answer: bytes = b"first") -> None:
    async with idempotent_request(store, ME, key, body) as request:
        await request.keep(answer)


async def test_retry_gets_the_first_answer(store: IdempotencyStore) -> None:
    await answered(store)
    async with idempotent_request(store, ME, "k", b"{}") as request:
        assert (b"first", False) == (request.kept_answer, request.keeps_answer)


async def test_first_request_has_no_kept_answer_and_keeps_its_own(store: IdempotencyStore) -> None:
    async with idempotent_request(store, ME, "k", b"{}") as request:
        assert (None, True) == (request.kept_answer, request.keeps_answer)


async def test_another_body_with_the_same_key_is_a_409_without_retry(store: IdempotencyStore) -> None:
    await answered(store)
    with pytest.raises(ConflictError) as caught:
        async with idempotent_request(store, ME, "k", b"other"):
            pass
    assert ("Idempotency-Key", "false") == (caught.value.param, caught.value.headers["x-should-retry"])


async def test_retry_during_the_first_answer_is_a_409_with_retry_after(store: IdempotencyStore) -> None:
    async with idempotent_request(store, ME, "k", b"{}"):
        with pytest.raises(ConflictError) as caught:
            async with idempotent_request(store, ME, "k", b"{}"):
                pass
        assert caught.value.retry_after is not None


@pytest.mark.parametrize("error", [None, ValueError()])
async def test_request_without_a_kept_answer_releases_its_key(store: IdempotencyStore, error: Exception | None) -> None:
    try:
        async with idempotent_request(store, ME, "k", b"{}"):
            if error:
                raise error
    except ValueError:
        pass
    async with idempotent_request(store, ME, "k", b"other") as request:
        assert request.kept_answer is None


async def test_projects_have_separate_idempotency_keys(store: IdempotencyStore, database: Database) -> None:
    await add_project(database)
    await answered(store)
    async with idempotent_request(store, Caller(principal=Principal(project_id=OTHER)), "k", b"other") as request:
        assert request.kept_answer is None


async def test_without_a_key_nothing_is_kept(store: IdempotencyStore) -> None:
    async with idempotent_request(store, ME, None, b"{}") as request:
        await request.keep(b"first")
    async with idempotent_request(store, ME, None, b"{}") as request:
        assert (None, False) == (request.kept_answer, request.keeps_answer)


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY_LENGTH + 1), "a\nb", "é"])
async def test_invalid_key_is_refused(store: IdempotencyStore, key: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        async with idempotent_request(store, ME, key, b"{}"):
            pass
    assert "Idempotency-Key" == caught.value.param


async def test_server_without_a_database_refuses_the_header() -> None:
    with pytest.raises(InvalidRequestError):
        async with idempotent_request(None, ME, "k", b"{}"):
            pass


async def failing(*_: object, **__: object) -> bool:
    raise ServiceUnavailableError("The database is busy.")


async def test_failure_to_keep_the_answer_releases_the_key(
    store: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(store, "finish", failing)
        with pytest.raises(ServiceUnavailableError):
            await answered(store)
    await answered(store)


async def test_failure_to_release_the_key_does_not_hide_the_error(
    store: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "abandon", failing)
    with pytest.raises(ValueError, match="the real one"):
        async with idempotent_request(store, ME, "k", b"{}"):
            raise ValueError("the real one")
