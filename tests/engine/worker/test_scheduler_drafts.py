"""Tests of drafts in a step: their limits and their cells."""

from tests.engine.engine_trial import request, text
from tests.engine.worker.scheduler_trial import Steps, drafting


def test_draft_is_cut_to_the_size_of_a_prefill_chunk() -> None:
    steps = Steps(chunk=16)
    drafting(steps, "1")
    assert {"1": 1 + 16} == steps.step()


def test_drafts_leave_every_stream_its_next_token() -> None:
    steps = Steps(seqs=4, batched=8, chunk=16)
    drafting(steps, "1", "2", "3")
    assert {"1": 1 + 5, "2": 1, "3": 1} == steps.step()


def test_prompt_gets_the_part_of_the_step_that_drafts_leave() -> None:
    steps = Steps(batched=20, chunk=16)
    drafting(steps, "1", draft=10)
    steps.add(request("4", text(9, 40)))
    assert {"1": 11, "4": 9} == steps.step()


def test_no_sequence_is_preempted_for_a_draft() -> None:
    steps = Steps(cells=40, chunk=16)
    drafting(steps, "1", "2")
    while steps.cache.pool.free_cells > 3:
        assert 2 == len(steps.running)
        steps.step()
    carried = steps.step()
    assert {"1": 1, "2": 1} == carried
    assert 0 == steps.scheduler.preemptions


def test_draft_takes_no_cell_that_a_later_stream_needs() -> None:
    steps = Steps(cells=40, chunk=16)
    drafting(steps, "1", "2")
    steps.scheduler.running[1].draft = []
    while steps.cache.pool.free_cells >= 2:
        steps.step()
    assert 0 == steps.scheduler.preemptions


def test_last_token_of_a_prompt_has_no_draft() -> None:
    steps = Steps()
    steps.add(request("1", text(1, 8), max_tokens=4)).draft = text(2, 8)
    assert {"1": 8} == steps.step()


def test_last_token_of_a_prompt_in_its_own_step_has_no_draft() -> None:
    steps = Steps()
    steps.add(request("1", text(1, 65), max_tokens=9)).draft = text(2, 8)
    assert [{"1": 64}, {"1": 1}] == [steps.step() for _ in range(2)]
    assert 512 - 65 == steps.cache.pool.free_cells
    assert {"1": 1 + 8} == steps.step()


def test_draft_follows_only_after_all_forced_tokens_are_computed() -> None:
    steps = Steps(seqs=8, batched=64)
    (stream,) = drafting(steps, "1", draft=2)
    stream.tokens += text(7, 11)
    assert [{"1": 8}, {"1": 4 + 2}] == [steps.step() for _ in range(2)]


def test_accepted_tokens_of_a_draft_keep_their_cells() -> None:
    steps = Steps()
    (stream,) = drafting(steps, "1", draft=5)
    (work,) = steps.scheduler.schedule()
    steps.scheduler.commit(work)
    steps.scheduler.accept_draft(work, 2)
    assert stream.lease is not None
    assert work.start + 1 + 2 == stream.lease.length
