import pytest

from antiphon.errors import ConflictError, InvalidRequestError, ServiceUnavailableError
from antiphon.service.access import Caller
from antiphon.service.repeats import MAX_KEY_LENGTH, answered_once
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
    async with answered_once(store, ME, key, body) as repeat:
        await repeat.keep(answer)


async def test_a_repeat_gets_the_first_answer(store: IdempotencyStore) -> None:
    await answered(store)
    async with answered_once(store, ME, "k", b"{}") as repeat:
        assert (b"first", False) == (repeat.answer, repeat.keeps)


async def test_the_first_request_has_no_answer_and_keeps_its_own(store: IdempotencyStore) -> None:
    async with answered_once(store, ME, "k", b"{}") as repeat:
        assert (None, True) == (repeat.answer, repeat.keeps)


async def test_another_body_under_the_same_key_is_a_409_that_nobody_should_repeat(store: IdempotencyStore) -> None:
    await answered(store)
    with pytest.raises(ConflictError) as caught:
        async with answered_once(store, ME, "k", b"other"):
            pass
    assert ("Idempotency-Key", "false") == (caught.value.param, caught.value.headers["x-should-retry"])


async def test_while_the_first_is_being_answered_a_repeat_is_a_409_to_be_repeated(store: IdempotencyStore) -> None:
    async with answered_once(store, ME, "k", b"{}"):
        with pytest.raises(ConflictError) as caught:
            async with answered_once(store, ME, "k", b"{}"):
                pass
        assert caught.value.retry_after is not None


@pytest.mark.parametrize("error", [None, ValueError()])
async def test_a_request_that_kept_no_answer_gives_its_key_up(store: IdempotencyStore, error: Exception | None) -> None:
    try:
        async with answered_once(store, ME, "k", b"{}"):
            if error:
                raise error
    except ValueError:
        pass
    async with answered_once(store, ME, "k", b"other") as repeat:
        assert repeat.answer is None


async def test_the_same_key_of_another_project_is_another_key(store: IdempotencyStore, database: Database) -> None:
    await add_project(database)
    await answered(store)
    async with answered_once(store, Caller(principal=Principal(project_id=OTHER)), "k", b"other") as repeat:
        assert repeat.answer is None


async def test_without_a_key_nothing_is_kept(store: IdempotencyStore) -> None:
    async with answered_once(store, ME, None, b"{}") as repeat:
        await repeat.keep(b"first")
    async with answered_once(store, ME, None, b"{}") as repeat:
        assert (None, False) == (repeat.answer, repeat.keeps)


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY_LENGTH + 1), "a\nb", "é"])
async def test_what_cannot_be_a_key_is_refused(store: IdempotencyStore, key: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        async with answered_once(store, ME, key, b"{}"):
            pass
    assert "Idempotency-Key" == caught.value.param


async def test_a_server_that_keeps_nothing_refuses_the_header() -> None:
    with pytest.raises(InvalidRequestError):
        async with answered_once(None, ME, "k", b"{}"):
            pass


async def failing(*_: object, **__: object) -> bool:
    raise ServiceUnavailableError("The database is busy.")


async def test_an_answer_that_could_not_be_kept_gives_its_key_up(
    store: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(store, "finish", failing)
        with pytest.raises(ServiceUnavailableError):
            await answered(store)
    await answered(store)


async def test_a_key_that_cannot_be_given_up_hides_nothing(
    store: IdempotencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "abandon", failing)
    with pytest.raises(ValueError, match="the real one"):
        async with answered_once(store, ME, "k", b"{}"):
            raise ValueError("the real one")
