"""What bounds every grammar, where it is written and where it is followed."""

from typing import Final

import llguidance

MAX_GRAMMAR_TEXT: Final = 512 * 1024
"""Characters: reading a grammar costs more than its length, so longer ones are not read at all."""
INITIAL_LEXER_FUEL: Final = 1_000_000
STEP_LEXER_FUEL: Final = 200_000
MAX_GRAMMAR_SIZE: Final = 500_000
"""llguidance's own work units: the three bound what a hostile grammar costs, at compile time and in each step."""


def limits() -> llguidance.LLParserLimits:
    """Make the bounds of every grammar."""
    return llguidance.LLParserLimits(
        initial_lexer_fuel=INITIAL_LEXER_FUEL, step_lexer_fuel=STEP_LEXER_FUEL, max_grammar_size=MAX_GRAMMAR_SIZE
    )
