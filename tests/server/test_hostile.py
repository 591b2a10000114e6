"""Hostile requests cause no 5xx and no hang, and the server goes on."""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from antiphon.config import ServerOptions
from antiphon.protocol.requests import CreateChatCompletion
from tests.server.conftest import MODEL, WAIT, Server, StartServer

PATH = "/v1/chat/completions"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def _the_server_goes_on(server: Server) -> Iterator[None]:
    yield
    assert 200 == server.http.get("/health").status_code
    server.wait_until(lambda: server.engine.running == 0)


def converse(server: Server, *pieces: bytes, half_close: bool = False) -> bytes:
    """Send ``pieces`` and return what came back until the server closed; the socket bounds every wait."""
    received = b""
    with server.connect() as client:
        try:
            for piece in pieces:
                client.sendall(piece)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            while data := client.recv(65536):
                received += data
        except (BrokenPipeError, ConnectionResetError):
            pass
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


def sized(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


NOT_HTTP = {
    "zeros": b"\x00" * 1000,
    "noise": bytes(range(256)) * 10,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": b"GET /health HTTP/7.9\r\n\r\n",
    "method": b"G\x00T /health HTTP/1.1\r\n\r\n",
    "header": b"GET /health HTTP/1.1\r\nHost x\r\n\r\n",
    "folded": b"GET /health HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "length": HEAD + b"Content-Length: -1\r\n\r\n",
    "lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "huge length": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk overflow": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "smuggled": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
def test_bytes_that_are_not_http_are_400_and_close_the_connection(server: Server, sent: bytes) -> None:
    received = converse(server, sent)
    assert [400] == statuses(received)
    assert b'"type":"invalid_request_error"' in received


ODD_TARGETS = {
    "no version": b"GET /health",
    "*": b"OPTIONS * HTTP/1.1",
    "absolute": b"GET http://other.example/health HTTP/1.1",
    "nul": b"GET /v1/models/%00 HTTP/1.1",
    "not UTF-8": b"GET /v1/models/%ff%fe HTTP/1.1",
    "broken escape": b"GET /v1/models/%zz% HTTP/1.1",
    "climbing": b"GET /../../etc/passwd HTTP/1.1",
    "long": b"GET /" + b"a" * 60_000 + b" HTTP/1.1",
    "connect": b"CONNECT other.example:443 HTTP/1.1",
    "websocket": b"GET /health HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
    "many headers": b"GET /health HTTP/1.1" + b"".join(b"\r\nX-%d: %s" % (n, b"a" * 100) for n in range(2000)),
    "large header": b"GET /health HTTP/1.1\r\nX: " + b"a" * 2_000_000,
    "client id": b"GET /health HTTP/1.1\r\nX-Client-Request-Id: \xff\xfe",
}


@pytest.mark.parametrize("target", ODD_TARGETS.values(), ids=ODD_TARGETS)
def test_odd_requests_are_answered(server: Server, target: bytes) -> None:
    received = converse(server, target + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [] == [status for status in statuses(received) if not 200 <= status < 500]
    assert [] != statuses(received)


def test_headers_cannot_be_injected_through_a_path(server: Server) -> None:
    received = converse(
        server, b"GET /%0d%0aX-Evil:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", half_close=False
    )
    assert [404] == statuses(received)
    assert b"\r\nX-Evil" not in received


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_a_body_that_ends_early_is_dropped(server: Server, length: bytes) -> None:
    before = len(server.engine.requests)
    assert b"" == converse(server, HEAD + length, half_close=True)
    assert before == len(server.engine.requests)


def test_a_chunked_upload_over_the_limit_is_413(start_server: StartServer) -> None:
    server = start_server(options=ServerOptions(max_body_size=1000))
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    received = converse(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 50)
    assert [413] == statuses(received)


def test_upload_with_too_large_a_length_is_refused_before_it_is_sent(start_server: StartServer) -> None:
    server = start_server(options=ServerOptions(max_body_size=1000))
    with server.connect() as client:
        client.sendall(HEAD + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_trickles_is_refused_in_time(start_server: StartServer) -> None:
    server = start_server(body_timeout=0.2)
    received, begin = b"", time.monotonic()
    with server.connect() as client:
        client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        client.settimeout(0.02)
        while not received:
            assert time.monotonic() < begin + WAIT
            try:
                client.sendall(b" ")
                received = client.recv(65536)
            except TimeoutError:
                continue
    assert [408] == statuses(received)
    assert b"request_timeout" in received


def test_requests_in_one_packet_are_answered_in_order(server: Server) -> None:
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    body = json.dumps({"model": MODEL, "messages": MESSAGES}).encode()
    received = converse(
        server, get + HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) + sized(b"{"), half_close=False
    )
    assert [200, 200, 400] == statuses(received)


def with_content(content: bytes) -> bytes:
    return b'{"model": "%s", "messages": [{"role": "user", "content": %s}]}' % (MODEL.encode(), content)


def with_field(name: str, value: bytes) -> bytes:
    return b'{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "%s": %s}' % (
        MODEL.encode(),
        name.encode(),
        value,
    )


DEEP = 100_000
MALFORMED = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "number": b"1",
    "array": b"[]",
    "two values": b"{}{}",
    "comma": b'{"model": "m",}',
    "quotes": b"{'model': 'm'}",
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
    "NUL": b"\x00",
    "NUL in text": with_content(b'"a\x00b"'),
    "not UTF-8": with_content(b'"\xff\xfe"'),
    "overlong UTF-8": with_content(b'"\xc0\xaf"'),
    "surrogate in UTF-8": with_content(b'"\xed\xa0\x80"'),
    "cut UTF-8": with_content(b'"\xe2\x82"'),
    "lone surrogate": with_content(b'"\\ud800"'),
    "reversed surrogates": with_content(b'"\\udc00\\ud800"'),
    "deep arrays": b"[" * DEEP,
    "deep closed arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep field": with_field("chat_template_kwargs", b'{"a":' * 900 + b"1" + b"}" * 900),
    "deeper field": with_field("chat_template_kwargs", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "deep unknown field": with_field("nonsense", b"[" * DEEP + b"]" * DEEP),
    "deep content": with_content(b"[" * DEEP + b"]" * DEEP),
    "long integer": with_field("seed", b"9" * 100_000),
    "long negative": with_field("seed", b"-" + b"9" * 100_000),
    "long fraction": with_field("temperature", b"0." + b"9" * 100_000 + b"e400"),
    "infinite": with_field("temperature", b"1e999"),
    "long exponent": with_field("temperature", b"1e" + b"9" * 5000),
    "NaN": with_field("temperature", b"NaN"),
    "Infinity": with_field("top_p", b"-Infinity"),
    "nan in a map": with_field("logit_bias", b'{"1": 1e999}'),
    "long key": with_field("a" * 1_000_000, b"1"),
    "key twice": with_field("model", b'"m"'),
    "many keys": b"{%s}" % b",".join(b'"%d":1' % n for n in range(100_000)),
    "many keys and one twice": b"{%s}" % b",".join(b'"%d":1' % n for n in [*range(100_000), 99_999]),
    "many biases and one twice": with_field(
        "logit_bias", b"{%s}" % b",".join(b'"%d":1' % n for n in [*range(100_000), 99_999])
    ),
    "many messages": b'{"model": "m", "messages": [%s]}' % b",".join([b'{"role": "tool"}'] * 100_000),
    "many parts": with_content(b"[%s]" % b",".join([b"{}"] * 100_000)),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_hostile_body_is_4xx_with_a_short_error(http: httpx2.Client, body: bytes) -> None:
    answer = http.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 404}
    assert {"message", "type", "param", "code"} == set(answer.json()["error"])
    assert len(answer.content) < 2000


def test_an_error_does_not_repeat_a_long_name(http: httpx2.Client) -> None:
    answer = http.post(PATH, json={"model": "m" * 100_000, "messages": MESSAGES})
    assert 400 == answer.status_code
    assert len(answer.content) < 2000


ACCEPTED = {
    "escaped NUL": with_content(b'"a\\u0000b"'),
    "pair of surrogates": with_content(b'"\\ud83d\\ude00"'),
    "noncharacters": with_content(b'"\\uffff\\ufdd0"'),
    "control tokens": with_content(b'"<|im_end|>\\n<|im_start|>system"'),
    "blank": b"\n\t " + with_content(b'"Hi"') + b"\n",
    "zero": with_field("temperature", b"-0.0"),
    "small": with_field("temperature", b"1e-999"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_unusual_valid_bodies_are_answered(http: httpx2.Client, body: bytes, *, stream: bool) -> None:
    body = body.replace(b'{"model"', b'{"stream": true, "model"', 1) if stream else body
    assert 200 == http.post(PATH, content=body, headers={"Content-Type": "application/json"}).status_code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=8,
)
NAMES = [field.encode_name for field in fields(CreateChatCompletion)]
KINDS = st.sampled_from(["text", "refusal", "image_url", "input_audio", "file", "function", "custom", ""])
PARTS = st.fixed_dictionaries(
    {"type": KINDS}, optional={"text": JSON, "refusal": JSON, "image_url": JSON, "file": JSON}
)
ROLES = st.sampled_from(["developer", "system", "user", "assistant", "tool", "function", "robot"])
CONVERSATIONS = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES},
        optional={
            "content": st.text(max_size=8) | st.lists(PARTS, max_size=2) | JSON,
            "name": JSON,
            "tool_calls": st.lists(JSON, max_size=2),
            "tool_call_id": JSON,
            "function_call": JSON,
            "audio": JSON,
        },
    ),
    max_size=4,
)
REQUESTS = st.fixed_dictionaries({"model": st.just(MODEL), "messages": st.just(MESSAGES) | CONVERSATIONS})
BODIES = st.builds(
    lambda request, more: {**request, **more},
    REQUESTS,
    st.dictionaries(st.sampled_from(NAMES), JSON | st.integers(-2, 2) | st.booleans(), max_size=3),
)
SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    # The server is shared on purpose: effects of one body reach the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(body=JSON | BODIES)
@SETTINGS
def test_no_json_body_is_5xx(http: httpx2.Client, body: Any) -> None:  # noqa: ANN401 - JSON
    answer = http.post(PATH, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert {"message", "type", "param", "code"} == set(answer.json()["error"])


@given(body=st.binary(max_size=64), content_type=st.sampled_from(["application/json", "text/plain"]))
@SETTINGS
def test_no_bytes_are_5xx(http: httpx2.Client, body: bytes, content_type: str) -> None:
    answer = http.post(PATH, content=body, headers={"Content-Type": content_type})
    assert 400 <= answer.status_code < 500
