"""Tests of sequences that wait for a prefix that another one prefills."""

import pytest

from antiphon.engine.worker.scheduler import LOOKAHEAD, SHARED_PREFIX_MIN
from tests.engine.engine_trial import request, text
from tests.engine.worker.scheduler_trial import Steps


def test_sequence_that_waits_for_a_prefix_yields_to_the_one_that_prefills_it() -> None:
    steps = Steps(batched=64)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("default", text(2, 150)))
    steps.add(request("priority", text(1, 150) + text(3, 10), tier="priority"))
    assert [{"flex": 64}, {"flex": 22, "default": 42}] == [steps.step() for _ in range(2)]
    assert {"flex": 1, "priority": 10, "default": 6} == steps.step()


def test_waiting_sequence_yields_to_the_prefill_even_when_every_place_is_taken() -> None:
    steps = Steps(seqs=2)
    steps.add(request("flex", text(1, 150), tier="flex"))
    steps.step()
    steps.add(request("default", text(2, 150)))
    steps.step()
    steps.add(request("priority", text(1, 150) + text(3, 10), tier="priority"))
    assert {"flex": 64} == steps.step()


def test_sequence_waits_for_a_shared_prefix_while_others_pass() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 100)))
    steps.add(request("b", text(1, 90) + text(2, 10)))
    steps.add(request("c", text(3, 10)))
    assert [{"a": 64}, {"a": 36, "c": 10}, {"a": 1, "c": 1, "b": 10}] == [steps.step() for _ in range(3)]


def test_choice_waits_for_its_sibling_even_with_a_short_prompt() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 4), n=3))
    assert [{"a": 4}, {"a": 3}, {"a": 3}] == [steps.step() for _ in range(3)]


def test_choice_waits_for_its_sibling_up_to_the_last_token_of_the_prompt() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 66), n=2))
    assert [{"a": 64}, {"a": 2}, {"a": 2}] == [steps.step() for _ in range(3)]


@pytest.mark.parametrize(("length", "carried"), [(1, [2, 2]), (2, [2, 2]), (3, [3, 2])])
def test_choice_waits_for_a_single_token_of_its_sibling(length: int, carried: list[int]) -> None:
    steps = Steps()
    steps.add(request("a", text(1, length), n=2))
    assert carried == [steps.step()["a"] for _ in range(2)]


@pytest.mark.parametrize(("shared", "salt"), [(SHARED_PREFIX_MIN - 1, ""), (60, "other")])
def test_short_prefix_or_one_of_another_salt_is_not_waited_for(shared: int, salt: str) -> None:
    steps = Steps(batched=256)
    steps.add(request("a", text(1, 80)))
    steps.add(request("b", text(1, shared) + text(2, 10), salt=salt))
    assert {"a": 80, "b": shared + 10} == steps.step()


def test_prefix_of_shared_prefix_min_tokens_is_waited_for() -> None:
    steps = Steps(batched=256)
    steps.add(request("a", text(1, 80)))
    steps.add(request("b", text(1, SHARED_PREFIX_MIN) + text(2, 10)))
    assert [{"a": 80}, {"a": 1, "b": 10}] == [steps.step() for _ in range(2)]


def test_waiting_sequence_starts_when_the_awaited_one_ends() -> None:
    steps = Steps()
    first = steps.add(request("a", text(1, 200)))
    steps.add(request("b", text(1, 200)))
    assert {"a": 64} == steps.step()
    steps.scheduler.finish(first)
    assert [{"b": 64}, {"b": 64}, {"b": 8}] == [steps.step() for _ in range(3)]


def test_all_of_a_hundred_requests_with_one_prefix_are_served() -> None:
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


def test_no_sequence_waits_for_tokens_of_an_answer() -> None:
    steps = Steps()
    first = steps.add(request("a", text(1, 20), max_tokens=90))
    for _ in range(1 + 2 * SHARED_PREFIX_MIN):
        steps.step()
    steps.add(request("b", [*first.tokens, 3, 4]))
    assert {"a": 1, "b": 16} == steps.step()


def test_shared_prefix_is_found_among_all_running_prefills() -> None:
    steps = Steps(batched=256)
    for name, tokens in (("a", text(1, 100)), ("b", text(2, 100)), ("c", [*text(2, 100), 3, 4])):
        steps.add(request(name, tokens))
    assert {"a": 100, "b": 100} == steps.step()


def test_computed_prefix_is_not_waited_for() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 200)))
    steps.step()
    steps.add(request("b", text(1, 60) + text(2, 8)))
    assert {"b": 8, "a": 56} == steps.step()


def test_equal_prompt_waits_for_all_but_its_last_token() -> None:
    steps = Steps()
    steps.add(request("a", text(1, 129), tier="flex"))
    steps.step()
    steps.add(request("b", text(1, 129)))
    assert [{"a": 64}, {"a": 1, "b": 1}] == [steps.step() for _ in range(2)]
