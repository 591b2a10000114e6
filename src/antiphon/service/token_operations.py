"""Counts and converts tokens for a caller, within the request limits of its project and key. No model runs."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from antiphon.errors import ModelNotFoundError, ServiceUnavailableError
from antiphon.protocol import validation
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.token_requests import (
    DetokenizeAnswer,
    DetokenizeRequest,
    InputTokens,
    TemplateAnswer,
    TokenizeAnswer,
    TokenizeRequest,
    TokenPiece,
)
from antiphon.rendering.render_job import Tokens
from antiphon.service.access import Caller
from antiphon.store.limits import RateLimiter

logger = structlog.get_logger(__name__)


class ModelTokens(Protocol):
    """The tokens of one model; see :class:`antiphon.backends.local_tokens.LocalTokens`."""

    @property
    def max_model_len(self) -> int:
        """Tokens of a prompt and its answer together at most."""

    async def prompt_ids(self, request: CreateChatCompletion, request_id: str) -> list[int]:
        """Return the ids of the request's prompt."""

    async def tokenize(self, text: str, *, add_special: bool, parse_special: bool, texts: bool) -> Tokens:
        """Return the ids of a text."""

    async def detokenize(self, ids: list[int]) -> str:
        """Return the text of ids."""


class TokenOperations:
    """The use cases of the routes about tokens. Every method raises an ``APIError``."""

    def __init__(self, models: Mapping[str, ModelTokens], limiter: RateLimiter | None, ids: Callable[[], str]) -> None:
        self._models = dict(models)
        self._limiter = limiter
        self._ids = ids

    @property
    def default_model(self) -> str | None:
        """The model of a request that names none; None if several are served."""
        return next(iter(self._models)) if len(self._models) == 1 else None

    async def count(self, request: CreateChatCompletion, caller: Caller) -> InputTokens:
        """Return the number of tokens of the request's prompt."""
        return InputTokens(input_tokens=len(await self._prompt_ids(request, caller)))

    async def tokenize(self, request: TokenizeRequest | CreateChatCompletion, caller: Caller) -> TokenizeAnswer:
        """Return the ids of a text, or of the request's prompt."""
        model = self._model(request.model)
        if isinstance(request, CreateChatCompletion):
            ids = await self._prompt_ids(request, caller)
            return TokenizeAnswer(count=len(ids), max_model_len=model.max_model_len, tokens=[*ids])
        with_texts = bool(request.with_pieces or request.return_token_strs)
        async with self._admitted(caller):
            found = await model.tokenize(
                request.text,
                add_special=request.adds_special,
                parse_special=request.parse_special is not False,
                texts=with_texts,
            )
        pieces = [TokenPiece(id=i, piece=text) for i, text in zip(found.ids, found.texts, strict=False)]
        return TokenizeAnswer(
            count=len(found.ids),
            max_model_len=model.max_model_len,
            tokens=[*pieces] if request.with_pieces else [*found.ids],
            token_strs=found.texts if request.return_token_strs else None,
        )

    async def detokenize(self, request: DetokenizeRequest, caller: Caller) -> DetokenizeAnswer:
        """Return the text of ids."""
        model = self._model(request.model)
        async with self._admitted(caller):
            text = await model.detokenize(request.tokens)
        return DetokenizeAnswer(prompt=text, content=text)

    async def apply_template(self, request: CreateChatCompletion, caller: Caller) -> TemplateAnswer:
        """Return the text of the request's prompt, control tokens as their texts."""
        ids = await self._prompt_ids(request, caller)
        return TemplateAnswer(prompt=await self._model(request.model).detokenize(ids))

    async def _prompt_ids(self, request: CreateChatCompletion, caller: Caller) -> list[int]:
        model = self._model(request.model)
        async with self._admitted(caller):
            return await model.prompt_ids(request, self._ids())

    def _model(self, name: str | None) -> ModelTokens:
        name = self.default_model if name is None else name
        if name is None:
            raise validation.missing_required_parameter("model")
        if name not in self._models:
            message = f"The model `{validation.shorten(name)}` does not exist or you do not have access to it."
            raise ModelNotFoundError(message, param="model")
        return self._models[name]

    @asynccontextmanager
    async def _admitted(self, caller: Caller) -> AsyncGenerator[None, None]:
        """Charge one request without tokens for the block. Raises RateLimitError."""
        if self._limiter is None or not self._limiter.active:
            yield
            return
        admission = await self._limiter.admit(self._ids(), caller.principal, tokens=0, end_user=None)
        try:
            yield
        finally:
            try:
                await self._limiter.settle(admission, tokens=0)
            except ServiceUnavailableError as error:
                logger.warning("rate_limit_not_settled", error=error.message)
