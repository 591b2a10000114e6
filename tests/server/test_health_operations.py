import pytest

from antiphon.server.health_operations import HEALTH_ROOTS, Liveness, Readiness, health_paths

PATHS = health_paths()


def test_every_answer_refers_to_a_described_type() -> None:
    schemas = {
        response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for path in PATHS.values()
        for response in path["get"]["responses"].values()
        if "content" in response
    }
    assert {root.__name__ for root in HEALTH_ROOTS} == schemas


@pytest.mark.parametrize(("path", "statuses"), [("/health", {"200", "500", "503"}), ("/health/live", {"200", "500"})])
def test_live_operation_has_no_503(path: str, statuses: set[str]) -> None:
    assert statuses == set(PATHS[path]["get"]["responses"])


def test_503_of_a_health_operation_has_retry_after() -> None:
    assert {"retry-after", "retry-after-ms"} < set(PATHS["/health/ready"]["get"]["responses"]["503"]["headers"])


def test_live_is_200_in_any_state_of_the_engine() -> None:
    assert ("live", "degraded") == (Liveness().status, Readiness(status="degraded").status)
