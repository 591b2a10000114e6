"""Bounds and parsers of numeric options: counts are whole, and no number overflows in C."""

import re
from collections.abc import Sequence
from typing import Final

from cyclopts import Parameter, Token
from cyclopts.validators import Number

MAX_COUNT: Final = 2**31 - 1
"""llama.cpp and the databases count in 32 bits."""
MAX_THREADS: Final = 512
"""GGML_MAX_N_THREADS."""
MAX_BATCHED_TOKENS: Final = 1 << 20
"""Tokens of one step; the engine allocates arrays of this length."""
MAX_SECONDS: Final = 100 * 365 * 86400
MAX_DAYS: Final = 100 * 365
_WHOLE: Final = re.compile(r"\s*[+-]?\d{1,20}\s*", re.ASCII)


def whole(_type: type, tokens: Sequence[Token]) -> int:
    """Read a whole number, in digits. Raises ValueError for any other text, such as 5.5, instead of rounding it."""
    (token,) = tokens
    if not _WHOLE.fullmatch(token.value):
        raise ValueError(f'"{token.value}" is not a whole number.')
    return int(token.value)


def count(at_least: int, at_most: int = MAX_COUNT) -> Parameter:
    """Return the parser of a whole number within these bounds."""
    return Parameter(converter=whole, validator=Number(gte=at_least, lte=at_most))


def duration(*, at_most: float = MAX_SECONDS, positive: bool = True) -> Parameter:
    """Return the bounds of a duration of at most ``at_most`` units. 0 is allowed unless ``positive``."""
    return Parameter(validator=Number(gt=0, lte=at_most) if positive else Number(gte=0, lte=at_most))
