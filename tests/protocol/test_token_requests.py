from typing import Any

import msgspec
import pytest

from antiphon.errors import InvalidRequestError
from antiphon.protocol.requests import ReceivedRequest
from antiphon.protocol.token_requests import (
    MAX_TOKEN_IDS,
    DetokenizeRequest,
    TokenizeRequest,
    decode_detokenize,
    decode_prompt_request,
    decode_tokenize,
)
from tests.protocol.bodies import USER


def tokenize(model: str | None = None, **fields: Any) -> TokenizeRequest | ReceivedRequest:  # noqa: ANN401 (JSON)
    return decode_tokenize(msgspec.json.encode(fields), model)


@pytest.mark.parametrize(
    ("text", "adds_special", "fields"),
    [
        ("a", True, {"prompt": "a"}),
        ("a", False, {"content": "a"}),
        ("", False, {"content": ""}),
        ("a", False, {"prompt": "a", "add_special_tokens": False}),
        ("a", True, {"content": "a", "add_special": True}),
    ],
)
def test_both_shapes_have_a_text_and_their_own_default(text: str, adds_special: bool, fields: dict[str, Any]) -> None:  # noqa: FBT001
    request = tokenize(**fields)
    assert isinstance(request, TokenizeRequest)
    assert (text, adds_special) == (request.text, request.adds_special)


def test_messages_are_a_request_for_a_chat_completion() -> None:
    request = tokenize("only", messages=[USER], add_generation_prompt=False)
    assert isinstance(request, ReceivedRequest)
    assert ("only", False) == (request.request.model, request.request.add_generation_prompt)


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("prompt", {}),
        ("prompt", {"prompt": "a", "content": "a"}),
        ("add_special", {"prompt": "a", "add_special": True, "add_special_tokens": True}),
        ("with_pieces", {"prompt": "a", "with_pieces": True, "return_token_strs": True}),
        ("text", {"text": "a"}),
        ("model", {"messages": [USER]}),
    ],
)
def test_malformed_request_is_refused_by_name(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        tokenize(**fields)
    assert param == caught.value.param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_body_that_is_no_object_is_refused(body: bytes) -> None:
    for decode in (
        lambda data: decode_tokenize(data, "m"),
        decode_detokenize,
        lambda data: decode_prompt_request(data, "m"),
    ):
        with pytest.raises(InvalidRequestError):
            decode(body)


def test_model_of_a_prompt_is_the_only_one_unless_it_is_named() -> None:
    assert "only" == decode_prompt_request(msgspec.json.encode({"messages": [USER]}), "only").request.model
    named = msgspec.json.encode({"messages": [USER], "model": "named"})
    assert "named" == decode_prompt_request(named, "only").request.model


def test_model_of_a_prompt_may_be_left_out_beside_members_of_messages_named_model() -> None:
    body = msgspec.json.encode({"messages": [{**USER, "model": "other"}]})
    assert "only" == decode_prompt_request(body, "only").request.model


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("expected an object, but got an array", b"[1]"),
        ("expected an object, but got null", b"null"),
        ("it is not valid JSON", b'["messages":[{"role":"user","content":"a"}]}'),
        ("Missing required parameter: 'messages'", b" { } "),
    ],
)
def test_malformed_prompt_request_without_a_model_is_described_as_the_client_sent_it(message: str, body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_prompt_request(body, "only")
    assert message in caught.value.message


def test_ids_are_decoded_within_their_bounds() -> None:
    assert DetokenizeRequest(tokens=[1, 2]) == decode_detokenize(b'{"tokens": [1, 2]}')
    for tokens in ([-1], [2**31], [1] * (MAX_TOKEN_IDS + 1), ["a"]):
        with pytest.raises(InvalidRequestError):
            decode_detokenize(msgspec.json.encode({"tokens": tokens}))
