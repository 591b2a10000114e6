"""Lookups against a plain search through all tokens."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.drafting.prompt_lookup import GRAM, RETRY_TOKENS, PromptLookup, index_prompt

TOKENS = st.lists(st.integers(0, 2), max_size=40)


def looked_up(prompt: list[int], answer: list[int], worth: int) -> list[int]:
    lookup, tokens = PromptLookup(index_prompt(prompt), 0.5), list(prompt)
    for token_id in answer:
        tokens.append(token_id)
        lookup.observe(tokens, 1)
    return lookup.draft(tokens, worth)


def searched(prompt: list[int], answer: list[int], worth: int) -> list[int]:
    """Return the tokens after the last earlier occurrence of the newest tokens."""
    tokens = prompt + answer
    for end in range(len(tokens) - 1, GRAM - 1, -1):
        if tokens[end - GRAM : end] == tokens[-GRAM:]:
            return tokens[end : end + worth]
    return []


@given(TOKENS, TOKENS, st.integers(1, 8))
def test_draft_repeats_the_tokens_after_the_last_occurrence(prompt: list[int], answer: list[int], worth: int) -> None:
    assert searched(prompt, answer, worth) == looked_up(prompt, answer, worth)


@given(TOKENS, st.lists(TOKENS, max_size=6))
def test_tokens_gained_together_count_like_tokens_gained_one_by_one(prompt: list[int], gains: list[list[int]]) -> None:
    lookup, tokens = PromptLookup(index_prompt(prompt), 0.5), list(prompt)
    for gained in gains:
        tokens += gained
        lookup.observe(tokens, len(gained))
    assert looked_up(prompt, tokens[len(prompt) :], 5) == lookup.draft(tokens, 5)


def test_useless_lookup_is_retried_with_one_token() -> None:
    lookup, tokens = PromptLookup({}, 0.5), [7] * 10
    lookup.observe(tokens, 10)
    assert [] == lookup.draft(tokens, 0)
    tokens += [7] * RETRY_TOKENS
    lookup.observe(tokens, RETRY_TOKENS)
    assert [[7], []] == [lookup.draft(tokens, 0), lookup.draft(tokens, 0)]


def test_conversation_shorter_than_a_run_has_no_draft() -> None:
    assert [] == looked_up([1], [1], 4)


def test_useless_lookup_is_retried_after_the_exact_number_of_tokens() -> None:
    lookup, tokens = PromptLookup({}, 0.5), [7] * RETRY_TOKENS
    lookup.observe(tokens, RETRY_TOKENS - 1)
    assert [] == lookup.draft(tokens, 0)
    lookup.observe(tokens, 1)
    assert [7] == lookup.draft(tokens, 0)
    lookup.observe(tokens, RETRY_TOKENS - 1)
    assert [] == lookup.draft(tokens, 0)


def test_occurrence_in_the_answer_wins_over_the_prompt() -> None:
    assert [5] == looked_up([1, 2, 3, 4, 9], [1, 2, 3, 5, 1, 2, 3], 1)


def test_three_tokens_suffice_for_a_lookup() -> None:
    lookup = PromptLookup({(1, 1, 1): 2}, 0.5)
    assert [1] == lookup.draft([1, 1, 1], 4)


def test_draft_ends_before_a_row_of_media() -> None:
    prompt = [5, 6, 7, 8, 9, -3, -3, 4]
    assert [8, 9] == looked_up(prompt, [5, 6, 7], 8)


def test_rows_of_media_alone_are_never_a_draft() -> None:
    assert [] == looked_up([5, 6, 7, -3, -3, 4], [5, 6, 7], 8)
