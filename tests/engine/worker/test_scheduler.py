"""Who runs when, step by step, with tokens made up instead of sampled. Random workloads are in test_core.py."""

import pytest
from msgspec.structs import replace

from antiphon.engine.cache.kv_cache import KVCache
from antiphon.engine.interface import EngineOptions, GenerateRequest, ServiceTier
from antiphon.engine.sequence import Sequence
from antiphon.engine.worker.scheduler import GROWTH_HEADROOM, LOOKAHEAD, SHARED_PREFIX_MIN, Scheduler
from tests.engine.engine_trial import request, text
from tests.engine.fake_model import FakeMemory, assert_agrees


class Steps:
    """A scheduler whose sequences each gain a made-up token when their last one is computed."""

    def __init__(
        self, cells: int = 512, *, seqs: int = 8, batched: int = 64, chunk: int = 16, host_cells: int = 0
    ) -> None:
        options = EngineOptions(
            model_path="", max_num_seqs=seqs, max_num_batched_tokens=batched, prefill_chunk_size=chunk
        )
        self.memory = FakeMemory(cells)
        self.cache = KVCache(self.memory, cells, 256, host_cells)
        self.scheduler = Scheduler(self.cache, options)
        self.computed = 0

    def add(self, asked: GenerateRequest, now: float = 0.0) -> Sequence:
        return self.scheduler.add(asked, now)[0]

    def step(self) -> dict[str, int]:
        """Compute one step; how many tokens of each request it carried."""
        carried: dict[str, int] = {}
        works = self.scheduler.schedule()
        for work in works:
            lease, name = work.sequence.lease, work.sequence.request.request_id
            assert lease is not None
            tokens = work.sequence.tokens[: work.start + work.num_tokens] + work.draft
            for position in range(work.start, work.start + work.num_scheduled_tokens):
                self.memory.write(lease.seq_id, position, tokens[position])
            carried[name] = carried.get(name, 0) + work.num_scheduled_tokens
        for work in works:
            self.scheduler.commit(work)
            self.scheduler.accept_draft(work, 0)
            if work.is_sampled:
                work.sequence.tokens.append(3 + len(work.sequence.tokens) * 5 % 290)
        self.computed += sum(carried.values())
        held = {s.lease: s.tokens[: s.num_computed_tokens] for s in self.scheduler.running if s.lease is not None}
        assert_agrees(self.cache, self.memory, held)
        return carried

    @property
    def running(self) -> list[str]:
        return [sequence.request.request_id for sequence in self.scheduler.running]

    @property
    def waiting(self) -> list[str]:
        return [sequence.request.request_id for sequence in self.scheduler.waiting]


def test_a_prompt_alone_gets_the_whole_step() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 150)))
    assert [{"a": 64}, {"a": 64}, {"a": 22}, {"a": 1}] == [steps.step() for _ in range(4)]


def test_a_long_prompt_never_stalls_the_streams() -> None:
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


def test_no_more_sequences_run_than_allowed() -> None:
    steps = Steps(seqs=2)
    sequences = [steps.add(request(f"r{i}", text(i, 5))) for i in range(3)]
    steps.step()
    assert (["r0", "r1"], ["r2"]) == (steps.running, steps.waiting)
    steps.scheduler.finish(sequences[0])
    steps.step()
    assert (["r1", "r2"], []) == (steps.running, steps.waiting)


@pytest.mark.parametrize(("late", "first"), [(29.0, "default"), (31.0, "flex")])
def test_a_flex_request_is_overtaken_for_30_seconds_at_most(late: float, first: str) -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 5), tier="flex"), now=0.0)
    steps.add(request("default", text(2, 5)), now=late)
    steps.step()
    assert [first] == steps.running


def test_priority_goes_before_what_came_earlier() -> None:
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


@pytest.mark.parametrize(("late", "first"), [(59.0, "priority"), (61.0, "flex")])
def test_a_flex_request_is_overtaken_by_priority_for_60_seconds_at_most(late: float, first: str) -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 5), tier="flex"), now=0.0)
    steps.add(request("priority", text(2, 5), tier="priority"), now=late)
    steps.step()
    assert [first] == steps.running


@pytest.mark.parametrize("tier", ["priority", "default", "flex"])
def test_within_a_tier_who_comes_first_goes_first(tier: ServiceTier) -> None:
    steps = Steps(seqs=2)
    for i in range(4):
        steps.add(request(f"r{i}", text(i, 5), tier=tier), now=5.0)
    steps.step()
    assert (["r0", "r1"], ["r2", "r3"]) == (steps.running, steps.waiting)


def test_a_flex_request_is_served_however_many_others_keep_coming() -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 5), tier="flex"), now=0.0)
    served: list[str] = []
    for second in range(100):
        steps.add(request(f"p{second}", text(2 + second, 5), tier="priority"), now=float(second))
        steps.add(request(f"d{second}", text(100 + second, 5)), now=float(second))
        steps.step()
        served += steps.running
        steps.scheduler.finish(steps.scheduler.running[0])
    assert 60 + 30 == served.index("flex"), "behind a minute's priority requests and half a minute's default ones"


def test_prompts_that_have_begun_go_on_in_the_order_of_their_tiers() -> None:
    steps = Steps(batched=64)
    steps.add(request("flex", text(1, 200), tier="flex"))
    assert {"flex": 64} == steps.step()
    steps.add(request("default", text(2, 100)))
    assert {"default": 64} == steps.step()
    steps.add(request("priority", text(3, 40), tier="priority"))
    assert {"priority": 40, "default": 24} == steps.step()
    assert {"priority": 1, "default": 12, "flex": 4} == steps.step()


def test_who_waits_for_a_prefix_lends_its_place_to_the_one_that_computes_it() -> None:
    steps = Steps(batched=64)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("default", text(2, 150)))
    steps.add(request("priority", text(1, 150) + text(3, 10), tier="priority"))
    assert [{"flex": 64}, {"flex": 22, "default": 42}] == [steps.step() for _ in range(2)]
    assert {"flex": 1, "priority": 10, "default": 6} == steps.step()


def test_a_prompt_that_has_begun_gives_way_to_one_of_a_higher_tier_that_runs() -> None:
    steps = Steps(batched=64, seqs=4)
    flex = steps.add(request("flex", text(1, 150), tier="flex"))
    steps.add(request("priority", text(2, 150), tier="priority"))
    assert [{"priority": 64}, {"priority": 64}] == [steps.step() for _ in range(2)]
    assert {"priority": 22, "flex": 42} == steps.step()
    assert {"priority": 1, "flex": 16} == steps.step()
    assert 58 == flex.num_computed_tokens


def test_cells_are_taken_from_the_lowest_tier_first() -> None:
    steps = Steps(60, seqs=3)
    tiers: list[ServiceTier] = ["flex", "priority", "default"]
    for i, tier in enumerate(tiers):
        steps.add(request(tier, text(i, 10), tier=tier, max_tokens=90))
    lost: list[str] = []
    while len(lost) < 2:
        steps.step()
        lost += [name for name in steps.waiting if name not in lost]
    assert (["flex", "default"], ["priority"]) == (lost, steps.running)


def test_a_preempted_request_keeps_the_place_that_its_arrival_gave_it() -> None:
    steps = Steps(40)
    steps.add(request("priority", text(1, 10), tier="priority", max_tokens=90), now=0.0)
    steps.add(request("flex", text(2, 10), tier="flex", max_tokens=90), now=0.0)
    while not steps.scheduler.preemptions:
        steps.step()
    steps.add(request("soon", text(3, 30)), now=29.0)
    steps.add(request("late", text(4, 30)), now=31.0)
    assert ["soon", "flex", "late"] == steps.waiting


def test_one_that_does_not_fit_is_not_overtaken() -> None:
    steps = Steps(100)
    steps.add(request("a", text(1, 60)))
    steps.step()
    steps.add(request("large", text(2, 60)))
    steps.add(request("small", text(3, 5)))
    steps.step()
    assert (["a"], ["large", "small"]) == (steps.running, steps.waiting)


def test_whoever_shares_a_prefix_waits_for_it_and_lets_others_pass() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 100)))
    steps.add(request("b", text(1, 90) + text(2, 10)))
    steps.add(request("c", text(3, 10)))
    assert [{"a": 64}, {"a": 36, "c": 10}, {"a": 1, "c": 1, "b": 10}] == [steps.step() for _ in range(3)]


def test_a_choice_waits_for_its_sibling_however_short_the_prompt() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 4), n=3))
    assert [{"a": 4}, {"a": 3}, {"a": 3}] == [steps.step() for _ in range(3)]


@pytest.mark.parametrize(("shared", "salt"), [(SHARED_PREFIX_MIN - 1, ""), (60, "other")])
def test_little_or_nothing_to_share_is_not_waited_for(shared: int, salt: str) -> None:
    steps = Steps(batched=256)
    steps.add(request("a", text(1, 80)))
    steps.add(request("b", text(1, shared) + text(2, 10), salt=salt))
    assert {"a": 80, "b": shared + 10} == steps.step()


def test_whoever_waits_goes_on_when_the_other_ends() -> None:
    steps = Steps()
    first = steps.add(request("a", text(1, 200)))
    steps.add(request("b", text(1, 200)))
    assert {"a": 64} == steps.step()
    steps.scheduler.finish(first)
    assert [{"b": 64}, {"b": 64}, {"b": 8}] == [steps.step() for _ in range(3)]


def test_a_hundred_who_wait_for_one_prefix_are_all_served() -> None:
    steps = Steps(2048, seqs=4)
    for i in range(2 * LOOKAHEAD):
        steps.add(request(f"r{i}", [*text(1, 150), 3 + i]))
    for _ in range(400):
        if not steps.scheduler.waiting and not steps.scheduler.running:
            break
        steps.step()
        for sequence in list(steps.scheduler.running):
            if sequence.num_generated_tokens:
                steps.scheduler.finish(sequence)
    assert ([], []) == (steps.waiting, steps.running)
    assert 150 + 2 * LOOKAHEAD == steps.computed


def test_the_one_served_last_is_preempted_and_comes_back_first() -> None:
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
    assert 0 == victim.num_cached_tokens, "what the first start found, not what a preempted one finds of its own"


def test_a_request_of_a_higher_tier_is_not_preempted_by_one_of_a_lower() -> None:
    steps = Steps(40)
    steps.add(request("flex", text(1, 10), tier="flex"), now=0.0)
    steps.add(request("priority", text(2, 10), tier="priority"), now=1.0)
    while not steps.scheduler.preemptions:
        steps.step()
    assert (["priority"], ["flex"]) == (steps.running, steps.waiting)


def test_finishing_gives_the_cells_back_from_either_place() -> None:
    steps = Steps(seqs=1)
    first = steps.add(request("a", text(1, 100)))
    second = steps.add(request("b", text(2, 100)))
    steps.step()
    steps.scheduler.finish(second)
    steps.scheduler.finish(first)
    assert ([], [], 0) == (steps.running, steps.waiting, steps.cache.pool.owned_cells)
    assert 64 == steps.cache.pool.evictable_cells == len(steps.memory.cells)


def test_only_what_reaches_the_last_token_is_sampled() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 65)))
    (first,) = steps.scheduler.schedule()
    assert (0, 64, False) == (first.start, first.num_tokens, first.is_sampled)
    steps.scheduler.commit(first)
    (second,) = steps.scheduler.schedule()
    assert (64, 1, True) == (second.start, second.num_tokens, second.is_sampled)


def test_a_step_must_hold_a_token_of_every_sequence() -> None:
    with pytest.raises(AssertionError):
        Steps(seqs=9, batched=8)


def drafting(steps: Steps, *names: str, draft: int = 30) -> list[Sequence]:
    """Sequences that generate, each with a draft."""
    sequences = [steps.add(request(name, text(int(name), 8), max_tokens=90)) for name in names]
    for _ in range(4):
        steps.step()
    for sequence in sequences:
        sequence.draft = text(1, draft)
    return sequences


def test_a_draft_is_carried_as_far_as_a_prompt_s_chunk_would_be() -> None:
    steps = Steps(chunk=16)
    drafting(steps, "1")
    assert {"1": 1 + 16} == steps.step()


def test_drafts_leave_every_stream_its_token() -> None:
    steps = Steps(seqs=4, batched=8, chunk=16)
    drafting(steps, "1", "2", "3")
    assert {"1": 1 + 5, "2": 1, "3": 1} == steps.step()


def test_a_prompt_has_what_drafts_leave_of_the_step() -> None:
    steps = Steps(batched=20, chunk=16)
    drafting(steps, "1", draft=10)
    steps.add(request("4", text(9, 40)))
    assert {"1": 11, "4": 9} == steps.step()


def test_nobody_is_preempted_for_a_draft() -> None:
    steps = Steps(cells=40, chunk=16)
    drafting(steps, "1", "2")
    while steps.cache.pool.free_cells > 3:
        assert 2 == len(steps.running)
        steps.step()
    carried = steps.step()
    assert {"1": 1, "2": 1} == carried
    assert 0 == steps.scheduler.preemptions


def test_a_draft_takes_no_cell_that_a_later_stream_needs() -> None:
    steps = Steps(cells=40, chunk=16)
    drafting(steps, "1", "2")
    steps.scheduler.running[1].draft = []
    while steps.cache.pool.free_cells >= 2:
        steps.step()
    assert 0 == steps.scheduler.preemptions


def test_the_last_token_of_a_prompt_has_no_draft_behind_it() -> None:
    steps = Steps()
    steps.add(request("1", text(1, 8), max_tokens=4)).draft = text(2, 8)
    assert {"1": 8} == steps.step()


def test_a_short_prompt_does_not_wait_for_a_long_one_before_it() -> None:
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


def test_a_turn_whose_past_is_cached_is_a_short_prompt() -> None:
    steps = Steps()
    before = steps.add(request("before", text(2, 60)))
    steps.step()
    steps.scheduler.finish(before)
    steps.add(request("long", text(1, 150)))
    steps.add(request("turn", [*text(2, 60), *text(3, 8)]))
    assert {"turn": 8, "long": 56} == steps.step()


def test_a_prompt_of_more_than_half_a_chunk_waits_its_turn() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    steps.add(request("other", text(2, 9)))
    assert {"long": 64} == steps.step()


def test_a_short_prompt_of_a_lower_tier_waits_its_turn() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)))
    steps.add(request("short", text(2, 8), tier="flex"))
    assert {"long": 64} == steps.step()


def test_short_prompts_leave_the_last_place_to_the_one_before_them() -> None:
    steps = Steps(seqs=2)
    steps.add(request("long", text(1, 150)))
    for i in range(2):
        steps.add(request(f"s{i}", text(i + 2, 8)))
    assert {"s0": 8, "long": 56} == steps.step()


def test_nobody_overtakes_who_waits_for_cells() -> None:
    steps = Steps(cells=128)
    steps.add(request("running", text(1, 40), max_tokens=60))
    steps.step()
    steps.add(request("long", text(2, 100)))
    steps.step()
    steps.add(request("short", text(3, 4)))
    assert ({"running": 1}, ["long", "short"]) == (steps.step(), steps.waiting)


def test_a_long_prompt_goes_on_however_many_short_ones_keep_coming() -> None:
    steps = Steps(seqs=4)
    long = steps.add(request("long", text(1, 150)))
    for i in range(12):
        short = steps.add(request(f"s{i}", text(i + 2, 8)))
        steps.step()
        if short.lease is not None:
            steps.scheduler.finish(short)
    assert long.is_generating


def test_short_prompts_leave_the_cells_of_the_one_before_them() -> None:
    steps = Steps(cells=256, seqs=8)
    long = steps.add(request("long", text(1, 200)))
    for i in range(12):
        steps.add(request(f"s{i}", text(i + 2, 8)))
        carried = steps.step()
        assert long.is_generating or carried["long"]


def test_a_short_prompt_overtakes_nobody_of_a_higher_tier() -> None:
    steps = Steps()
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(2, 60), tier="priority"), now=40.0)
    steps.add(request("short", text(3, 8)), now=41.0)
    assert "short" not in steps.step()


def test_prompts_alone_move_what_nobody_uses_as_far_as_they_are_long() -> None:
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


@pytest.mark.parametrize(("length", "admitted"), [(46, True), (47, False)])
def test_a_newcomer_leaves_each_running_sequence_its_room_to_grow(length: int, *, admitted: bool) -> None:
    steps = Steps(cells=120)
    for name in ("1", "2"):
        steps.add(request(name, text(int(name), 20)))
    steps.step()
    steps.add(request("new", text(3, length)))
    carried = steps.step()
    assert 2 * 21 + 46 + 2 * GROWTH_HEADROOM == 120
    assert admitted == ("new" in carried)


@pytest.mark.parametrize(("cells", "carried"), [(140, {"short": 8, "long": 56}), (139, {"long": 64})])
def test_a_short_prompt_overtakes_where_it_and_the_running_have_room_to_grow(
    cells: int, carried: dict[str, int]
) -> None:
    steps = Steps(cells)
    steps.add(request("long", text(1, 100)))
    steps.add(request("short", text(2, 8)))
    assert carried == steps.step()
    assert 100 + 8 + 2 * GROWTH_HEADROOM == 140


@pytest.mark.parametrize(("cells", "carried"), [(164, {"s0": 8, "s1": 8, "long": 48}), (163, {"s0": 8, "long": 56})])
def test_short_prompts_overtake_as_far_as_all_of_them_have_room_to_grow(cells: int, carried: dict[str, int]) -> None:
    steps = Steps(cells)
    steps.add(request("long", text(1, 100)))
    for i in range(2):
        steps.add(request(f"s{i}", text(i + 2, 8)))
    assert carried == steps.step()
    assert 100 + 2 * 8 + 3 * GROWTH_HEADROOM == 164


def test_a_short_prompt_overtakes_no_higher_tier_that_stands_behind_a_lower_one() -> None:
    steps = Steps()
    steps.add(request("flex", text(1, 150), tier="flex"), now=0.0)
    steps.add(request("priority", text(2, 60), tier="priority"), now=70.0)
    steps.add(request("short", text(3, 8)), now=45.0)
    assert ["flex", "priority", "short"] == steps.waiting
    assert {"flex": 64} == steps.step()


def test_nobody_waits_for_an_answer_that_is_being_generated() -> None:
    steps = Steps()
    first = steps.add(request("a", text(1, 20), max_tokens=90))
    for _ in range(1 + 2 * SHARED_PREFIX_MIN):
        steps.step()
    steps.add(request("b", [*first.tokens, 3, 4]))
    assert {"a": 1, "b": 16} == steps.step()


def test_a_choice_waits_for_its_sibling_up_to_the_last_token_of_the_prompt() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 66), n=2))
    assert [{"a": 64}, {"a": 2}, {"a": 2}] == [steps.step() for _ in range(3)]


def test_what_nobody_uses_moves_to_host_memory_while_others_generate() -> None:
    steps = Steps(host_cells=512)
    steps.cache.offloading.max_unused_cells = 0
    before = steps.add(request("before", text(1, 30)))
    steps.add(request("stream", text(2, 5)))
    steps.step()
    steps.scheduler.finish(before)
    assert 30 == steps.cache.pool.evictable_cells
    assert {"stream": 1} == steps.step()
    assert (0, 29) == (steps.cache.pool.evictable_cells, steps.cache.match_length("", text(1, 30)))


def test_a_prompt_s_last_token_in_a_step_of_its_own_has_no_draft_behind_it() -> None:
    steps = Steps()
    steps.add(request("1", text(1, 65), max_tokens=9)).draft = text(2, 8)
    assert [{"1": 64}, {"1": 1}] == [steps.step() for _ in range(2)]
    assert 512 - 65 == steps.cache.pool.free_cells
    assert {"1": 1 + 8} == steps.step()


def test_a_preemption_is_counted_once() -> None:
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


def test_with_every_place_taken_a_higher_tier_waits() -> None:
    steps = Steps(seqs=1)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(2, 20), tier="priority"))
    assert ({"flex": 64}, ["flex"], ["priority"]) == (steps.step(), steps.running, steps.waiting)


def test_a_prompt_of_half_a_step_is_not_overtaken_nor_is_the_one_behind_it() -> None:
    steps = Steps()
    for name, length in (("half", 32), ("long", 40), ("short", 8)):
        steps.add(request(name, text(length, length)))
    assert {"half": 32, "long": 32} == steps.step()


def test_the_last_place_is_left_to_who_waits_for_a_prefix() -> None:
    steps = Steps(seqs=2)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(1, 150) + text(3, 40), tier="priority"))
    steps.add(request("short", text(4, 8), tier="priority"))
    assert {"flex": 64} == steps.step()


def test_short_prompts_take_the_places_but_for_the_last_where_somebody_waits_for_a_prefix() -> None:
    steps = Steps(seqs=3)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("priority", text(1, 150) + text(3, 40), tier="priority"))
    for i in range(2):
        steps.add(request(f"s{i}", text(4 + i, 8), tier="priority"))
    assert {"s0": 8, "flex": 56} == steps.step()


def test_a_prompt_that_has_begun_needs_no_place_to_overtake() -> None:
    steps = Steps(seqs=2)
    steps.add(request("begun", text(1, 70)))
    steps.step()
    steps.add(request("long", text(2, 150)), now=-5.0)
    assert {"begun": 6, "long": 58} == steps.step()


@pytest.mark.parametrize(("length", "carried"), [(1, [2, 2]), (2, [2, 2]), (3, [3, 2])])
def test_a_choice_waits_for_a_single_token_that_its_sibling_computes(length: int, carried: list[int]) -> None:
    steps = Steps()
    steps.add(request("a", text(1, length), n=2))
    assert carried == [steps.step()["a"] for _ in range(2)]


def test_as_much_as_is_worth_it_is_waited_for() -> None:
    steps = Steps(batched=256)
    steps.add(request("a", text(1, 80)))
    steps.add(request("b", text(1, SHARED_PREFIX_MIN) + text(2, 10)))
    assert [{"a": 80}, {"a": 1, "b": 10}] == [steps.step() for _ in range(2)]


def test_tokens_that_a_grammar_forced_are_computed_in_parts_of_a_step_without_a_draft() -> None:
    steps = Steps(seqs=8, batched=64)
    (stream,) = drafting(steps, "1", draft=2)
    stream.tokens += text(7, 11)
    assert [{"1": 8}, {"1": 4 + 2}] == [steps.step() for _ in range(2)]


def test_choices_of_requests_that_come_together_are_served_request_by_request() -> None:
    steps = Steps()
    for name in ("a", "b"):
        steps.add(request(name, text(1, 5), n=2))
    assert ["a", "a", "b", "b"] == steps.waiting


def test_only_the_choices_that_are_named_are_queued() -> None:
    added = Steps().scheduler.add(request("a", text(1, 5), n=3), 0.0, [2, 0])
    assert [2, 0] == [sequence.index for sequence in added]


def test_the_accepted_part_of_a_draft_keeps_its_cells() -> None:
    steps = Steps()
    (stream,) = drafting(steps, "1", draft=5)
    (work,) = steps.scheduler.schedule()
    steps.scheduler.commit(work)
    steps.scheduler.accept_draft(work, 2)
    assert stream.lease is not None
    assert work.start + 1 + 2 == stream.lease.length


def test_the_last_of_three_is_preempted_first() -> None:
    steps = Steps(60)
    for name in "abc":
        steps.add(request(name, text(ord(name), 10), max_tokens=90))
    steps.step()
    while not steps.waiting:
        steps.step()
    assert (["a", "b"], ["c"]) == (steps.running, steps.waiting)


def test_the_last_one_preempts_itself_when_those_before_it_have_taken_the_last_cells() -> None:
    steps = Steps(41)
    for name in "ab":
        steps.add(request(name, text(ord(name), 10), max_tokens=90))
    steps.step()
    while not steps.waiting:
        steps.step()
    assert (["a"], ["b"], 1) == (steps.running, steps.waiting, steps.scheduler.preemptions)


def test_who_waits_for_a_prefix_lends_its_turn_even_with_every_place_taken() -> None:
    steps = Steps(seqs=2)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("default", text(2, 150)))
    steps.step()
    steps.add(request("priority", text(1, 150) + text(3, 10), tier="priority"))
    assert {"flex": 64} == steps.step()


def test_nobody_is_admitted_to_a_step_that_is_full() -> None:
    steps = Steps(seqs=4, batched=8)
    drafting(steps, "1", draft=7)
    steps.add(request("new", text(2, 5)))
    assert ({"1": 8}, ["new"]) == (steps.step(), steps.waiting)


def test_a_short_prompt_overtakes_several() -> None:
    steps = Steps()
    steps.add(request("long", text(1, 150)), now=-50.0)
    steps.add(request("flex", text(2, 8), tier="flex"), now=-45.0)
    steps.add(request("other", text(3, 20)), now=-1.0)
    steps.add(request("short", text(4, 8)), now=0.0)
    assert ["long", "flex", "other", "short"] == steps.waiting
    assert {"short": 8, "long": 56} == steps.step()


@pytest.mark.parametrize(("cells", "carried"), [(257, {"l1": 1, "short": 8, "l2": 8}), (256, {"l1": 1, "l2": 16})])
def test_who_overtakes_leaves_each_running_sequence_its_room_to_grow(cells: int, carried: dict[str, int]) -> None:
    steps = Steps(cells)
    for name in ("l1", "l2"):
        steps.add(request(name, text(int(name[1]), 100)))
    assert [{"l1": 64}, {"l1": 36, "l2": 28}] == [steps.step() for _ in range(2)]
    steps.add(request("short", text(3, 8)))
    assert carried == steps.step()
    assert 101 + 100 + 8 + 3 * GROWTH_HEADROOM == 257


def test_a_prefix_is_looked_for_among_all_that_are_being_computed() -> None:
    steps = Steps(batched=256)
    for name, tokens in (("a", text(1, 100)), ("b", text(2, 100)), ("c", [*text(2, 100), 3, 4])):
        steps.add(request(name, tokens))
    assert {"a": 100, "b": 100} == steps.step()


def test_what_is_computed_already_is_not_waited_for() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 200)))
    steps.step()
    steps.add(request("b", text(1, 60) + text(2, 8)))
    assert {"b": 8, "a": 56} == steps.step()


def test_an_equal_prompt_waits_for_all_but_its_last_token() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 129), tier="flex"))
    steps.step()
    steps.add(request("b", text(1, 129)))
    assert [{"a": 64}, {"a": 1, "b": 1}] == [steps.step() for _ in range(2)]
