"""The requests that a soak draws."""

import json
import random

import pytest

from soak.ledger import Ledger
from soak.mix import WEIGHTS, Mix


def mix(**weights: int) -> Mix:
    return Mix(random.Random(1), "m", Ledger(), max_body_size=1000, weights=weights or WEIGHTS)  # noqa: S311 (a seed)


@pytest.mark.parametrize("kind", [kind for kind in WEIGHTS if kind not in {"retrieve", "messages", "update", "delete"}])
def test_every_kind_can_be_drawn(kind: str) -> None:
    request, kept = mix(**{kind: 1}).draw()
    assert (kind, None) == (request.kind, kept)


def test_hostile_requests_may_be_answered_or_refused() -> None:
    request, _ = mix(hostile=1).draw()
    assert {200, 400, 413} == request.expected
    assert "m" == json.loads(request.body)["model"]


def test_same_seed_draws_the_same_requests() -> None:
    one, other = mix(), mix()
    assert [one.draw()[0] for _ in range(20)] == [other.draw()[0] for _ in range(20)]
