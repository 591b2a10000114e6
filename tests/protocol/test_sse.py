import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import APIError, InternalServerError, RateLimitError
from antiphon.protocol.responses import (
    ChatCompletionChunk,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    Delta,
    FunctionCallDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from antiphon.protocol.sse import DONE, ChunkEncoder, SSEDecoder, encode_chunk, encode_error, error_response

CHUNK = ChatCompletionChunk(
    id="chatcmpl-1",
    created=1,
    model="tiny",
    service_tier="default",
    system_fingerprint="fp",
    choices=[ChunkChoice(index=0, delta=Delta(content="a\r\n\u2028é"))],
)


def decode(*chunks: bytes) -> list[str]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_chunk_is_one_event_on_one_line() -> None:
    frame = encode_chunk(CHUNK)
    assert frame.startswith(b'data: {"id":"chatcmpl-1"')
    assert frame.endswith(b"}\n\n")
    assert 2 == frame.count(b"\n")
    (event,) = decode(frame)
    assert {"content": "a\r\n\u2028é"} == json.loads(event)["choices"][0]["delta"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
"""Texts without lone surrogates, which have no UTF-8 form and occur in no answer."""
MAYBE = st.none() | TEXTS | st.just(msgspec.UNSET)
CALLS = st.builds(ToolCallDelta, index=st.integers(0, 3), function=st.builds(FunctionCallDelta, arguments=TEXTS))
DELTAS = st.builds(
    Delta,
    role=st.sampled_from(["assistant", msgspec.UNSET]),
    content=MAYBE,
    refusal=MAYBE,
    tool_calls=st.just(msgspec.UNSET) | st.lists(CALLS, max_size=2),
)
BYTES = st.none() | st.lists(st.integers(0, 255), max_size=3)
TOPS = st.builds(TopLogprob, TEXTS, st.floats(-99, 0), BYTES)
LOGPROBS = st.builds(TokenLogprob, TEXTS, st.floats(-99, 0), BYTES, st.lists(TOPS, max_size=2))
CHOICES = st.builds(
    ChunkChoice,
    index=st.integers(0, 127),
    delta=DELTAS,
    logprobs=st.none() | st.builds(ChoiceLogprobs, st.none() | st.lists(LOGPROBS, max_size=2)),
    finish_reason=st.sampled_from([None, "stop", "length"]),
)
USAGES = st.builds(
    CompletionUsage,
    prompt_tokens=st.integers(0, 9),
    completion_tokens=st.integers(0, 9),
    total_tokens=st.integers(0, 18),
)
SHARED = st.fixed_dictionaries(
    {
        "id": TEXTS,
        "created": st.integers(0, 2**40),
        "model": TEXTS,
        "service_tier": st.sampled_from(["default", "flex"]),
        "system_fingerprint": TEXTS,
    }
)
OWN = st.fixed_dictionaries(
    {
        "choices": st.lists(CHOICES, max_size=2),
        "usage": st.none() | st.just(msgspec.UNSET) | USAGES,
        "prompt_token_ids": st.just(msgspec.UNSET) | st.lists(st.integers(0, 9), max_size=3),
    },
    optional={"obfuscation": TEXTS},
)


@settings(deadline=None)
@given(SHARED, st.lists(OWN, min_size=1, max_size=3))
def test_chunk_encoder_gives_the_same_bytes_as_encode_chunk(
    shared: dict[str, object], own: list[dict[str, object]]
) -> None:
    chunks = [ChatCompletionChunk(**shared, **each) for each in own]  # type: ignore[arg-type] # drawn by name
    encoder = ChunkEncoder()
    assert [encode_chunk(chunk) for chunk in chunks] == [encoder.encode(chunk) for chunk in chunks]


@settings(deadline=None)
@given(SHARED, OWN)
def test_only_chunks_with_choices_are_padded(shared: dict[str, object], own: dict[str, object]) -> None:
    chunk = ChatCompletionChunk(**shared, **own)  # type: ignore[arg-type] # drawn by name
    encoder = ChunkEncoder(lambda size: b"x" * (size % 7))
    size = len(msgspec.json.encode(chunk.choices)) % 7
    padded = msgspec.structs.replace(chunk, obfuscation="x" * size) if chunk.choices else chunk
    assert encode_chunk(padded) == encoder.encode(chunk)


def test_chunk_of_another_answer_is_an_assertion_error() -> None:
    encoder = ChunkEncoder()
    encoder.encode(CHUNK)
    with pytest.raises(AssertionError, match="chatcmpl-2"):
        encoder.encode(msgspec.structs.replace(CHUNK, id="chatcmpl-2"))


def test_done_event_holds_the_done_marker() -> None:
    assert ["[DONE]"] == decode(DONE)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            InternalServerError("The engine died."),
            {"message": "The engine died.", "type": "server_error", "param": None, "code": "server_error"},
        ),
        (
            RateLimitError("Wait.", param="n", code="busy"),
            {"message": "Wait.", "type": "rate_limit_error", "param": "n", "code": "busy"},
        ),
    ],
)
def test_error_event_holds_the_error_object(error: APIError, expected: dict[str, str | None]) -> None:
    assert encode_error(error).startswith(b"event: error\ndata: ")
    (event,) = decode(encode_error(error))
    assert {"error": expected} == json.loads(event)
    assert expected["message"] == error_response(error).error.message


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\n\ndata: b\n\r\n", ["a", "b"]),
        (b"\n\n\r\r\r\n\r\ndata: a\n\n\n\n", ["a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a \n\n", [" a "]),
        (b"data: a:b\n\n", ["a:b"]),
        (b"data\n\n", [""]),
        (b"data:\ndata\n\n", ["\n"]),
        (b": ping\n\n:\ndata: a\n: pong\n\n", ["a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\nother: b\n\n", ["a"]),
        (b"event: x\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\xef\xbb\xbf\n\xef\xbb\xbfdata: a\n\n", []),
        (b"Data: a\n data: b\n\n", []),
        (b"data: a\n\ndata: b\n", ["a"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        ("data: é😀\u2028\n\n".encode(), ["é😀\u2028"]),
    ],
)
def test_decoder_follows_the_standard_for_whole_streams_and_single_bytes(stream: bytes, events: list[str]) -> None:
    assert events == decode(stream)
    assert events == decode(*(bytes([byte]) for byte in stream))
    assert events == decode(*(piece for byte in stream for piece in (bytes([byte]), b"")))


LINES = st.sampled_from(["data: a", "data: é😀", "data", ": x", "event: y", "", "", "\ufeffdata: z"])
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\r", "\n", "\r\n"]))).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


@settings(deadline=None)
@given(STREAMS | st.binary(max_size=30), st.data())
def test_decoded_events_do_not_depend_on_the_chunking(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream))).map(sorted))
    pieces = [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]
    assert decode(stream) == decode(*pieces)


@settings(deadline=None)
@given(st.lists(st.text().filter(lambda text: "\r" not in text)))
def test_encoded_texts_are_decoded_unchanged(texts: list[str]) -> None:
    stream = "".join("".join(f"data: {line}\n" for line in text.split("\n")) + "\n" for text in texts)
    assert texts == decode(stream.encode())
