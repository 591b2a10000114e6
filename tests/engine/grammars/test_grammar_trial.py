"""Trials of grammars with the vocabulary, in a process that a costly grammar may crash."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antiphon.engine.grammars.grammar_limits import MAX_GRAMMAR_TEXT
from antiphon.engine.grammars.grammar_trial import GrammarTrial
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.isolation.fork_server import JobLimits, settings_for
from antiphon.isolation.process_pool import JobLostError, ProcessPool
from tests.engine.trial_jobs import FACTORY

LIMITS = JobLimits(cpu_seconds=3, memory=1 << 30, stack=1 << 29)


@pytest.fixture(scope="module")
def trial(smollm2_path: Path) -> Iterator[GrammarTrial]:
    tokenizer = Tokenizer.open(str(smollm2_path))
    yield GrammarTrial(tokenizer)
    tokenizer.close()


@pytest.fixture
async def pool(smollm2_path: Path) -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(settings_for(FACTORY, str(smollm2_path), LIMITS), size=1, max_waiting=1)
    yield pool
    await pool.close()


@pytest.mark.parametrize(
    "grammar",
    ['start: "maple"', 'start: %json {"type": "object"}', "start: /[a-z]+/", f'start: "{"a" * 20_000}"', 'start: ""'],
)
def test_valid_grammar_has_no_problem(trial: GrammarTrial, grammar: str) -> None:
    assert "" == trial.problem(grammar)


@pytest.mark.parametrize("grammar", ["start: maple", "start: /a/ & /b/", "x", 'start: %json {"type": "maple"}'])
def test_invalid_grammar_has_a_problem(trial: GrammarTrial, grammar: str) -> None:
    assert trial.problem(grammar)


def test_grammar_that_is_too_long_is_refused_with_the_limit(trial: GrammarTrial) -> None:
    assert str(MAX_GRAMMAR_TEXT) in trial.problem(f"start: {'x' * MAX_GRAMMAR_TEXT}")


@pytest.mark.anyio
async def test_multiple_that_needs_gigabytes_fails_without_harming_the_next_trial(pool: ProcessPool) -> None:
    with pytest.raises(JobLostError) as caught:
        await pool.run(b'start: %json {"type": "integer", "multipleOf": 99999989}')
    assert caught.value.cause in {"time", "memory", "crash"}
    assert b"" == await pool.run(b'start: "maple"')
