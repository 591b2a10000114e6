"""Tests of preemption: the sequence served last gives up its cells."""

from antiphon.engine.interface import ServiceTier
from tests.engine.engine_trial import request, text
from tests.engine.worker.scheduler_trial import Steps


def test_lowest_tier_is_preempted_first() -> None:
    steps = Steps(60, seqs=3)
    tiers: list[ServiceTier] = ["flex", "priority", "default"]
    for i, tier in enumerate(tiers):
        steps.add(request(tier, text(i, 10), tier=tier, max_tokens=90))
    lost: list[str] = []
    while len(lost) < 2:
        steps.step()
        lost += [name for name in steps.waiting if name not in lost]
    assert (["flex", "default"], ["priority"]) == (lost, steps.running)


def test_preempted_request_keeps_its_order_of_service() -> None:
    steps = Steps(40)
    steps.add(request("priority", text(1, 10), tier="priority", max_tokens=90), now=0.0)
    steps.add(request("flex", text(2, 10), tier="flex", max_tokens=90), now=0.0)
    while not steps.scheduler.preemptions:
        steps.step()
    steps.add(request("soon", text(3, 30)), now=29.0)
    steps.add(request("late", text(4, 30)), now=31.0)
    assert ["soon", "flex", "late"] == steps.waiting


def test_sequence_served_last_is_preempted_and_readmitted_first() -> None:
    steps = Steps(40)
    steps.add(request("a", text(1, 10)))
    victim = steps.add(request("b", text(2, 10)))
    while not steps.scheduler.preemptions:
        steps.step()
    steps.add(request("c", text(3, 10)))
    assert (["a"], ["b", "c"]) == (steps.running, steps.waiting)
    assert (0, 0) == (victim.num_computed_tokens, victim.num_cached_tokens)
    tokens = list(victim.tokens)
    steps.scheduler.finish(steps.scheduler.running[0])
    steps.step()
    assert tokens == victim.tokens[: len(tokens)]
    assert victim.num_computed_tokens >= len(tokens)
    assert 0 == victim.num_cached_tokens, "the first start's number, which the readmission keeps"


def test_lower_tier_does_not_preempt_a_higher_one() -> None:
    steps = Steps(40)
    steps.add(request("flex", text(1, 10), tier="flex"), now=0.0)
    steps.add(request("priority", text(2, 10), tier="priority"), now=1.0)
    while not steps.scheduler.preemptions:
        steps.step()
    assert (["priority"], ["flex"]) == (steps.running, steps.waiting)


def test_each_preemption_is_counted_once() -> None:
    steps = Steps(40)
    for name in ("a", "b"):
        steps.add(request(name, text(ord(name), 10)))
    steps.step()
    while not steps.waiting:
        steps.step()
    assert (["a"], ["b"], 1) == (steps.running, steps.waiting, steps.scheduler.preemptions)
    steps.scheduler.finish(steps.scheduler.running[0])
    steps.add(request("c", text(3, 10)))
    while steps.scheduler.preemptions == 1:
        steps.step()
    assert 2 == steps.scheduler.preemptions


def test_last_of_three_sequences_is_preempted_first() -> None:
    steps = Steps(60)
    for name in "abc":
        steps.add(request(name, text(ord(name), 10), max_tokens=90))
    steps.step()
    while not steps.waiting:
        steps.step()
    assert (["a", "b"], ["c"]) == (steps.running, steps.waiting)


def test_last_sequence_preempts_itself_when_no_cells_are_left() -> None:
    steps = Steps(41)
    for name in "ab":
        steps.add(request(name, text(ord(name), 10), max_tokens=90))
    steps.step()
    while not steps.waiting:
        steps.step()
    assert (["a"], ["b"], 1) == (steps.running, steps.waiting, steps.scheduler.preemptions)
