"""Requests as bytes on a real socket: the number and the order of answers."""

import socket

import pytest

from antiphon.config import ServerOptions
from antiphon.engine.interface import Started
from antiphon.server.http_protocol import HTTPProtocol
from antiphon.server.middleware import MAX_HEADER_BYTES
from tests.scripted_engine import Hang, Pause, ScriptedEngine, ends, says
from tests.server.conftest import Server, StartServer, running, scripted_app
from tests.server.raw_http import (
    BODY,
    GET,
    LAST,
    LAST_STATUS,
    STREAM,
    Answer,
    answers,
    chunked,
    chunks,
    exchange,
    head,
    post,
    statuses,
)

STARTED = Started(request_id="", cached_tokens=0)
UPGRADES = {
    "h2c": (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "websocket": (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"),
    "TLS": (b"Connection: upgrade", b"Upgrade: TLS/1.2"),
    "several": (b"Connection: keep-alive, Upgrade", b"Upgrade: h2c, websocket", b"Upgrade: irc/6.9"),
    "without Connection": (b"Upgrade: h2c",),
    "without Upgrade": (b"Connection: Upgrade",),
}


@pytest.mark.parametrize("fields", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("together", [True, False], ids=["one packet", "body later"])
def test_upgrade_is_ignored(server: Server, fields: tuple[bytes, ...], *, together: bool) -> None:
    sent = post(BODY, *fields)
    cut = sent.index(b"\r\n\r\n") + 4
    pieces = [sent + LAST] if together else [sent[:cut], sent[cut:], LAST]
    assert [200, LAST_STATUS] == statuses(server.port, *pieces)


@pytest.mark.parametrize("fields", UPGRADES.values(), ids=UPGRADES)
def test_a_body_after_upgrade_is_no_request(server: Server, fields: tuple[bytes, ...]) -> None:
    assert [400, LAST_STATUS] == statuses(server.port, head(*fields, b"Content-Length: %d" % len(GET)), GET, LAST)
    assert [400, LAST_STATUS] == statuses(server.port, chunked(chunks(GET), *fields) + LAST)


@pytest.mark.parametrize("size", [1, 7])
def test_a_head_with_upgrade_may_come_in_pieces(server: Server, size: int) -> None:
    sent = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + LAST
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            client.sendall(sent[start : start + size])
        received = b""
        while data := client.recv(65536):
            received += data
    assert [200, LAST_STATUS] == [answer.status for answer in answers(received)]


def test_requests_with_upgrade_are_answered_in_order(server: Server) -> None:
    upgrade = UPGRADES["h2c"]
    assert [200, 400, 200, LAST_STATUS] == statuses(
        server.port, post(BODY, *upgrade) + post(b"{", *upgrade) + chunked(chunks(BODY), *upgrade) + LAST
    )


def test_upgrade_with_connection_close_ends_the_connection(server: Server) -> None:
    assert [200] == statuses(server.port, post(BODY, b"Connection: close, Upgrade", b"Upgrade: h2c") + GET)


def test_a_tunnel_is_refused_and_its_bytes_are_no_request(server: Server) -> None:
    assert [400] == statuses(server.port, b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + GET, GET)
    assert [400] == statuses(server.port, b"CONNECT /health/live HTTP/1.1\r\nHost: x\r\n\r\n" + GET, GET)


def test_http_1_0_stream_is_not_chunked_and_ends_with_the_connection(server: Server) -> None:
    (answer,) = exchange(server.port, post(STREAM, version=b"1.0"))
    assert (200, "close") == (answer.status, answer.headers["connection"])
    assert not {"transfer-encoding", "content-length"} & answer.headers.keys()
    assert answer.body.startswith(b"data: {")
    assert answer.body.endswith(b"}\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_stream_that_begins_with_comments_is_one_answer(start_server: StartServer, version: bytes) -> None:
    engine = ScriptedEngine([Pause(0.1), STARTED, *says("a"), *ends()])
    server = start_server(engine, options=ServerOptions(stream_headers_after=0))
    following = LAST if version == b"1.1" else b""
    answer, *rest = exchange(server.port, post(STREAM, version=version), following)
    assert answer.body.startswith(b": ping\n\ndata: {")
    assert answer.body.endswith(b"}\n\ndata: [DONE]\n\n")
    assert [LAST_STATUS] * (version == b"1.1") == [later.status for later in rest]


def test_http_1_0_client_gets_the_same_events(server: Server) -> None:
    (old,) = exchange(server.port, post(STREAM, version=b"1.0"))
    (new,) = exchange(server.port, post(STREAM, b"Connection: close"))
    assert "chunked" == new.headers["transfer-encoding"]
    assert old.body.count(b"data: ") == new.body.count(b"data: ") > 1


@pytest.mark.parametrize(
    ("expected", "sent"),
    [
        ([200], post(BODY, version=b"1.0") + LAST),
        ([200], post(BODY, b"Connection: keep-alive", version=b"1.0") + LAST),
        ([200], GET.replace(b"1.1", b"1.0") + GET),
        ([200], b"GET /health/live HTTP/1.0\r\n\r\n" + GET),
        ([200], b"HEAD /health/live HTTP/1.0\r\n\r\n"),
        ([400], chunked(chunks(BODY), version=b"1.0") + LAST),
        ([400], chunked(chunks(BODY), b"Connection: keep-alive", version=b"1.0") + LAST),
    ],
    ids=["post", "keep-alive", "get", "without Host", "head", "chunked", "chunked, keep-alive"],
)
def test_http_1_0_request_gets_one_answer(server: Server, expected: list[int], sent: bytes) -> None:
    assert expected == statuses(server.port, sent)


@pytest.mark.parametrize("version", [b" HTTP/0.9", b" HTTP/2.0", b""])
def test_other_versions_are_refused(server: Server, version: bytes) -> None:
    assert [400] == statuses(server.port, b"GET /health/live%s\r\nHost: x\r\n\r\n" % version + GET)


def test_client_that_expects_100_continue_gets_it_once(server: Server) -> None:
    expecting = head(b"Expect: 100-continue", b"Content-Length: %d" % len(BODY))
    assert [100, 200, LAST_STATUS] == statuses(server.port, expecting, BODY, LAST)
    assert [100, 200, 100, 200, LAST_STATUS] == statuses(server.port, expecting, BODY, expecting, BODY, LAST)


def test_a_body_that_is_refused_is_not_asked_for(server: Server) -> None:
    refused = b"POST /health/live HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert [405, LAST_STATUS] == statuses(server.port, refused, b"GET /", LAST)


def test_http_1_0_client_gets_no_100_continue(server: Server) -> None:
    expecting = head(b"Expect: 100-continue", b"Content-Length: %d" % len(BODY), version=b"1.0")
    assert [200] == statuses(server.port, expecting, BODY)


def test_requests_in_one_packet_are_answered_one_by_one(server: Server) -> None:
    assert [200, 200, 400, 404, 200, 405, LAST_STATUS] == statuses(
        server.port,
        GET + post() + post(b"{") + GET.replace(b"live", b"x") + post(STREAM) + GET.replace(b"GET", b"PUT") + LAST,
    )


def test_every_request_of_a_kept_connection_has_its_own_answer(server: Server) -> None:
    served = exchange(server.port, *[post(BODY), post(STREAM)] * 3, LAST)
    assert [200] * 6 + [LAST_STATUS] == [answer.status for answer in served]
    assert [False, True] * 3 == [b"[DONE]" in answer.body for answer in served[:-1]]
    assert 7 == len({answer.headers["x-request-id"] for answer in served})


def test_connection_stays_open_after_errors(server: Server) -> None:
    wrong = [post(b"{"), GET.replace(b"live", b"x"), GET.replace(b"GET", b"PUT"), post(b"[]"), post(BODY)]
    assert [400, 404, 405, 400, 200, LAST_STATUS] == statuses(server.port, *wrong, LAST)


def test_requests_after_connection_close_are_not_answered(server: Server) -> None:
    assert [200] == statuses(server.port, post(BODY, b"Connection: close") + GET, GET)
    assert [404] == statuses(server.port, LAST + GET)


def test_the_body_of_a_get_is_no_request(server: Server) -> None:
    sent = GET.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(GET)) + GET
    assert [200, LAST_STATUS] == statuses(server.port, sent + LAST)


def test_unreadable_request_is_refused_after_the_earlier_answers(server: Server) -> None:
    assert [200, 200, 400] == statuses(server.port, post() + GET + b"\x00\r\n\r\n" + GET, GET)
    assert [200, 400] == statuses(server.port, post() + chunked(b"zz\r\n") + GET, GET)


def test_unreadable_request_does_not_drop_waiting_requests(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([STARTED, Pause(0.3), *says("a"), *ends()]))
    garbage = b"zz\r\n" + b"x" * (2 * MAX_HEADER_BYTES)
    assert [200, 200, 400] == statuses(server.port, post() + GET + chunked(b""), garbage, GET)


def test_a_body_that_cannot_be_read_is_answered_at_once(server: Server) -> None:
    assert [400] == statuses(server.port, chunked(b"1\r\n{\r\nzz\r\n") + GET, GET)


def test_bytes_after_a_request_do_not_cut_off_its_answer() -> None:
    class Impatient(HTTPProtocol):
        head_timeout = 0.2

    engine = ScriptedEngine([STARTED, Pause(3 * Impatient.head_timeout), *says("a"), *ends()])
    with running(scripted_app(engine), Impatient) as port:
        assert [200, 400] == statuses(port, post(), b"\x00", *[b"x"] * 3)


def test_incomplete_request_is_not_answered(server: Server) -> None:
    before = len(server.engine.requests)
    for cut in (10, -1, -len(BODY)):
        assert [] == statuses(server.port, post()[:cut], half_close=True)
    assert before == len(server.engine.requests)


def test_half_closed_connection_is_a_disconnect(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([Hang()]))
    assert [] == statuses(server.port, post(), half_close=True)
    server.wait_until(lambda: server.engine.running == 0)


def test_a_stream_ends_when_its_client_half_closes(start_server: StartServer) -> None:
    server = start_server(ScriptedEngine([*says("a"), Hang()]))
    with server.connect() as client:
        client.sendall(post(STREAM))
        received = client.recv(65536)
        client.shutdown(socket.SHUT_WR)
        while data := client.recv(65536):
            received += data
    assert 1 == received.count(b"HTTP/1.1 ")
    assert b"[DONE]" not in received
    server.wait_until(lambda: server.engine.running == 0)


OTHER = b"http://other.example"
TARGETS = {
    OTHER + b"/health/live": 200,
    b"HTTPS://user@other.example:1/health/live": 200,
    OTHER: 404,
    OTHER + b"?a=b": 404,
    OTHER + b"/health/live?a=b": 200,
    b"other.example:80": 400,
    b"health/live": 400,
    b"//health/live": 404,
    b"*": 404,
}


@pytest.mark.parametrize(("target", "status"), TARGETS.items(), ids=map(repr, TARGETS))
def test_every_form_of_a_request_target_is_answered(server: Server, target: bytes, status: int) -> None:
    received = statuses(server.port, b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target + LAST)
    assert [status, LAST_STATUS][: 1 if status == 400 else 2] == received


HOSTS = {
    "none": [],
    "two": [b"x", b"y"],
    "two that are the same": [b"x", b"x"],
    "user": [b"a@x"],
    "path": [b"x/"],
    "blank": [b"x y"],
    "list": [b"x,y:1,"],
    "port": [b"x:http"],
    "bracket": [b"[::1"],
}


def hosts_request(names: list[bytes], version: bytes = b"1.1") -> bytes:
    fields = b"".join(b"Host: %s\r\n" % name for name in names)
    return b"GET /health/live HTTP/%s\r\n%s\r\n" % (version, fields)


@pytest.mark.parametrize("names", HOSTS.values(), ids=HOSTS)
def test_request_must_name_one_host(server: Server, names: list[bytes]) -> None:
    (answer,) = exchange(server.port, hosts_request(names) + GET)
    assert (400, "close") == (answer.status, answer.headers["connection"])
    assert b"Host" in answer.body


@pytest.mark.parametrize("name", [b"", b"x", b"a_b.example:80", b"127.0.0.1:", b"[::1]:8000", b"%41"])
def test_every_valid_host_is_accepted(server: Server, name: bytes) -> None:
    assert [200, LAST_STATUS] == statuses(server.port, hosts_request([name]) + LAST)


def test_http_1_0_request_names_at_most_one_host(server: Server) -> None:
    assert [400] == statuses(server.port, hosts_request([b"x", b"y"], b"1.0"))


def test_raw_client_reads_bodies_by_their_framing() -> None:
    received = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    assert [(100, b""), (200, b"a")] == [(answer.status, answer.body) for answer in answers(received)]
    with pytest.raises(AssertionError):
        answers(received + b"x")
    assert [Answer("HTTP/1.1", 200, {}, b"all")] == answers(b"HTTP/1.1 200 OK\r\n\r\nall")
