"""What bounds every grammar, where it is written and where it is followed."""

from typing import Final

import llguidance

MAX_GRAMMAR_TEXT: Final = 512 * 1024
"""Characters: reading a grammar costs more than its length, so longer ones are not read at all."""
INITIAL_LEXER_FUEL: Final = 1_000_000
STEP_LEXER_FUEL: Final = 200_000
MAX_GRAMMAR_SIZE: Final = 500_000
"""llguidance's own work units: the three bound what a hostile grammar costs, at compile time and in each step."""
STEP_MAX_ITEMS: Final = 50_000
"""Items of Earley's algorithm for one mask: 22 to 52 ms where grammars are most ambiguous; real schemas need 1,000."""
MAX_ROW_ITEMS: Final = 2_000
"""Items after one token: up to 10 ms of work that holds the interpreter's lock."""
LONG_GRAMMAR: Final = 16 * 1024
"""Characters up to which all that a grammar can force at once is found in some 20 ms."""


def limits() -> llguidance.LLParserLimits:
    """Make the bounds of every grammar."""
    return llguidance.LLParserLimits(
        initial_lexer_fuel=INITIAL_LEXER_FUEL,
        step_lexer_fuel=STEP_LEXER_FUEL,
        max_grammar_size=MAX_GRAMMAR_SIZE,
        step_max_items=STEP_MAX_ITEMS,
        max_items_in_row=MAX_ROW_ITEMS,
    )
