"""The models that ``antiphon chat`` talks with: one on a server, or one in this process."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, Protocol

import httpx2
import msgspec
from msgspec import Struct

from antiphon.console.command_error import CommandError
from antiphon.errors import APIError
from antiphon.protocol.requests import decode_request
from antiphon.protocol.sse import SSEDecoder
from antiphon.service import Service


class ChatMessage(Struct, frozen=True):
    """One message of the conversation, as in a request."""

    role: Literal["system", "user", "assistant"]
    content: str


class Piece(Struct, frozen=True):
    """The text of one chunk."""

    content: str = ""
    reasoning: str = ""


class Model(Protocol):
    """A model that answers messages."""

    @property
    def name(self) -> str:
        """The model's name in requests."""

    def answer(self, messages: list[ChatMessage]) -> AsyncGenerator[Piece, None]:
        """Stream the answer to the last message. Raises :class:`CommandError`; closing the stream aborts it."""


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(Struct):
    delta: _Delta


class _Error(Struct):
    message: str = "unknown error"


class _Chunk(Struct):
    choices: list[_Choice] = []
    error: _Error | None = None


class _Listed(Struct):
    id: str


class _ModelList(Struct):
    data: list[_Listed]


class RemoteModel(Struct, frozen=True):
    """A model on any server of the Chat Completions API."""

    client: httpx2.AsyncClient
    name: str

    async def answer(self, messages: list[ChatMessage]) -> AsyncGenerator[Piece, None]:
        """Stream the answer from ``POST /v1/chat/completions``."""
        body = msgspec.json.encode({"model": self.name, "messages": messages, "stream": True})
        headers = {"content-type": "application/json"}
        try:
            async with self.client.stream("POST", "v1/chat/completions", content=body, headers=headers) as response:
                if response.is_error:
                    raise CommandError(_error_message(await response.aread()))
                async for piece in _pieces(response):
                    yield piece
        except httpx2.HTTPError as error:
            raise _unreachable(self.client, error) from error


class LocalModel(Struct, frozen=True):
    """A model whose engine this process started."""

    service: Service
    name: str

    async def answer(self, messages: list[ChatMessage]) -> AsyncGenerator[Piece, None]:
        """Stream the answer from the service, as the HTTP routes do."""
        body = msgspec.json.encode({"model": self.name, "messages": messages, "stream": True})
        try:
            async with aclosing(self.service.stream(decode_request(body))) as chunks:
                async for chunk in chunks:
                    for choice in chunk.choices:
                        yield Piece(choice.delta.content or "", choice.delta.reasoning_content or "")
        except APIError as error:
            raise CommandError(error.message) from error


async def served_models(client: httpx2.AsyncClient) -> list[str]:
    """Return the names of the models that a server serves. Raises :class:`CommandError`."""
    try:
        response = await client.get("v1/models")
    except httpx2.HTTPError as error:
        raise _unreachable(client, error) from error
    if response.is_error:
        raise CommandError(_error_message(response.content))
    try:
        return [model.id for model in msgspec.json.decode(response.content, type=_ModelList).data]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CommandError(f"{client.base_url} does not speak the Chat Completions API.") from error


def open_client(url: str, api_key: str | None = None) -> httpx2.AsyncClient:
    """Open a client for a server's address, with or without ``/v1`` at its end. Answers have no time limit.

    Raises :class:`CommandError` for an invalid address.
    """
    base = url.rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        raise CommandError(f"{url} is not an address.", "Write --url http://127.0.0.1:8000")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx2.AsyncClient(base_url=base, headers=headers, timeout=httpx2.Timeout(None, connect=10))


async def _pieces(response: httpx2.Response) -> AsyncGenerator[Piece, None]:
    decoder = SSEDecoder()
    async for data in response.aiter_bytes():
        for payload in decoder.feed(data):
            if payload == "[DONE]":
                return
            chunk = _chunk(payload)
            if chunk.error is not None:
                raise CommandError(chunk.error.message)
            for choice in chunk.choices:
                yield Piece(choice.delta.content or "", choice.delta.reasoning_content or "")
    raise CommandError("The server ended the answer before it was complete.")


def _chunk(payload: str) -> _Chunk:
    try:
        return msgspec.json.decode(payload, type=_Chunk)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CommandError("The server sent an invalid chunk.") from error


def _error_message(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body, type=_Chunk).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = None
    return error.message if error else f"The server answered: {body[:200].decode(errors='replace')}"


def _unreachable(client: httpx2.AsyncClient, error: httpx2.HTTPError) -> CommandError:
    reason = str(error) or type(error).__name__
    return CommandError(f"{client.base_url} cannot be reached: {reason}", "Is the server running? antiphon serve")
