"""Lookups against a plain search through all tokens."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engine.drafting.prompt_lookup import GRAM, TRY_AGAIN, PromptLookup, index_of

TOKENS = st.lists(st.integers(0, 2), max_size=40)


def looked_up(prompt: list[int], answer: list[int], worth: int) -> list[int]:
    lookup, tokens = PromptLookup(index_of(prompt), 0.5), list(prompt)
    for token_id in answer:
        tokens.append(token_id)
        lookup.observe(tokens, 1)
    return lookup.draft(tokens, worth)


def searched(prompt: list[int], answer: list[int], worth: int) -> list[int]:
    """What followed the last time; the prompt's own end is continued by the answer and not looked up across it."""
    tokens = prompt + answer
    for end in range(len(tokens) - 1, GRAM - 1, -1):
        if tokens[end - GRAM : end] == tokens[-GRAM:]:
            return tokens[end : end + worth]
    return []


@given(TOKENS, TOKENS, st.integers(1, 8))
def test_a_draft_is_what_followed_the_newest_tokens_the_last_time(
    prompt: list[int], answer: list[int], worth: int
) -> None:
    assert searched(prompt, answer, worth) == looked_up(prompt, answer, worth)


@given(TOKENS, st.lists(TOKENS, max_size=6))
def test_tokens_that_come_together_are_followed_as_if_one_by_one(prompt: list[int], gains: list[list[int]]) -> None:
    lookup, tokens = PromptLookup(index_of(prompt), 0.5), list(prompt)
    for gained in gains:
        tokens += gained
        lookup.observe(tokens, len(gained))
    assert looked_up(prompt, tokens[len(prompt) :], 5) == lookup.draft(tokens, 5)


def test_what_is_not_worth_it_is_tried_again_with_one_token_after_a_while() -> None:
    lookup, tokens = PromptLookup({}, 0.5), [7] * 10
    lookup.observe(tokens, 10)
    assert [] == lookup.draft(tokens, 0)
    tokens += [7] * TRY_AGAIN
    lookup.observe(tokens, TRY_AGAIN)
    assert [[7], []] == [lookup.draft(tokens, 0), lookup.draft(tokens, 0)]


def test_a_conversation_shorter_than_a_run_has_no_drafts() -> None:
    assert [] == looked_up([1], [1], 4)


def test_what_is_not_worth_it_is_tried_again_after_exactly_so_many_tokens() -> None:
    lookup, tokens = PromptLookup({}, 0.5), [7] * TRY_AGAIN
    lookup.observe(tokens, TRY_AGAIN - 1)
    assert [] == lookup.draft(tokens, 0)
    lookup.observe(tokens, 1)
    assert [7] == lookup.draft(tokens, 0)
    lookup.observe(tokens, TRY_AGAIN - 1)
    assert [] == lookup.draft(tokens, 0)


def test_the_answer_goes_before_the_prompt() -> None:
    assert [5] == looked_up([1, 2, 3, 4, 9], [1, 2, 3, 5, 1, 2, 3], 1)


def test_three_tokens_are_enough_to_look_up() -> None:
    lookup = PromptLookup({(1, 1, 1): 2}, 0.5)
    assert [1] == lookup.draft([1, 1, 1], 4)
