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
def test_what_answers_for_as_long_as_the_process_does_is_never_503(path: str, statuses: set[str]) -> None:
    assert statuses == set(PATHS[path]["get"]["responses"])


def test_what_is_not_taken_says_when_to_ask_again() -> None:
    assert {"retry-after", "retry-after-ms"} < set(PATHS["/health/ready"]["get"]["responses"]["503"]["headers"])


def test_a_process_that_answers_is_live_whatever_it_takes() -> None:
    assert ("live", "degraded") == (Liveness().status, Readiness(status="degraded").status)
