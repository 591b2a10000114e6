"""The logprobs of a prompt over HTTP, with the bundled model: the extension ``prompt_logprobs``, as in vLLM."""

from typing import Any

import httpx2
import pytest

from tests.conformance.conftest import MODEL, WAIT
from tests.conftest import LiveServer

LONG = {"role": "user", "content": "Tell me about rivers, lakes, seas and ponds. " * 20}


def complete(server: LiveServer, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    body = {"model": MODEL, "messages": [LONG], "max_tokens": 2, "temperature": 0, **fields}
    answer: dict[str, Any] = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=WAIT).json()
    return answer


@pytest.fixture(scope="module")
def answer(server: LiveServer) -> dict[str, Any]:
    """The answer with two alternatives and the ids of the tokens; the prompt was cached before."""
    complete(server)
    return complete(server, prompt_logprobs=2, return_token_ids=True, n=2)


def test_each_token_of_a_prompt_has_its_logprob_and_the_first_has_none(answer: dict[str, Any]) -> None:
    ids, entries = answer["prompt_token_ids"], answer["prompt_logprobs"]
    assert answer["usage"]["prompt_tokens"] == len(ids) == len(entries) > 64 * 2
    assert entries[0] is None
    assert [str(token) for token in ids[1:]] == [next(iter(entry)) for entry in entries[1:]]
    assert 0 == answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_likeliest_tokens_are_beside_the_token_of_the_prompt(answer: dict[str, Any]) -> None:
    for entry in answer["prompt_logprobs"][1:]:
        own, *_ = entry.values()
        ranks = sorted({own["rank"], 1, 2})
        assert ranks == sorted(each["rank"] for each in entry.values())
        ordered = sorted(entry.values(), key=lambda each: each["rank"])
        logprobs = [each["logprob"] for each in ordered]
        assert sorted(logprobs, reverse=True) == logprobs
        assert max(logprobs) <= 0.0


def test_repeated_text_is_more_likely_than_the_first_one(answer: dict[str, Any]) -> None:
    texts = [next(iter(entry.values())) for entry in answer["prompt_logprobs"][1:]]
    first, last = texts[5:45], texts[-45:-5]
    assert "rivers" in "".join(each["decoded_token"] for each in last)
    assert sum(each["logprob"] for each in first) < sum(each["logprob"] for each in last)


def test_stream_with_logprobs_of_its_prompt_is_refused_by_name(server: LiveServer) -> None:
    assert "prompt_logprobs" == complete(server, prompt_logprobs=0, stream=True)["error"]["param"]


def test_answer_without_the_field_has_no_logprobs_of_its_prompt(server: LiveServer) -> None:
    assert "prompt_logprobs" not in complete(server)
