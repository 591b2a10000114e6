"""The health operations in the OpenAPI document."""

from typing import Any, Final, Literal

from msgspec import Struct

from antiphon.server.openapi_parts import errors, header_references, json_response
from antiphon.service.health import Health, Status


class Liveness(Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["live"] = "live"


class Readiness(Struct, frozen=True, kw_only=True):
    """The server accepts every request (`ready`), some (`degraded`), or none (`live`)."""

    status: Status


HEALTH_ROOTS: Final[tuple[type[Struct], ...]] = (Health, Liveness, Readiness)

_CODES: Final = "Answers 200 while requests are accepted (`ready`, `degraded`), and 503 while none is (`live`)."


def health_paths() -> dict[str, dict[str, Any]]:
    """Return the operations by path and method."""
    return {
        "/health": {"get": _health()},
        "/health/live": {"get": _live()},
        "/health/ready": {"get": _ready()},
    }


def _health() -> dict[str, Any]:
    return _operation(
        "health",
        "Get the health of the server",
        f"The state of the server, of each model and of the database, with reasons. {_CODES}",
        {"200": json_response("At least one model answers.", Health), "503": _unavailable(Health)},
    )


def _live() -> dict[str, Any]:
    return _operation(
        "live",
        "Check that the process answers",
        "Always answers 200. If there is no answer, restart the server.",
        {"200": json_response("The process answers.", Liveness)},
    )


def _ready() -> dict[str, Any]:
    return _operation(
        "ready",
        "Check that the server accepts requests",
        f"For load balancers. {_CODES} While one of two models is down, the other one still answers.",
        {"200": json_response("At least one model answers.", Readiness), "503": _unavailable(Readiness)},
    )


def _operation(name: str, summary: str, description: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["Server"],
        "operationId": name,
        "summary": summary,
        "description": description,
        "security": [{}],
        "responses": {**responses, **errors(500)},
    }


def _unavailable(struct: type[Struct]) -> dict[str, Any]:
    description = "No request is accepted now: engines restart, the server stops, or the database is needed and fails."
    answer = json_response(description, struct)
    return {**answer, "headers": header_references("retry-after", "retry-after-ms")}
