"""The counts, the violations, and the figures over time of a run."""

import re
from collections import Counter
from typing import Final

from msgspec import Struct

from soak.invariants import Request, error_code
from soak.wire import Reply

MAX_SHOWN: Final = 50
"""Violations whose text is stored; all are counted."""
TOO_MANY: Final = 429
_CHUNK: Final = re.compile(rb'"delta":\{"(?:content|tool_calls)":')
_COMPLETION_TOKENS: Final = re.compile(rb'"completion_tokens":(\d+)')


class Sample(Struct, frozen=True):
    """Figures at one moment of the run."""

    seconds: float
    """Seconds since the start."""
    requests: int
    tokens: int
    """Tokens so far: chunks with text, and the usage of complete answers."""
    refusals: int
    memory: int
    """Bytes of memory of server and engine."""


class Tally:
    """The counts of a run."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        """Requests by kind."""
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        """Errors by code, without refusals."""
        self.left = 0
        """Requests whose client disconnected."""
        self.refusals = 0
        self.tokens = 0
        self.stalled = 0
        """Exchanges that timed out."""
        self.violations: list[str] = []
        self.n_violations = 0
        self.samples: list[Sample] = []

    @property
    def requests(self) -> int:
        """The number of requests."""
        return sum(self.kinds.values())

    def count(self, request: Request, reply: Reply) -> None:
        """Count one exchange."""
        self.kinds[request.kind] += 1
        self.tokens += _tokens(request, reply)
        if not request.behaviour.stays:
            self.left += 1
            return
        self.statuses[reply.status] += 1
        self.refusals += reply.status == TOO_MANY
        code = _code(reply)
        if code and reply.status != TOO_MANY:
            self.errors[code] += 1

    def object_to(self, found: list[str]) -> None:
        """Add violations."""
        self.n_violations += len(found)
        self.violations += found[: max(0, MAX_SHOWN - len(self.violations))]


def _tokens(request: Request, reply: Reply) -> int:
    if request.streams:
        return len(_CHUNK.findall(reply.body))
    return sum(map(int, _COMPLETION_TOKENS.findall(reply.body))) if request.completes else 0


def _code(reply: Reply) -> str:
    try:
        return error_code(reply)
    except (ValueError, KeyError, TypeError):
        return f"{reply.status}, not readable"
