"""Requests that are sent twice: under one ``Idempotency-Key`` the first answer is given again."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import structlog

from antiphon.errors import RETRY_AFTER, ConflictError, InvalidRequestError, ServiceUnavailableError
from antiphon.service.access import Caller
from antiphon.store.idempotency import Done, IdempotencyStore, InProgress, Mismatch, New

logger = structlog.get_logger(__name__)

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
"""Printable ASCII characters."""

_NEVER = {"x-should-retry": "false"}
"""Read by the official SDKs, which repeat after a 409."""


class Repeat:
    """What is to be done with one request."""

    def __init__(self, store: IdempotencyStore | None, beginning: New | Done | None) -> None:
        self._store = store
        self._new = beginning if isinstance(beginning, New) else None
        self.answer = beginning.answer if isinstance(beginning, Done) else None
        """The body of the first answer, when there was one."""
        self.keeps = self._new is not None
        """Whether the answer will be wanted by :meth:`keep`."""

    async def keep(self, answer: bytes) -> None:
        """Keep the whole body of the answer before its end is sent. Raises ServiceUnavailableError."""
        if self._store is not None and self._new is not None:
            await self._store.finish(self._new, status=200, answer=answer)
            self._new = None

    async def abandon(self) -> None:
        """Give the key up unless an answer was kept. Where that fails it becomes free when its lease ends."""
        if self._store is not None and self._new is not None:
            try:
                await self._store.abandon(self._new)
            except ServiceUnavailableError as error:
                logger.warning("idempotency_key_not_given_up", error=error.message)


def answered_once(
    store: IdempotencyStore | None, caller: Caller, key: str | None, body: bytes
) -> AbstractAsyncContextManager[Repeat]:
    """Say what is to be done with the request of this body; a block that ends without an answer gives the key up.

    Raises ConflictError when the key was used with another body or is being answered, InvalidRequestError when it
    cannot be a key or nothing is kept here.
    """
    return nullcontext(Repeat(None, None)) if key is None else _answered_once(store, caller, key, body)


@asynccontextmanager
async def _answered_once(
    store: IdempotencyStore | None, caller: Caller, key: str, body: bytes
) -> AsyncGenerator[Repeat, None]:
    if store is None:
        raise InvalidRequestError(f"{HEADER} is not supported: this server keeps nothing.", param=HEADER)
    repeat = Repeat(store, await _begin(store, caller, key, body))
    try:
        yield repeat
    finally:
        await repeat.abandon()


async def _begin(store: IdempotencyStore, caller: Caller, key: str, body: bytes) -> New | Done:
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        message = f"{HEADER} must have 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        raise InvalidRequestError(message, param=HEADER, code="invalid_value")
    beginning = await store.begin(caller.project, key, hashlib.sha256(body).hexdigest())
    if isinstance(beginning, Mismatch):
        message = f"This {HEADER} was used for a request with another body."
        raise ConflictError(message, param=HEADER, headers=_NEVER)
    if isinstance(beginning, InProgress):
        message = f"The first request with this {HEADER} is still being answered."
        raise ConflictError(message, param=HEADER, retry_after=RETRY_AFTER)
    return beginning
