import pytest
from starlette.types import Receive, Scope, Send

from antiphon.server.request_counts import RequestCounts
from antiphon.telemetry.catalogue import HTTP_REQUESTS
from antiphon.telemetry.metrics import Metrics
from tests.server.asgi import Exchange

pytestmark = pytest.mark.anyio


def endpoint() -> None:
    """Stand for a handler."""


async def counted(*, status: int | None = 200, method: str = "GET", routed: bool = True) -> list[tuple[str, ...]]:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if routed:
            scope["endpoint"] = endpoint
        if status is None:
            raise ConnectionError
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    metrics = Metrics()
    counts = RequestCounts(app, metrics=metrics, paths={endpoint: "/things/{thing}"})
    if status is None:
        with pytest.raises(ConnectionError):
            await Exchange().run(counts, method=method, path="/things/7")
    else:
        await Exchange().run(counts, method=method, path="/things/7")
    return [labels for metric, labels in metrics._counts if metric == HTTP_REQUESTS.name]


async def test_a_request_is_counted_by_the_paths_pattern_the_method_and_the_status() -> None:
    assert [("/things/{thing}", "GET", "404")] == await counted(status=404)


async def test_unknown_paths_and_methods_add_no_labels() -> None:
    assert [("other", "other", "200")] == await counted(method="BREW", routed=False)


async def test_a_request_without_an_answer_is_counted_too() -> None:
    assert [("/things/{thing}", "GET", "none")] == await counted(status=None)


async def test_other_scopes_pass_uncounted() -> None:
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    exchange, metrics = Exchange(), Metrics()
    await RequestCounts(app, metrics=metrics, paths={})({"type": "lifespan"}, exchange.receive, exchange.send)
    assert (["lifespan"], []) == (seen, [metric for metric, _ in metrics._counts if metric == HTTP_REQUESTS.name])
