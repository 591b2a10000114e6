import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import APIError, InternalServerError, RateLimitError
from antiphon.protocol.responses import ChatCompletionChunk, ChunkChoice, Delta
from antiphon.protocol.sse import DONE, SSEDecoder, encode_chunk, encode_error, error_response

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


def test_a_chunk_is_one_event_on_one_line() -> None:
    frame = encode_chunk(CHUNK)
    assert frame.startswith(b'data: {"id":"chatcmpl-1"')
    assert frame.endswith(b"}\n\n")
    assert frame.count(b"\n") == 2
    (event,) = decode(frame)
    assert json.loads(event)["choices"][0]["delta"] == {"content": "a\r\n\u2028é"}


def test_done() -> None:
    assert decode(DONE) == ["[DONE]"]


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
def test_an_error_is_an_event_in_the_shape_of_every_error(error: APIError, expected: dict[str, str | None]) -> None:
    assert encode_error(error).startswith(b"event: error\ndata: ")
    (event,) = decode(encode_error(error))
    assert json.loads(event) == {"error": expected}
    assert error_response(error).error.message == expected["message"]


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
def test_the_standard_rules_hold_whole_and_byte_by_byte(stream: bytes, events: list[str]) -> None:
    assert decode(stream) == events
    assert decode(*(bytes([byte]) for byte in stream)) == events
    assert decode(*(piece for byte in stream for piece in (bytes([byte]), b""))) == events


LINES = st.sampled_from(["data: a", "data: é😀", "data", ": x", "event: y", "", "", "\ufeffdata: z"])
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\r", "\n", "\r\n"]))).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


@settings(deadline=None)
@given(STREAMS | st.binary(max_size=30), st.data())
def test_chunking_changes_nothing(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream))).map(sorted))
    pieces = [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])]
    assert decode(*pieces) == decode(stream)


@settings(deadline=None)
@given(st.lists(st.text().filter(lambda text: "\r" not in text)))
def test_what_is_framed_comes_back(texts: list[str]) -> None:
    stream = "".join("".join(f"data: {line}\n" for line in text.split("\n")) + "\n" for text in texts)
    assert decode(stream.encode()) == texts
