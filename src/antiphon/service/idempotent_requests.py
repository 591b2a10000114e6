"""Idempotent requests: a retry with the same ``Idempotency-Key`` gets the first answer again."""

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
"""Printable ASCII characters of a key."""

_NO_RETRY = {"x-should-retry": "false"}
"""The header by which the official SDKs do not retry after a 409."""


class IdempotentRequest:
    """One request: it has a kept answer, or its answer is to be kept, or neither."""

    def __init__(self, store: IdempotencyStore | None, beginning: New | Done | None) -> None:
        self._store = store
        self._new = beginning if isinstance(beginning, New) else None
        self.kept_answer = beginning.answer if isinstance(beginning, Done) else None
        """The body of the first answer, or None."""
        self.keeps_answer = self._new is not None
        """Whether :meth:`keep` stores the answer."""

    async def keep(self, answer: bytes) -> None:
        """Store the body of the answer, if the request has a key. Raises ServiceUnavailableError.

        Call it before the end of the answer is sent.
        """
        if self._store is not None and self._new is not None:
            await self._store.finish(self._new, status=200, answer=answer)
            self._new = None

    async def abandon(self) -> None:
        """Release the key unless an answer was kept. If that fails, its lease expires later."""
        if self._store is not None and self._new is not None:
            try:
                await self._store.abandon(self._new)
            except ServiceUnavailableError as error:
                logger.warning("idempotency_key_not_given_up", error=error.message)


def idempotent_request(
    store: IdempotencyStore | None, caller: Caller, key: str | None, body: bytes
) -> AbstractAsyncContextManager[IdempotentRequest]:
    """Open the idempotent request with this key and body; a block that keeps no answer releases the key.

    Raises ConflictError when the key was used with another body or its first request is being answered, and
    InvalidRequestError when the key is invalid or the server has no database.
    """
    return nullcontext(IdempotentRequest(None, None)) if key is None else _idempotent_request(store, caller, key, body)


@asynccontextmanager
async def _idempotent_request(
    store: IdempotencyStore | None, caller: Caller, key: str, body: bytes
) -> AsyncGenerator[IdempotentRequest, None]:
    if store is None:
        raise InvalidRequestError(f"{HEADER} is not supported: this server has no database.", param=HEADER)
    request = IdempotentRequest(store, await _begin(store, caller, key, body))
    try:
        yield request
    finally:
        await request.abandon()


async def _begin(store: IdempotencyStore, caller: Caller, key: str, body: bytes) -> New | Done:
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        message = f"{HEADER} must have 1 to {MAX_KEY_LENGTH} printable ASCII characters."
        raise InvalidRequestError(message, param=HEADER, code="invalid_value")
    beginning = await store.begin(caller.project, key, hashlib.sha256(body).hexdigest())
    if isinstance(beginning, Mismatch):
        message = f"This {HEADER} was used for a request with another body."
        raise ConflictError(message, param=HEADER, headers=_NO_RETRY)
    if isinstance(beginning, InProgress):
        message = f"The first request with this {HEADER} is still being answered."
        raise ConflictError(message, param=HEADER, retry_after=RETRY_AFTER)
    return beginning
