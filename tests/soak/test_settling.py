import pytest
from starlette.responses import Response

from soak.settling import MEMORY, POOL, Settled, gauges, problems
from soak.target import Held, Target
from tests.server.conftest import running

BEFORE = Held(rss=1000, sockets=5, descriptors=40, threads=20)
NOTHING = {"antiphon:num_requests_running": 0.0}


def test_released_resources_are_no_problem() -> None:
    assert [] == problems(Settled(BEFORE, BEFORE, NOTHING))


@pytest.mark.parametrize(
    ("expected", "after"),
    [
        ("sockets", Held(1000, 6, 41, 20)),
        ("descriptors", Held(1000, 5, 41 + POOL, 20)),
        ("threads", Held(1000, 5, 40, 21 + POOL)),
        ("memory", Held(1001 + MEMORY, 5, 40, 20)),
    ],
)
def test_resource_that_was_not_released_is_a_problem(expected: str, after: Held) -> None:
    (problem,) = problems(Settled(BEFORE, after, NOTHING))
    assert expected in problem


def test_request_in_the_engine_is_a_problem() -> None:
    assert ["left: antiphon:num_requests_running is 2"] == problems(Settled(BEFORE, BEFORE, {**NOTHING, **RUNNING}))


RUNNING = {"antiphon:num_requests_running": 2.0}
METRICS = b"""\
# TYPE antiphon:num_requests_running gauge
antiphon:num_requests_running{model_name="a"} 2.0
antiphon:num_requests_running{model_name="b"} 1.0
antiphon:num_requests_waiting 0.0
"""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("expected", "status"),
    [({"antiphon:num_requests_running": 3.0, "antiphon:num_requests_waiting": 0.0}, 200), ({}, 404)],
)
async def test_gauges_are_empty_without_a_metrics_page(expected: dict[str, float], status: int) -> None:
    with running(Response(METRICS, status)) as port:
        assert expected == await gauges(Target(port=port, model="m"))
