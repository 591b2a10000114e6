"""Every request that other people's clients send is answered."""

from typing import Any

import pytest

from tests.conformance.client_requests import CLIENTS
from tests.conformance.observations import sent

REQUESTS = {f"{client}-{i}": body for client, bodies in CLIENTS.items() for i, body in enumerate(bodies)}


@pytest.mark.parametrize("body", REQUESTS.values(), ids=REQUESTS)
def test_request_of_a_client_is_answered_in_its_form(body: dict[str, Any]) -> None:
    media_type, values = sent(body)
    assert ("text/event-stream" if body.get("stream") else "application/json") in (media_type or "")
    assert values[0]["object"] == ("chat.completion.chunk" if body.get("stream") else "chat.completion")


def test_guidellm_gets_the_usage_in_every_chunk() -> None:
    _, chunks = sent(CLIENTS["guidellm"][0])
    assert all(chunk["usage"]["completion_tokens"] > 0 for chunk in chunks)
