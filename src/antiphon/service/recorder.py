"""Stores a request with its answer, complete or partial, for ``store: true``."""

from msgspec import UNSET

from antiphon.assembly.collector import Collector
from antiphon.backends.backend import Call
from antiphon.errors import DatabaseUnavailableError
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.responses import ChatCompletionChunk
from antiphon.protocol.stored import StoredCompletion, plain_json, stored_messages
from antiphon.service.access import Caller
from antiphon.store.completions import CompletionStore
from antiphon.telemetry.request_line import Outcome


class Recorder:
    """Stores one answer."""

    def __init__(self, store: CompletionStore, call: Call, caller: Caller, collector: Collector) -> None:
        """``collector`` must have the answer's chunks when :meth:`save` is called."""
        self._store = store
        self._call = call
        self._caller = caller
        self.collector = collector
        self.saved = False
        """Whether :meth:`save` was called."""

    @property
    def empty(self) -> bool:
        """Whether there is no chunk to store."""
        return self.collector.first is None

    async def save(self, outcome: Outcome) -> None:
        """Store and commit the chunks so far. Raises DatabaseUnavailableError."""
        first = self.collector.first
        assert first is not None, "no chunk came"
        self.saved = True
        request, identifier = self._call.request, self._call.completion_id
        try:
            await self._store.save(
                self._caller.project,
                self._stored(request, first),
                stored_messages(identifier, request.messages),
                status=outcome,
            )
        except DatabaseUnavailableError as error:
            message = f"The answer was generated, but not stored. {error.message}"
            raise DatabaseUnavailableError(message, retry_after=error.retry_after) from error

    def _stored(self, request: CreateChatCompletion, first: ChatCompletionChunk) -> StoredCompletion:
        return StoredCompletion(
            id=self._call.completion_id,
            created=self._call.created,
            model=first.model,
            request_id=self._caller.request_id,
            choices=self.collector.stored_choices(),
            usage=self.collector.usage,
            seed=request.chosen_seed,
            temperature=_or_default(request.temperature, 1.0),
            top_p=_or_default(request.top_p, 1.0),
            presence_penalty=_or_default(request.presence_penalty, 0.0),
            frequency_penalty=_or_default(request.frequency_penalty, 0.0),
            system_fingerprint=first.system_fingerprint,
            service_tier=first.service_tier,
            input_user=request.user,
            tools=plain_json(request.tools),
            tool_choice=plain_json(request.tool_choice),
            response_format=plain_json(request.response_format),
            metadata=dict(request.metadata or {}),
            safety_identifier=UNSET if request.safety_identifier is None else request.safety_identifier,
        )


def _or_default(value: float | None, default: float) -> float:
    return default if value is None else value
