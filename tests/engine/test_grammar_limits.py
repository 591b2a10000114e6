import llguidance

from antiphon.engine.grammar_limits import INITIAL_LEXER_FUEL, MAX_GRAMMAR_SIZE, STEP_LEXER_FUEL, limits


def test_the_bounds_reach_the_library() -> None:
    made = limits()
    bounds = (made.initial_lexer_fuel, made.step_lexer_fuel, made.max_grammar_size)
    assert (INITIAL_LEXER_FUEL, STEP_LEXER_FUEL, MAX_GRAMMAR_SIZE) == bounds


def test_a_lexer_without_fuel_is_refused_by_the_library() -> None:
    starved = llguidance.LLParserLimits(initial_lexer_fuel=1)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), "start: /[a-z]{9}x/", log_level=0, limits=starved)
    assert matcher.is_error()
