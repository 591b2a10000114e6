"""What a run has seen: counts, violations, and figures over time."""

import re
from collections import Counter
from typing import Final

from msgspec import Struct

from soak.invariants import Asked, error_code
from soak.wire import Reply

MAX_SHOWN: Final = 50
"""Violations whose text is kept; all are counted."""
TOO_MANY: Final = 429
_CHUNK: Final = re.compile(rb'"delta":\{"(?:content|tool_calls)":')
_COMPLETION_TOKENS: Final = re.compile(rb'"completion_tokens":(\d+)')


class Sample(Struct, frozen=True):
    """Figures at one moment of the run."""

    seconds: float
    """Since its beginning."""
    requests: int
    tokens: int
    """That have come so far: chunks that carry some, and what the usage of whole answers says."""
    refusals: int
    memory: int
    """Bytes that server and engine hold together."""


class Tally:
    """Counts."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        """Requests by kind."""
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        """Errors by what they are called, refusals left out."""
        self.left = 0
        """Requests whose client went away."""
        self.refusals = 0
        self.tokens = 0
        self.stalled = 0
        """Exchanges that did not end in time."""
        self.violations: list[str] = []
        self.n_violations = 0
        self.samples: list[Sample] = []

    @property
    def requests(self) -> int:
        """All that were sent."""
        return sum(self.kinds.values())

    def count(self, asked: Asked, reply: Reply) -> None:
        """Count one exchange."""
        self.kinds[asked.kind] += 1
        self.tokens += _tokens(asked, reply)
        if not asked.manner.stays:
            self.left += 1
            return
        self.statuses[reply.status] += 1
        self.refusals += reply.status == TOO_MANY
        code = _code(reply)
        if code and reply.status != TOO_MANY:
            self.errors[code] += 1

    def object_to(self, found: list[str]) -> None:
        """Note what did not hold."""
        self.n_violations += len(found)
        self.violations += found[: max(0, MAX_SHOWN - len(self.violations))]


def _tokens(asked: Asked, reply: Reply) -> int:
    if asked.streams:
        return len(_CHUNK.findall(reply.body))
    return sum(map(int, _COMPLETION_TOKENS.findall(reply.body))) if asked.completes else 0


def _code(reply: Reply) -> str:
    try:
        return error_code(reply)
    except (ValueError, KeyError, TypeError):
        return f"{reply.status}, not readable"
