"""The limits of every grammar, for its text and for the work of following it."""

from typing import Final

import llguidance

MAX_GRAMMAR_TEXT: Final = 512 * 1024
"""Characters of a grammar. Longer ones are refused unread, because the cost of reading grows faster than the length."""
INITIAL_LEXER_FUEL: Final = 1_000_000
STEP_LEXER_FUEL: Final = 200_000
MAX_GRAMMAR_SIZE: Final = 500_000
"""llguidance's work units. The three limit the cost of a hostile grammar, at compile time and in each step."""
STEP_MAX_ITEMS: Final = 50_000
"""Items of Earley's algorithm for one mask: 22 to 52 ms with the most ambiguous grammars; real schemas need 1,000."""
MAX_ROW_ITEMS: Final = 2_000
"""Items after one token: up to 10 ms of work under the interpreter's lock."""
LONG_GRAMMAR: Final = 16 * 1024
"""Characters up to which the search for forced tokens takes some 20 ms at most."""


def limits() -> llguidance.LLParserLimits:
    """Return the limits in llguidance's form."""
    return llguidance.LLParserLimits(
        initial_lexer_fuel=INITIAL_LEXER_FUEL,
        step_lexer_fuel=STEP_LEXER_FUEL,
        max_grammar_size=MAX_GRAMMAR_SIZE,
        step_max_items=STEP_MAX_ITEMS,
        max_items_in_row=MAX_ROW_ITEMS,
    )
