"""Maps the name of a model to the backends that may answer for it."""

from collections.abc import Iterator, Mapping, Sequence

from antiphon.backends.backend import AnswerParts, Backend, BackendStatus, Call
from antiphon.errors import InvalidRequestError, ModelNotFoundError
from antiphon.protocol.requests import CreateChatCompletion
from antiphon.protocol.validation import shorten
from antiphon.routing.abilities import missing_ability
from antiphon.routing.failover import first_available


class Router:
    """The served models in the order of the options, each with the backends that may answer for it."""

    def __init__(self, models: Mapping[str, Sequence[Backend]]) -> None:
        """Each name has at least one backend, the preferred one first."""
        self._models = {name: tuple(backends) for name, backends in models.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __contains__(self, model: object) -> bool:
        return model in self._models

    def candidates(self, request: CreateChatCompletion) -> list[Backend]:
        """Return the backends that honour every field of the request, the preferred one first.

        Raises ``ModelNotFoundError``, or ``InvalidRequestError`` that names a field which no backend honours.
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
        """Stream the answer of the first available candidate. Raises as :meth:`candidates` does."""
        return first_available(self.candidates(call.request), call)

    def status(self, model: str) -> BackendStatus:
        """Return the status of the first backend that is ready, else of the preferred backend.

        Raises ``ModelNotFoundError``.
        """
        statuses = [backend.status() for backend in self._backends(model)]
        return next((status for status in statuses if status.ready), statuses[0])

    @property
    def ready(self) -> bool:
        """Whether every model accepts requests."""
        return all(self.status(model).ready for model in self._models)

    async def start(self) -> None:
        """Start all backends, one after the other. Raises ``ServiceUnavailableError`` when one cannot start."""
        for backend in self._all_backends():
            await backend.start()

    async def close(self) -> None:
        """Close all backends, even when one fails; then raise the first error."""
        errors = [error for backend in self._all_backends() if (error := await _close(backend))]
        if errors:
            raise errors[0]

    def _backends(self, model: str) -> tuple[Backend, ...]:
        found = self._models.get(model)
        if found is None:
            message = f"The model `{shorten(model)}` does not exist or you do not have access to it."
            raise ModelNotFoundError(message, param="model")
        return found

    def _all_backends(self) -> Iterator[Backend]:
        """Return each backend once, even if it answers for several models."""
        return iter({id(backend): backend for backends in self._models.values() for backend in backends}.values())


async def _close(backend: Backend) -> Exception | None:
    try:
        await backend.close()
    except Exception as error:  # noqa: BLE001 (Router.close raises it after it has closed the others)
        return error
    return None
