"""Framing of bodies on a real socket: ambiguous framing is refused, and bytes after it are not parsed."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.config import ServerOptions
from antiphon.server.middleware import MAX_HEADER_BYTES
from tests.server.conftest import Server, StartServer
from tests.server.raw_http import BODY, GET, LAST, LAST_STATUS, STREAM, chunked, chunks, exchange, head, post, statuses

SIZE = len(BODY)
END = b"0\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"


def get(*fields: bytes) -> bytes:
    return b"\r\n".join([b"GET /health/live HTTP/1.1", b"Host: x", *fields, b"", b""])


def one_chunk(extension: bytes = b"", end: bytes = END) -> bytes:
    return b"%x%s\r\n%s\r\n%s" % (SIZE, extension, BODY, end)


REFUSED = {
    "length, then chunked": head(b"Content-Length: 4", b"Transfer-Encoding: chunked") + END,
    "chunked, then length": head(b"Transfer-Encoding: chunked", b"Content-Length: 4") + END,
    "length 0 and chunked": head(b"Content-Length: 0", b"Transfer-Encoding: chunked") + END,
    "two lengths": post(BODY, b"Content-Length: 1"),
    "two equal lengths": post(BODY, b"Content-Length: %d" % SIZE),
    "list of lengths": head(b"Content-Length: %d, %d" % (SIZE, SIZE)) + BODY,
    "signed length": head(b"Content-Length: +%d" % SIZE) + BODY,
    "negative length": head(b"Content-Length: -1"),
    "length with blank": head(b"Content-Length: 1 2") + BODY,
    "no length": head(b"Content-Length: "),
    "hexadecimal length": head(b"Content-Length: 0x10") + BODY,
    "length with underscore": head(b"Content-Length: 1_0") + BODY,
    "length over 64 bits": head(b"Content-Length: 18446744073709551616") + BODY,
    "length of 64 bits": head(b"Content-Length: 18446744073709551615") + BODY,
    "blank before the colon": head(b"Content-Length : %d" % SIZE) + BODY,
    "blank before the length's name": head(b" Content-Length: %d" % SIZE) + BODY,
    "gzip": head(b"Transfer-Encoding: gzip") + BODY,
    "gzip, chunked": chunked(chunks(BODY)).replace(b"chunked", b"gzip, chunked"),
    "chunked, gzip": chunked(chunks(BODY)).replace(b"chunked", b"chunked, gzip"),
    "chunked, chunked": chunked(chunks(BODY)).replace(b"chunked", b"chunked, chunked"),
    "chunked twice": chunked(chunks(BODY), b"Transfer-Encoding: chunked"),
    "identity": head(b"Transfer-Encoding: identity") + BODY,
    "identity and length": post(BODY, b"Transfer-Encoding: identity"),
    "xchunked": chunked(chunks(BODY)).replace(b"chunked", b"xchunked"),
    "quoted chunked": chunked(chunks(BODY)).replace(b"chunked", b'"chunked"'),
    "vertical tab": chunked(chunks(BODY)).replace(b" chunked", b" \x0bchunked"),
    "blank before chunked's colon": chunked(chunks(BODY)).replace(b"Encoding:", b"Encoding :"),
    "folded encoding": chunked(chunks(BODY)).replace(b": chunked", b":\r\n chunked"),
    "folded length": post().replace(b"Length: ", b"Length:\r\n "),
    "folded header": get(b"X: a", b" b"),
    "header folded by a tab": get(b"X: a", b"\tb"),
    "header without name": get(b": a"),
    "header without colon": get(b"X"),
    "NUL": get(b"X: a\0b"),
    "bare LF": get().replace(b"\r", b""),
    "bare LF after the request line": get().replace(b"1.1\r", b"1.1"),
    "bare LF after a header": get().replace(b"Host: x\r", b"Host: x"),
    "bare LF after the head": get()[:-2] + b"\n",
    "bare CR after a header": get(b"X: a\rContent-Length: 5"),
    "bare CR after the head": get()[:-2] + b"\rX",
    "blank before the request": b" " + get(),
    "two targets": get().replace(b"live ", b"live /x "),
    "tabs": get().replace(b" /health/live ", b"\t/health/live\t"),
}
CHUNKS = {
    "bare LF after a size": b"%x\n%s\r\n%s" % (SIZE, BODY, END),
    "bare LF in an extension": one_chunk(b";a\n"),
    "bare LF after a chunk": b"%x\r\n%s\n%s" % (SIZE, BODY, END),
    "bare LF at the end": one_chunk(end=b"0\n\n"),
    "bare LF after the last size": one_chunk(end=b"0\r\n\n"),
    "bare LF in a trailer": one_chunk(end=b"0\r\nX: a\n\r\n"),
    "no end of a chunk": b"%x\r\n%s%s" % (SIZE, BODY, END),
    "chunk too long": b"%x\r\n%s\r\n%s" % (SIZE - 1, BODY, END),
    "no size": b"\r\n%s\r\n%s" % (BODY, END),
    "no number": b"zz\r\n%s\r\n%s" % (BODY, END),
    "prefix": b"0x%x\r\n%s\r\n%s" % (SIZE, BODY, END),
    "sign": b"+%x\r\n%s\r\n%s" % (SIZE, BODY, END),
    "negative": b"-1\r\n%s\r\n%s" % (BODY, END),
    "blank": one_chunk(b" "),
    "65 bits": b"10000000000000000\r\n%s\r\n%s" % (BODY, END),
    "40 digits": b"f" * 40 + b"\r\n%s\r\n%s" % (BODY, END),
    "length in the trailer": one_chunk(end=b"0\r\nContent-Length: 5\r\n\r\n"),
    "encoding in the trailer": one_chunk(end=b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "folded trailer": one_chunk(end=b"0\r\nX: a\r\n b\r\n\r\n"),
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "request later"])
def test_ambiguous_head_is_refused_and_later_bytes_are_not_parsed(
    server: Server, sent: bytes, *, together: bool
) -> None:
    before = len(server.engine.requests)
    assert [400] == statuses(server.port, *([sent + GET] if together else [sent, GET, GET]))
    assert before == len(server.engine.requests)


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_ambiguous_head_with_upgrade_is_refused_and_later_bytes_are_not_parsed(server: Server, sent: bytes) -> None:
    before = len(server.engine.requests)
    first, end, rest = sent.partition(b"\n")
    assert [400] == statuses(server.port, first + end + UPGRADE + b"\r\n" + rest + GET, GET)
    assert before == len(server.engine.requests)


@pytest.mark.parametrize("sent", CHUNKS.values(), ids=CHUNKS)
def test_ambiguous_chunks_after_upgrade_are_refused(server: Server, sent: bytes) -> None:
    before = len(server.engine.requests)
    assert [400] == statuses(server.port, chunked(b"", UPGRADE), sent + GET, GET)
    assert before == len(server.engine.requests)


@pytest.mark.parametrize("sent", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "request later"])
def test_ambiguous_chunks_are_refused_and_nothing_after_them_is_a_request(
    server: Server, sent: bytes, *, together: bool
) -> None:
    before = len(server.engine.requests)
    assert [400] == statuses(server.port, *([chunked(sent) + GET] if together else [chunked(sent), GET, GET]))
    assert before == len(server.engine.requests)


ACCEPTED = {
    "length": post(),
    "length with zeros": post().replace(b"Length: ", b"Length: 000"),
    "length with blanks around": post().replace(b"Length: %d" % SIZE, b"Length:   %d  " % SIZE),
    "chunks": chunked(chunks(BODY[:1], BODY[1:9], BODY[9:])),
    "single bytes": chunked(chunks(*[bytes([byte]) for byte in BODY])),
    "size with zeros": chunked(b"0000" + one_chunk()),
    "capitals": chunked(one_chunk().replace(b"%x" % SIZE, b"%X" % SIZE, 1)).replace(b"chunked", b"ChunKed"),
    "blanks around chunked": chunked(chunks(BODY)).replace(b": chunked", b":\t chunked  "),
    "extensions": chunked(one_chunk(b';a;b=c;d="e;f"', b"0;g\r\n\r\n")),
    "trailer": chunked(one_chunk(end=b"0\r\nX: a\r\nY: b\r\n\r\n")),
    "empty header": post(BODY, b"X:", b"Y: "),
    "lines before the request": b"\r\n\r\n" + post(),
    "length after upgrade": post(BODY, UPGRADE),
    "chunks after upgrade": chunked(chunks(BODY[:1], BODY[1:9], BODY[9:]), UPGRADE),
    "extensions and trailer after upgrade": chunked(one_chunk(b";a;b=c", b"0;g\r\nX: a\r\n\r\n"), UPGRADE),
    "host with blanks": post().replace(b"Host: x", b"Host: \t x \t"),
}


@pytest.mark.parametrize("sent", ACCEPTED.values(), ids=ACCEPTED)
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "request later"])
def test_valid_request_is_answered_once(server: Server, sent: bytes, *, together: bool) -> None:
    assert [200, LAST_STATUS] == statuses(server.port, *([sent + LAST] if together else [sent, LAST]))


@pytest.mark.parametrize("name", ["length", "chunks", "extensions", "trailer", "length after upgrade"])
def test_request_split_at_any_byte_is_answered(server: Server, name: str) -> None:
    sent = ACCEPTED[name] + LAST
    for cut in range(len(ACCEPTED[name]) - 30, len(ACCEPTED[name]) + 3, 4):
        assert [200, LAST_STATUS] == statuses(server.port, sent[:cut], sent[cut:])


def test_trailer_fields_do_not_become_headers(server: Server) -> None:
    trailer = b"0\r\nX-Client-Request-Id: \xff\r\nAuthorization: Bearer x\r\nHost: y\r\n\r\n"
    assert [200, LAST_STATUS] == statuses(server.port, chunked(one_chunk(end=trailer)) + LAST)
    late = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    typed = one_chunk(end=b"0\r\nContent-Type: application/json\r\n\r\n")
    assert [415, LAST_STATUS] == statuses(server.port, late, typed + LAST)


def test_upgrade_in_a_trailer_is_ignored(server: Server) -> None:
    trailer = b"0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert [200, LAST_STATUS] == statuses(server.port, chunked(one_chunk(end=trailer)), LAST)


HIDDEN = GET * 30
"""Requests inside a body."""
DECLARED = b"Content-Length: %d" % len(HIDDEN)
TOO_LARGE = {
    "length": (head(DECLARED), HIDDEN),
    "length after upgrade": (head(DECLARED, UPGRADE), HIDDEN),
    "length after Expect": (head(DECLARED, b"Expect: 100-continue"), HIDDEN),
    "chunks": (chunked(b""), chunks(HIDDEN)),
    "chunks after upgrade": (chunked(b"", UPGRADE), chunks(HIDDEN)),
}


@pytest.mark.parametrize(("sent", "body"), TOO_LARGE.values(), ids=TOO_LARGE)
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "body later"])
def test_body_that_is_too_large_is_no_request_and_ends_the_connection(
    start_server: StartServer, sent: bytes, body: bytes, *, together: bool
) -> None:
    server = start_server(options=ServerOptions(max_body_size=1000))
    pieces = [sent + body + GET] if together else [sent, body, GET]
    assert [413] == statuses(server.port, *pieces)


UNREAD = {
    "unknown path": (404, b"POST /x"),
    "wrong method": (405, b"PUT /health"),
    "wrong type": (415, b"POST /v1/chat/completions"),
    "no body expected": (200, b"GET /health/live"),
    "HEAD": (200, b"HEAD /health/live"),
    "DELETE": (405, b"DELETE /v1/models"),
}


@pytest.mark.parametrize(("status", "first"), UNREAD.values(), ids=UNREAD)
@pytest.mark.parametrize("fields", [b"Host: x", UPGRADE + b"\r\nHost: x"], ids=["", "upgrade"])
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "body later"])
def test_body_that_no_handler_reads_is_no_request(
    server: Server, status: int, first: bytes, fields: bytes, *, together: bool
) -> None:
    line = first + b" HTTP/1.1\r\n" + fields + b"\r\n"
    for framing, body in ((DECLARED, HIDDEN), (b"Transfer-Encoding: chunked", chunks(HIDDEN))):
        sent = line + framing + b"\r\n\r\n"
        assert [status, LAST_STATUS] == statuses(
            server.port, *([sent + body + LAST] if together else [sent, body, LAST])
        )


REQUESTS = {
    GET: 200,
    post(): 200,
    post(STREAM): 200,
    post(b"{"): 400,
    post(GET): 400,
    chunked(chunks(BODY[:5], BODY[5:])): 200,
    chunked(chunks(GET)): 400,
    post(BODY, UPGRADE): 200,
    post(GET, UPGRADE): 400,
    chunked(one_chunk(b";a=b", b"0\r\nX: a\r\n\r\n"), UPGRADE): 200,
    GET.replace(b"Host", UPGRADE + b"\r\nHost"): 200,
    GET.replace(b"live", b"x"): 404,
    get(DECLARED) + HIDDEN: 200,
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(st.sampled_from(list(REQUESTS)), min_size=1, max_size=6),
    cuts=st.lists(st.floats(0, 1), max_size=3),
)
def test_requests_of_a_connection_are_answered_one_by_one_however_they_are_cut(
    server: Server, requests: list[bytes], cuts: list[float]
) -> None:
    sent = b"".join(requests) + LAST
    places = sorted({0, len(sent), *(int(cut * len(sent)) for cut in cuts)})
    pieces = [sent[begin:end] for begin, end in pairwise(places)]
    assert [*(REQUESTS[request] for request in requests), LAST_STATUS] == statuses(server.port, *pieces)


@pytest.mark.parametrize("size", [b"7fffffffffffffff", b"ffffffffffffffff"])
def test_huge_chunk_is_refused_when_it_exceeds_the_limit(start_server: StartServer, size: bytes) -> None:
    server = start_server(options=ServerOptions(max_body_size=1000))
    (answer,) = exchange(server.port, chunked(size + b"\r\n" + GET * 30), GET)
    assert (413, "close") == (answer.status, answer.headers["connection"])


@pytest.mark.parametrize("size", [b"7fffffffffffffff", b"ffffffffffffffff"])
def test_a_huge_chunk_that_does_not_come_is_refused_in_time(start_server: StartServer, size: bytes) -> None:
    server = start_server(body_timeout=0.2)
    assert [408] == statuses(server.port, chunked(size + b"\r\n" + GET), GET)


def test_extensions_and_trailers_have_a_bound(server: Server) -> None:
    much = b"a" * (MAX_HEADER_BYTES + 1)
    for sent in (b"%x;%s" % (SIZE, much), b"0\r\nX: " + much):
        assert [400] == statuses(server.port, chunked(sent), much)


CHARSETS = {
    b"application/json": 200,
    b"Application/JSON ; Charset=UTF-8": 200,
    b'application/json;charset="utf-8"': 200,
    b"application/json; charset=us-ascii": 200,
    b'application/json; x="charset=utf-16"': 200,
    b"application/json; charset=utf-16": 415,
    b'application/json; charset="UTF-16LE"': 415,
    b"application/json; charset=latin1": 415,
    b"application/json; charset=": 415,
    b"application/json; charset=utf-8; charset=utf-16": 415,
    b"application/json; charset*=utf-16": 415,
    b"text/plain; charset=utf-8": 415,
    b"text/plain; application/json": 415,
}


@pytest.mark.parametrize(("content_type", "status"), CHARSETS.items(), ids=[each.decode() for each in CHARSETS])
def test_a_body_is_json_in_utf_8(server: Server, content_type: bytes, status: int) -> None:
    sent = post().replace(b"application/json", content_type, 1)
    assert [status, LAST_STATUS] == statuses(server.port, sent + LAST)


@pytest.mark.parametrize("name", [b"Content-Type: application/json", b"Authorization: Bearer x", b"Idempotency-Key: a"])
def test_single_valued_header_must_come_once(server: Server, name: bytes) -> None:
    fields = [name] if name.startswith(b"Content-Type") else [name, name]
    (answer,) = exchange(server.port, post(BODY, *fields) + GET)
    assert 400 == answer.status
    assert name.partition(b":")[0] in answer.body
