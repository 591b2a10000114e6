"""Hostile requests are valid bodies, so that they reach what they are to hurt."""

import msgspec
import pytest

from antiphon.protocol.requests import decode_request
from soak.hostile import REQUESTS


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_hostile_request_can_be_decoded(number: int) -> None:
    fields = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **REQUESTS[number]()}
    assert "m" == decode_request(msgspec.json.encode(fields)).model
