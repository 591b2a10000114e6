"""A client that writes bytes and reads answers by their framing."""

import json
import socket
import time
from typing import Final

from msgspec import Struct

from tests.server.conftest import MODEL, connect

CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = [{"role": "user", "content": "Hi"}]
BODY: Final = json.dumps({"model": MODEL, "messages": MESSAGES}).encode()
STREAM: Final = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}).encode()
GET: Final = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST: Final = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Comes at the end of what is sent: its 404 says that the server read all that came before as the client meant it."""
LAST_STATUS: Final = 404
PAUSE: Final = 0.05
"""Seconds between two pieces, so that the server reads them one by one; nothing depends on it but that."""


class Answer(Struct, frozen=True):
    """One answer, without the framing of its body."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes


def post(body: bytes = BODY, *fields: bytes, version: bytes = b"1.1") -> bytes:
    """Write a request for a completion, with its length."""
    length = b"Content-Length: %d" % len(body)
    return head(*fields, length, version=version) + body


def chunked(rest: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    """Write a request for a completion whose body is chunked: ``rest`` is all that follows the head."""
    return head(*fields, b"Transfer-Encoding: chunked", version=version) + rest


def chunks(*pieces: bytes) -> bytes:
    """Write a chunked body without trailer."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def head(*fields: bytes, version: bytes = b"1.1") -> bytes:
    """Write the head of a request for a completion."""
    first = b"POST %s HTTP/%s" % (CHAT.encode(), version)
    return b"\r\n".join([first, b"Host: x", b"Content-Type: application/json", *fields, b"", b""])


def exchange(port: int, *pieces: bytes, half_close: bool = False) -> list[Answer]:
    """Send the pieces one by one; give every answer that came until the server closed the connection."""
    with connect(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = _converse(client, pieces, half_close=half_close)
    return answers(received, [piece.split(b" ", 1)[0] == b"HEAD" for piece in pieces])


def statuses(port: int, *pieces: bytes, half_close: bool = False) -> list[int]:
    """Do as :func:`exchange`; give the statuses alone, interim ones among them."""
    return [answer.status for answer in exchange(port, *pieces, half_close=half_close)]


def _converse(client: socket.socket, pieces: tuple[bytes, ...], *, half_close: bool) -> bytes:
    received = b""
    try:
        for index, piece in enumerate(pieces):
            time.sleep(PAUSE if index else 0)
            client.sendall(piece)
        if half_close:
            client.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server has closed: its answer, if it gave one, is read below
    while data := client.recv(65536):
        received += data
    return received


def answers(received: bytes, of_head: list[bool] | None = None) -> list[Answer]:
    """Cut what was received into answers; ``of_head`` says which of them answer HEAD. Fails on what is no answer."""
    found: list[Answer] = []
    while received:
        top, blank, rest = received.partition(b"\r\n\r\n")
        assert blank, received
        first, *lines = top.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(lines) == len(headers), lines
        bodiless = int(status) in {100, 204, 304} or (of_head or [])[len(found) : len(found) + 1] == [True]
        body, received = (b"", rest) if bodiless else _body(headers, rest)
        found.append(Answer(version, int(status), headers, body))
    return found


def _body(headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes]:
    """Give the body and what follows it."""
    assert not {"content-length", "transfer-encoding"} <= headers.keys(), headers
    if "content-length" in headers:
        length = int(headers["content-length"])
        assert length <= len(rest), "the answer was cut off"
        return rest[:length], rest[length:]
    if "transfer-encoding" not in headers:
        return rest, b""
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        assert b"\r\n" == rest[length : length + 2], "the answer was cut off"
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return body, rest
