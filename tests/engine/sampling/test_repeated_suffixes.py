"""The repeats that DRY penalises, against a search that tries every place."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engine.sampling.repeated_suffixes import MAX_REPEAT, RepeatedSuffixes
from tests.engine.logits import QUICK

TOKENS = st.lists(st.integers(0, 3), max_size=40)


def longest(
    tokens: list[int], least: int, window: int = -1, breakers: tuple[int, ...] = (), run: tuple[int, ...] = ()
) -> dict[int, int]:
    """Give the longest repeat that each token would continue, by its definition."""
    tokens = tokens if window < 0 else tokens[max(0, len(tokens) - window) :]
    found: dict[int, int] = {}
    for place in range(1, len(tokens)):
        length = 0
        while length < place and tokens[place - 1 - length] == tokens[-1 - length]:
            ends_here = tokens[: len(tokens) - length]
            if ends_here[-1] in breakers or (run and tuple(ends_here[-len(run) :]) == run):
                break
            length += 1
        if length >= least:
            found[tokens[place]] = max(length, found.get(tokens[place], 0))
    return found


def found(repeats: RepeatedSuffixes, least: int) -> dict[int, int]:
    """Give the last length of each token, which is its longest."""
    ids, lengths = repeats.continuations(least)
    return dict(zip(ids.tolist(), lengths.tolist(), strict=True))


@given(TOKENS, TOKENS, st.integers(0, 4), st.sampled_from([-1, 1, 2, 7, 30]))
@settings(max_examples=200, deadline=None)
def test_continuations_are_those_of_a_search_over_all_places(
    prompt: list[int], answer: list[int], least: int, window: int
) -> None:
    repeats = RepeatedSuffixes(prompt, (), (), window)
    for token in answer:
        repeats.append(token)
    assert longest(prompt + answer, least, window) == found(repeats, least)


@given(TOKENS, TOKENS, st.sampled_from([(), (0,), (0, 1)]), st.sampled_from([(), (2, 3), (1, 1)]))
@settings(max_examples=200, deadline=None)
def test_no_repeat_continues_across_a_breaker(
    prompt: list[int], answer: list[int], breakers: tuple[int, ...], run: tuple[int, ...]
) -> None:
    repeats = RepeatedSuffixes(prompt, breakers, [[*run]] if run else (), -1)
    for token in answer:
        repeats.append(token)
    assert longest(prompt + answer, 1, breakers=breakers, run=run) == found(repeats, 1)


@given(TOKENS, TOKENS)
@QUICK
def test_prompt_and_answer_count_alike(first: list[int], second: list[int]) -> None:
    grown = RepeatedSuffixes(first, (1,), (), -1)
    for token in second:
        grown.append(token)
    assert found(RepeatedSuffixes(first + second, (1,), (), -1), 0) == found(grown, 0)


def test_longer_repeats_count_as_the_longest_one() -> None:
    tokens = [5] * (2 * MAX_REPEAT)
    repeats = RepeatedSuffixes(tokens, (), (), -1)
    assert {5: MAX_REPEAT} == found(repeats, 1)
    repeats.append(5)
    assert {5: MAX_REPEAT} == found(repeats, 1)


def test_empty_conversation_has_no_repeat() -> None:
    assert {} == found(RepeatedSuffixes([], (), (), -1), 0)
    ids, lengths = RepeatedSuffixes([], (), (), -1).continuations(0)
    assert (0, 0) == (np.size(ids), np.size(lengths))


def test_media_break_repeats_and_continue_none() -> None:
    picture = -(1 << 255)
    repeats = RepeatedSuffixes([1, picture, 2, 3, 1, picture, 2], (), (), -1)
    assert {3: 1} == found(repeats, 1)
    repeats.append(1)
    assert {2: 0, 3: 0, 1: 0} == found(repeats, 0)
