"""Tests of the order of service, step by step; test_core.py has random workloads."""

import pytest
from msgspec.structs import replace

from antiphon.engine.interface import ServiceTier
from antiphon.engine.worker.scheduler import GROWTH_HEADROOM
from tests.engine.engine_trial import request, text
from tests.engine.worker.scheduler_trial import Steps, drafting


def test_lone_prompt_gets_the_whole_step() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 150)))
    assert [{"a": 64}, {"a": 64}, {"a": 22}, {"a": 1}] == [steps.step() for _ in range(4)]


def test_long_prompt_never_stalls_the_streams() -> None:
    steps = Steps()
    streams = [steps.add(request(f"s{i}", text(i, 5))) for i in range(3)]
    steps.step()
    steps.add(request("long", text(9, 70)))
    assert [16, 16, 16, 16, 6] == [steps.step()["long"] for _ in range(5)]
    assert [6, 6, 6] == [stream.num_generated_tokens for stream in streams]


def test_several_prompts_share_a_step_in_order() -> None:
    steps = Steps()
    for i, length in enumerate((50, 10, 30)):
        steps.add(request(f"r{i}", text(i, length)))
    assert [{"r0": 50, "r1": 10, "r2": 4}, {"r0": 1, "r1": 1, "r2": 16}] == [steps.step(), steps.step()]


def test_prompts_with_logprobs_have_64_rows_of_a_step_together() -> None:
    steps = Steps(cells=1024, batched=200)
    for i, length in enumerate((40, 100, 20, 30)):
        steps.add(request(f"r{i}", text(i, length), prompt_logprobs=0 if i < 3 else None))
    assert {"r0": 40, "r1": 24, "r3": 30} == steps.step()


def test_no_more_than_max_num_seqs_sequences_run() -> None:
    steps = Steps(seqs=2)
    sequences = [steps.add(request(f"r{i}", text(i, 5))) for i in range(3)]
    steps.step()
    assert (["r0", "r1"], ["r2"]) == (steps.running, steps.waiting)
    steps.scheduler.finish(sequences[0])
    steps.step()
    assert (["r1", "r2"], []) == (steps.running, steps.waiting)


def test_step_with_fewer_tokens_than_sequences_fails_an_assertion() -> None:
    with pytest.raises(AssertionError):
        Steps(seqs=9, batched=8)


def test_chunk_is_sampled_only_if_it_ends_with_the_last_token() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 65)))
    (first,) = steps.scheduler.schedule()
    assert (0, 64, False) == (first.start, first.num_tokens, first.is_sampled)
    steps.scheduler.commit(first)
    (second,) = steps.scheduler.schedule()
    assert (64, 1, True) == (second.start, second.num_tokens, second.is_sampled)


def test_choices_are_served_request_by_request() -> None:
    steps = Steps()
    for name in ("a", "b"):
        steps.add(request(name, text(1, 5), n=2))
    assert ["a", "a", "b", "b"] == steps.waiting


def test_only_the_given_choices_are_queued() -> None:
    added = Steps().scheduler.add(request("a", text(1, 5), n=3), 0.0, [2, 0])
    assert [2, 0] == [sequence.index for sequence in added]


def test_finished_waiting_and_running_sequences_free_their_cells() -> None:
    steps = Steps(seqs=1)
    first = steps.add(request("a", text(1, 100)))
    second = steps.add(request("b", text(2, 100)))
    steps.step()
    steps.scheduler.finish(second)
    steps.scheduler.finish(first)
    assert ([], [], 0) == (steps.running, steps.waiting, steps.cache.pool.owned_cells)
    assert 64 == steps.cache.pool.evictable_cells == len(steps.memory.cells)


def test_prompt_without_free_cells_is_not_overtaken() -> None:
    steps = Steps(100)
    steps.add(request("a", text(1, 60)))
    steps.step()
    steps.add(request("large", text(2, 60)))
    steps.add(request("small", text(3, 5)))
    steps.step()
    assert (["a"], ["large", "small"]) == (steps.running, steps.waiting)


def test_full_step_admits_no_sequence() -> None:
    steps = Steps(seqs=4, batched=8)
    drafting(steps, "1", draft=7)
    steps.add(request("new", text(2, 5)))
    assert ({"1": 8}, ["new"]) == (steps.step(), steps.waiting)


@pytest.mark.parametrize(("length", "admitted"), [(46, True), (47, False)])
def test_admitted_sequence_leaves_growth_headroom_to_the_running_ones(length: int, *, admitted: bool) -> None:
    steps = Steps(cells=120)
    for name in ("1", "2"):
        steps.add(request(name, text(int(name), 20)))
    steps.step()
    steps.add(request("new", text(3, length)))
    carried = steps.step()
    assert 120 == 2 * 21 + 46 + 2 * GROWTH_HEADROOM
    assert admitted == ("new" in carried)


def test_higher_tier_waits_when_every_place_is_taken() -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(2, 20), tier="priority"))
    assert ({"flex": 64}, ["flex"], ["priority"]) == (steps.step(), steps.running, steps.waiting)


@pytest.mark.parametrize(("late", "first"), [(29.0, "default"), (31.0, "flex")])
def test_flex_request_is_overtaken_for_30_seconds_at_most(late: float, first: str) -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 5), tier="flex"), now=0.0)
    steps.add(request("default", text(2, 5)), now=late)
    steps.step()
    assert [first] == steps.running


@pytest.mark.parametrize(("late", "first"), [(59.0, "priority"), (61.0, "flex")])
def test_flex_request_is_overtaken_by_priority_for_60_seconds_at_most(late: float, first: str) -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 5), tier="flex"), now=0.0)
    steps.add(request("priority", text(2, 5), tier="priority"), now=late)
    steps.step()
    assert [first] == steps.running


def test_priority_request_is_served_before_older_ones() -> None:
    steps = Steps(seqs=1)
    tiers: list[ServiceTier] = ["flex", "default", "priority", "default"]
    asked = [replace(request(f"{i}-{tier}", text(i, 5)), service_tier=tier) for i, tier in enumerate(tiers)]
    sequences = [steps.add(each, now=i) for i, each in enumerate(asked)]
    order = []
    for _ in sequences:
        steps.step()
        order += steps.running
        steps.scheduler.finish(steps.scheduler.running[0])
    assert ["2-priority", "1-default", "3-default", "0-flex"] == order


@pytest.mark.parametrize("tier", ["priority", "default", "flex"])
def test_requests_of_one_tier_are_served_in_order_of_arrival(tier: ServiceTier) -> None:
    steps = Steps(seqs=2)
    for i in range(4):
        steps.add(request(f"r{i}", text(i, 5), tier=tier), now=5.0)
    steps.step()
    assert (["r0", "r1"], ["r2", "r3"]) == (steps.running, steps.waiting)


@pytest.mark.parametrize(
    ("expected", "priorities"),
    [(["1", "2", "0"], (1, -1, 0)), (["0", "1", "2"], (5, 5, 5)), (["0", "1", "2"], (31, 30, 2**62))],
)
def test_lower_priority_is_served_earlier_within_a_tier(expected: list[str], priorities: tuple[int, ...]) -> None:
    steps = Steps(seqs=1)
    for number, priority in enumerate(priorities):
        steps.add(replace(request(str(number), text(number, 5)), priority=priority), now=5.0)
    order = []
    for _ in priorities:
        steps.step()
        order += steps.running
        steps.scheduler.finish(steps.scheduler.running[0])
    assert expected == order


@pytest.mark.parametrize(("late", "first"), [(29.0, "urgent"), (31.0, "default")])
def test_priority_gains_30_seconds_at_most(late: float, first: str) -> None:
    steps = Steps(seqs=1)
    steps.add(request("default", text(1, 5)), now=0.0)
    steps.add(replace(request("urgent", text(2, 5)), priority=-1000), now=late)
    steps.step()
    assert [first] == steps.running


def test_flex_request_is_served_in_a_flood_of_other_tiers() -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 5), tier="flex"), now=0.0)
    served: list[str] = []
    for second in range(100):
        steps.add(request(f"p{second}", text(2 + second, 5), tier="priority"), now=float(second))
        steps.add(request(f"d{second}", text(100 + second, 5)), now=float(second))
        steps.step()
        served += steps.running
        steps.scheduler.finish(steps.scheduler.running[0])
    assert 60 + 30 == served.index("flex"), "after the priority requests of 60 seconds and the default ones of 30"


def test_begun_prompts_continue_in_the_order_of_their_tiers() -> None:
    steps = Steps(batched=64)
    steps.add(request("flex", text(1, 200), tier="flex"))
    assert {"flex": 64} == steps.step()
    steps.add(request("default", text(2, 100)))
    assert {"default": 64} == steps.step()
    steps.add(request("priority", text(3, 40), tier="priority"))
    assert {"priority": 40, "default": 24} == steps.step()
    assert {"priority": 1, "default": 12, "flex": 4} == steps.step()


def test_begun_prompt_yields_to_a_running_one_of_a_higher_tier() -> None:
    steps = Steps(batched=64, seqs=4)
    flex = steps.add(request("flex", text(1, 150), tier="flex"))
    steps.add(request("priority", text(2, 150), tier="priority"))
    assert [{"priority": 64}, {"priority": 64}] == [steps.step() for _ in range(2)]
    assert {"priority": 22, "flex": 42} == steps.step()
    assert {"priority": 1, "flex": 16} == steps.step()
    assert 58 == flex.num_computed_tokens


def test_unused_prefix_is_offloaded_while_others_generate() -> None:
    steps = Steps(host_cells=512)
    steps.cache.offloading.max_unused_cells = 0
    before = steps.add(request("before", text(1, 30)))
    steps.add(request("stream", text(2, 5)))
    steps.step()
    steps.scheduler.finish(before)
    assert 30 == steps.cache.pool.evictable_cells
    assert {"stream": 1} == steps.step()
    assert (0, 29) == (steps.cache.pool.evictable_cells, steps.cache.match_length("", text(1, 30)))


def test_step_of_prompts_alone_offloads_four_tokens_for_each_of_its_own() -> None:
    steps = Steps(batched=16, host_cells=512)
    steps.cache.offloading.max_unused_cells, steps.cache.offloading.copied_at_once = 0, 0
    before = steps.add(request("before", text(1, 100)))
    while not before.is_generating:
        steps.step()
    steps.scheduler.finish(before)
    held = steps.cache.pool.cached_cells
    steps.add(request("next", text(2, 40)))
    steps.step()
    assert held - 4 * 16 == steps.cache.pool.evictable_cells
