"""Which backends answer for a model: names to candidates."""

from collections.abc import Iterator, Mapping, Sequence

from antiphon.backends.backend import AnswerParts, Backend, BackendStatus, Call
from antiphon.errors import InvalidRequestError, ModelNotFoundError
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.validation import shorten
from antiphon.routing.abilities import missing_ability
from antiphon.routing.failover import first_available


class Router:
    """The served models, in the order they were given, each with the backends that may answer for it."""

    def __init__(self, models: Mapping[str, Sequence[Backend]]) -> None:
        """Take the backends of each model by its name, at least one, the preferred one first."""
        self._models = {name: tuple(backends) for name, backends in models.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __contains__(self, model: object) -> bool:
        return model in self._models

    def candidates(self, request: CreateChatCompletion) -> list[Backend]:
        """Return the backends that honour every field of the request, the preferred one first.

        Raises ``ModelNotFoundError``, and ``InvalidRequestError`` with the name of a field that no backend honours.
        """
        field = None
        able: list[Backend] = []
        for backend in self._backends(request.model):
            missing = missing_ability(request, backend.status().abilities)
            if missing is None:
                able.append(backend)
            field = field or missing
        if not able:
            message = f"Unsupported parameter: '{field}' is not supported with the model `{request.model}`."
            raise InvalidRequestError(message, param=field, code="unsupported_parameter")
        return able

    def stream(self, call: Call) -> AnswerParts:
        """Answer by the first candidate that is available. Raises as :meth:`candidates` does."""
        return first_available(self.candidates(call.request), call)

    def status(self, model: str) -> BackendStatus:
        """Return the status of the first backend that is ready, else of the preferred one.

        Raises ``ModelNotFoundError``.
        """
        statuses = [backend.status() for backend in self._backends(model)]
        return next((status for status in statuses if status.ready), statuses[0])

    @property
    def ready(self) -> bool:
        """Whether a request to any of the models would be taken."""
        return all(self.status(model).ready for model in self._models)

    async def start(self) -> None:
        """Make all backends ready, one after the other. Raises ``ServiceUnavailableError`` when one cannot be."""
        for backend in self._all():
            await backend.start()

    async def close(self) -> None:
        """Release all backends, even when one fails."""
        errors = [error for backend in self._all() if (error := await _close(backend))]
        if errors:
            raise errors[0]

    def _backends(self, model: str) -> tuple[Backend, ...]:
        found = self._models.get(model)
        if found is None:
            message = f"The model `{shorten(model)}` does not exist or you do not have access to it."
            raise ModelNotFoundError(message, param="model")
        return found

    def _all(self) -> Iterator[Backend]:
        """Give each backend once, whatever number of models it answers for."""
        return iter({id(backend): backend for backends in self._models.values() for backend in backends}.values())


async def _close(backend: Backend) -> Exception | None:
    try:
        await backend.close()
    except Exception as error:  # noqa: BLE001 (raised again once the others are closed)
        return error
    return None
