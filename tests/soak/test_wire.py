import pytest

from soak.wire import parse, request_bytes

HEAD = b"HTTP/1.1 200 OK\r\nX-One: 1\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def test_status_and_headers_are_parsed() -> None:
    reply = parse(HEAD + b"content-length: 2\r\n\r\nHi", 0, 1)
    assert (200, "1", b"Hi", True) == (reply.status, reply.headers["x-one"], reply.body, reply.complete)


@pytest.mark.parametrize(
    ("expected", "rest"),
    [
        ((b"Hi!", True), b"2\r\nHi\r\n1\r\n!\r\n0\r\n\r\n"),
        ((b"Hi", False), b"2\r\nHi\r\n"),
        ((b"Hi", False), b"2\r\nHi\r\n0\r\n\r\nmore"),
        ((b"H", False), b"2\r\nH"),
        ((b"", False), b"x\r\n"),
    ],
)
def test_chunks_are_joined_and_complete_only_with_the_last_one(expected: tuple[bytes, bool], rest: bytes) -> None:
    reply = parse(CHUNKED + rest, 0, 1)
    assert expected == (reply.body, reply.complete)


def test_short_body_is_not_complete() -> None:
    assert not parse(HEAD + b"content-length: 3\r\n\r\nHi", 0, 1).complete


@pytest.mark.parametrize("received", [b"", b"HTTP", b"HTTP/1.1 OK\r\n\r\n", b"nonsense 200 OK\r\n\r\n"])
def test_status_of_other_bytes_is_0(received: bytes) -> None:
    assert 0 == parse(received, 0, 1).status


def test_request_has_the_length_of_its_body() -> None:
    assert b"Content-Length: 2\r\n\r\n{}" in request_bytes("POST", "/", b"{}")
