from soak.clients import Plan, Soak
from soak.faults import Fault
from soak.report import Result, rates, rows
from soak.settling import Settled
from soak.tally import MAX_SHOWN
from soak.target import Held, Target
from tests.soak.answers import error, request, whole

HELD = Held(rss=1 << 20, sockets=1, descriptors=2, threads=3)


def result() -> Result:
    soak = Soak(Target(port=0, model="m"), Plan(seconds=1, clients=2))
    soak.judge(request(), whole())
    soak.judge(request(), error(429, retry_after="1"))
    soak.judge(request(), error(503, retry_after="1"))
    soak.faults.all += [Fault(kind="engine killed", began=1, recovered=3), Fault(kind="engine killed", began=5)]
    return Result(soak=soak, settled=Settled(HELD, HELD, {}), machine="a machine", seconds=1)


def test_table_has_requests_refusals_errors_faults_and_violations() -> None:
    found = dict(rows(result()))
    assert ("3", "1", "1") == (found["requests"], found["refusals (429)"], found["errors, 503 service_unavailable"])
    assert "2, of which 1 recovered, the slowest after 2.0 s" == found["faults, engine killed"]
    assert "**1**" == found["**invariants broken**"]


def test_run_with_a_violation_has_not_passed() -> None:
    assert not result().passed


def test_all_violations_are_counted_and_the_first_are_shown() -> None:
    tally = result().soak.tally
    tally.object_to(["x"] * 100)
    assert (101, MAX_SHOWN) == (tally.n_violations, len(tally.violations))


def test_rate_is_an_increase_over_time() -> None:
    assert ([10 / 60, 11 / 60], [2.0, 2.0]) == rates([(float(second), 2 * second) for second in range(12)])
