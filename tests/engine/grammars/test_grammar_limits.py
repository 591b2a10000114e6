import llguidance

from antiphon.engine.grammars.grammar_limits import (
    INITIAL_LEXER_FUEL,
    MAX_GRAMMAR_SIZE,
    MAX_ROW_ITEMS,
    STEP_LEXER_FUEL,
    STEP_MAX_ITEMS,
    limits,
)


def test_limits_reach_the_library() -> None:
    made = limits()
    bounds = (made.initial_lexer_fuel, made.step_lexer_fuel, made.max_grammar_size)
    assert (INITIAL_LEXER_FUEL, STEP_LEXER_FUEL, MAX_GRAMMAR_SIZE) == bounds
    assert (STEP_MAX_ITEMS, MAX_ROW_ITEMS) == (made.step_max_items, made.max_items_in_row)


def test_library_refuses_a_lexer_without_fuel() -> None:
    starved = llguidance.LLParserLimits(initial_lexer_fuel=1)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), "start: /[a-z]{9}x/", log_level=0, limits=starved)
    assert matcher.is_error()


def test_token_with_too_many_items_after_it_is_an_error() -> None:
    letters = "start: " + " ".join(["/[a-z]/?"] * 1000)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), letters, log_level=0, limits=limits())
    matcher.compute_bitmask()
    matcher.consume_tokens(list(b"a"))
    assert f"max is {MAX_ROW_ITEMS}" in matcher.get_error()
