from antiphon.engine.worker.step_counts import StepCounts
from tests.scripted_engine import STATS


def test_steps_are_counted_by_their_tokens_and_their_sequences() -> None:
    counts = StepCounts()
    counts.step(100, 3)
    counts.step(1, 1)
    stats = counts.added_to(STATS)
    assert (101, 4) == (stats.tokens_per_step.total, stats.sequences_per_step.total)
    assert [1, 0, 1] == stats.sequences_per_step.counts[:3]


def test_drafts_are_counted_with_their_accepted_tokens() -> None:
    counts = StepCounts()
    counts.draft(8, 5)
    counts.draft(4, 0)
    stats = counts.added_to(STATS)
    assert (2, 12, 5) == (stats.drafts, stats.draft_tokens, stats.accepted_tokens)


def test_returned_counts_do_not_change_later() -> None:
    counts = StepCounts()
    told = counts.added_to(STATS)
    counts.step(1, 1)
    counts.draft(1, 1)
    assert STATS == told
