"""Which backend answers for a model: names to backends."""

from collections.abc import Iterator, Mapping

from antiphon.backends.backend import Backend
from antiphon.errors import ModelNotFoundError
from antiphon.protocol.validation import shorten


class Router:
    """The served models, in the order they were given."""

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = dict(backends)

    def __iter__(self) -> Iterator[str]:
        return iter(self._backends)

    def __contains__(self, model: object) -> bool:
        return model in self._backends

    def backend(self, model: str) -> Backend:
        """Return who answers for ``model``. Raises ``ModelNotFoundError``."""
        found = self._backends.get(model)
        if found is None:
            message = f"The model `{shorten(model)}` does not exist or you do not have access to it."
            raise ModelNotFoundError(message, param="model")
        return found

    @property
    def ready(self) -> bool:
        """Whether a request to any of the models would be taken."""
        return all(backend.ready for backend in self._backends.values())

    async def start(self) -> None:
        """Make them ready, one after the other. Raises ``ServiceUnavailableError`` when one cannot be."""
        for backend in self._backends.values():
            await backend.start()

    async def close(self) -> None:
        """Release them all, even when one fails."""
        errors = [error for backend in self._backends.values() if (error := await _close(backend))]
        if errors:
            raise errors[0]


async def _close(backend: Backend) -> Exception | None:
    try:
        await backend.close()
    except Exception as error:  # noqa: BLE001 (raised again once the others are closed)
        return error
    return None
