"""Tests of short prompts that go before long ones."""

import pytest

from antiphon.engine.worker.scheduler import GROWTH_HEADROOM
from tests.engine.engine_trial import request, text
from tests.engine.worker.scheduler_trial import Steps


def test_short_prompt_overtakes_a_long_one() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    steps.add(request("short", text(2, 8)))
    assert [{"short": 8, "long": 56}, {"short": 1, "long": 16}] == [steps.step(), steps.step()]


def test_short_prompts_get_half_of_a_step() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    for i in range(6):
        steps.add(request(f"s{i}", text(i + 2, 8)))
    assert {"s0": 8, "s1": 8, "s2": 8, "s3": 8, "long": 32} == steps.step()


def test_turn_whose_past_is_cached_is_a_short_prompt() -> None:
    steps = Steps()
    before = steps.add(request("before", text(2, 60)))
    steps.step()
    steps.scheduler.finish(before)
    steps.add(request("long", text(1, 150)))
    steps.add(request("turn", [*text(2, 60), *text(3, 8)]))
    assert {"turn": 8, "long": 56} == steps.step()


def test_prompt_of_more_than_half_a_chunk_does_not_overtake() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    steps.add(request("other", text(2, 9)))
    assert {"long": 64} == steps.step()


def test_short_prompt_of_a_lower_tier_does_not_overtake() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    steps.add(request("short", text(2, 8), tier="flex"))
    assert {"long": 64} == steps.step()


def test_short_prompt_with_logprobs_does_not_overtake() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    steps.add(request("short", text(2, 8), prompt_logprobs=0))
    assert {"long": 64} == steps.step()


def test_short_prompts_leave_the_last_place_to_the_first_waiting_sequence() -> None:
    steps = Steps(seqs=2)
    steps.add(request("long", text(1, 150)))
    for i in range(2):
        steps.add(request(f"s{i}", text(i + 2, 8)))
    assert {"s0": 8, "long": 56} == steps.step()


def test_sequence_that_waits_for_cells_is_not_overtaken() -> None:
    steps = Steps(cells=128)
    steps.add(request("running", text(1, 40), max_tokens=60))
    steps.step()
    steps.add(request("long", text(2, 100)))
    steps.step()
    steps.add(request("short", text(3, 4)))
    assert ({"running": 1}, ["long", "short"]) == (steps.step(), steps.waiting)


def test_long_prompt_continues_in_a_flood_of_short_ones() -> None:
    steps = Steps(seqs=4)
    long = steps.add(request("long", text(1, 150)))
    for i in range(12):
        short = steps.add(request(f"s{i}", text(i + 2, 8)))
        steps.step()
        if short.lease is not None:
            steps.scheduler.finish(short)
    assert long.is_generating


def test_short_prompts_leave_the_long_one_its_cells() -> None:
    steps = Steps(cells=256, seqs=8)
    long = steps.add(request("long", text(1, 200)))
    for i in range(12):
        steps.add(request(f"s{i}", text(i + 2, 8)))
        carried = steps.step()
        assert long.is_generating or carried["long"]


def test_short_prompt_does_not_overtake_a_higher_tier() -> None:
    steps = Steps()
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(2, 60), tier="priority"), now=40.0)
    steps.add(request("short", text(3, 8)), now=41.0)
    assert "short" not in steps.step()


@pytest.mark.parametrize(("cells", "carried"), [(140, {"short": 8, "long": 56}), (139, {"long": 64})])
def test_short_prompt_overtakes_if_growth_headroom_is_left(cells: int, carried: dict[str, int]) -> None:
    steps = Steps(cells)
    steps.add(request("long", text(1, 100)))
    steps.add(request("short", text(2, 8)))
    assert carried == steps.step()
    assert 140 == 100 + 8 + 2 * GROWTH_HEADROOM


@pytest.mark.parametrize(("cells", "carried"), [(164, {"s0": 8, "s1": 8, "long": 48}), (163, {"s0": 8, "long": 56})])
def test_short_prompts_overtake_while_growth_headroom_is_left_for_all(cells: int, carried: dict[str, int]) -> None:
    steps = Steps(cells)
    steps.add(request("long", text(1, 100)))
    for i in range(2):
        steps.add(request(f"s{i}", text(i + 2, 8)))
    assert carried == steps.step()
    assert 164 == 100 + 2 * 8 + 3 * GROWTH_HEADROOM


def test_short_prompt_does_not_overtake_a_higher_tier_after_a_lower_one() -> None:
    steps = Steps()
    steps.add(request("flex", text(1, 150), tier="flex"), now=0.0)
    steps.add(request("priority", text(2, 60), tier="priority"), now=70.0)
    steps.add(request("short", text(3, 8)), now=45.0)
    assert ["flex", "priority", "short"] == steps.waiting
    assert {"flex": 64} == steps.step()


def test_prompt_of_half_a_step_is_not_overtaken() -> None:
    steps = Steps()
    for name, length in (("half", 32), ("long", 40), ("short", 8)):
        steps.add(request(name, text(length, length)))
    assert {"half": 32, "long": 32} == steps.step()


def test_last_place_is_left_to_a_sequence_that_waits_for_a_prefix() -> None:
    steps = Steps(seqs=2)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(1, 150) + text(3, 40), tier="priority"))
    steps.add(request("short", text(4, 8), tier="priority"))
    assert {"flex": 64} == steps.step()


def test_short_prompts_take_all_but_the_last_place_when_a_sequence_waits_for_a_prefix() -> None:
    steps = Steps(seqs=3)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(1, 150) + text(3, 40), tier="priority"))
    for i in range(2):
        steps.add(request(f"s{i}", text(4 + i, 8), tier="priority"))
    assert {"s0": 8, "flex": 56} == steps.step()


def test_begun_prompt_overtakes_without_a_free_place() -> None:
    steps = Steps(seqs=2)
    steps.add(request("begun", text(1, 70)))
    steps.step()
    steps.add(request("long", text(2, 150)), now=-5.0)
    assert {"begun": 6, "long": 58} == steps.step()


def test_short_prompt_overtakes_several_others() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)), now=-50.0)
    steps.add(request("flex", text(2, 8), tier="flex"), now=-45.0)
    steps.add(request("other", text(3, 20)), now=-1.0)
    steps.add(request("short", text(4, 8)), now=0.0)
    assert ["long", "flex", "other", "short"] == steps.waiting
    assert {"short": 8, "long": 56} == steps.step()


@pytest.mark.parametrize(("cells", "carried"), [(257, {"l1": 1, "short": 8, "l2": 8}), (256, {"l1": 1, "l2": 16})])
def test_overtaking_prompt_leaves_growth_headroom_to_the_running_sequences(cells: int, carried: dict[str, int]) -> None:
    steps = Steps(cells)
    for name in ("l1", "l2"):
        steps.add(request(name, text(int(name[1]), 100)))
    assert [{"l1": 64}, {"l1": 36, "l2": 28}] == [steps.step() for _ in range(2)]
    steps.add(request("short", text(3, 8)))
    assert carried == steps.step()
    assert 257 == 101 + 100 + 8 + 3 * GROWTH_HEADROOM
