"""The answer to a request for a chat completion as an ASGI response: whole, in chunks, or replayed."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from antiphon.protocol.path_header import IGNORED, path_header
from antiphon.protocol.requests import ReceivedRequest
from antiphon.server.disconnect import DisconnectSignal
from antiphon.server.event_stream import replay_events, write_events
from antiphon.service import Service
from antiphon.service.access import Caller
from antiphon.service.answer_memory import AnswerShare
from antiphon.service.answers import Answer
from antiphon.service.idempotent_requests import IdempotentRequest
from antiphon.telemetry.request_line import current_line

JSON: Final = "application/json"
REPLAYED: Final = {"idempotent-replayed": "true"}
"""The header of an answer that was generated before, for the same Idempotency-Key."""


def report_ignored(received: ReceivedRequest) -> dict[str, str]:
    """Add the ignored members of a request to its log line, and return the header that names them, if there are any."""
    headers, line = path_header(IGNORED, received.ignored), current_line()
    if headers and line is not None:
        line.add(ignored=headers[IGNORED])
    return headers


class CompletionAnswer:
    """Answers one request. All its work has ended when the call returns, also after a disconnect."""

    def __init__(
        self,
        service: Service,
        caller: Caller,
        received: ReceivedRequest,
        body: bytes,
        key: str | None,
        *,
        headers_after: float,
    ) -> None:
        """``received`` was decoded from ``body``; ``key`` is its Idempotency-Key.

        A stream begins after ``headers_after`` seconds even without a chunk.
        """
        self._service = service
        self._caller = caller
        self._request = received.request
        self._ignored = report_ignored(received)
        self._body = body
        self._key = key
        self._headers_after = headers_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises ``APIError`` before the answer begins, and ``ClientDisconnect``."""
        disconnect: DisconnectSignal = scope["state"]["disconnect"]
        await disconnect.run(self._respond(scope, receive, send))

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._service.idempotent_request(self._caller, self._key, self._body) as idempotent:
            if idempotent.kept_answer is None:
                with self._service.answer_memory.share() as share:
                    await self._generate(idempotent, share, scope, receive, send)
            elif self._request.stream:
                await replay_events(idempotent.kept_answer, send, self._headers(REPLAYED))
            else:
                replay = Response(idempotent.kept_answer, headers=self._headers(REPLAYED), media_type=JSON)
                await replay(scope, receive, send)

    def _headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {**headers, **self._ignored}

    async def _generate(
        self, idempotent: IdempotentRequest, share: AnswerShare, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async with self._service.answer(self._request, self._caller, share) as answer:
            if self._request.stream:
                await self._stream(answer, idempotent, share, send)
                return
            body = await answer.body()
            headers = self._headers(answer.headers())
        del answer  # frees the collected chunks while the client reads the body
        await idempotent.keep(body)
        await Response(body, headers=headers, media_type=JSON)(scope, receive, send)

    async def _stream(self, answer: Answer, idempotent: IdempotentRequest, share: AnswerShare, send: Send) -> None:
        await write_events(
            answer.stream(),
            send,
            lambda: self._headers(answer.headers()),
            headers_after=self._headers_after,
            encode=answer.encoder().encode,
            keep=idempotent.keep if idempotent.keeps_answer else None,
            count=share.grow,
        )
