import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from antiphon.load_testing.load import Answer, FirstOnly, LoadError, Target, Watch, ask, ask_all, run_concurrently

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunk(content: str | None, index: int = 0) -> bytes:
    delta = {"role": "assistant", "content": content}
    return f"data: {json.dumps({'choices': [{'index': index, 'delta': delta}]}, separators=(',', ':'))}\n\n".encode()


USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"completion_tokens_details":'
    b'{"accepted_prediction_tokens":3}}}\n\n'
)
PIECES = [chunk(""), chunk("On"), chunk("ce "), chunk("two", 1), chunk(None), USAGE, b"data: [DONE]\n\n"]
PLAIN = HEAD + b"Connection: close\r\n\r\n" + b"".join(PIECES)
CHUNKED = (
    HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in PIECES)
    + b"0\r\n\r\n"
)


class Canned:
    """A server that answers every request with these bytes and records the requests."""

    def __init__(self, *parts: bytes, hold: bool = False) -> None:
        self.parts = parts
        self.hold = hold
        self.gone = asyncio.Event()
        self.requests: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # the client closed before it sent the request
            writer.close()
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        for part in self.parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if self.hold:
            await reader.read()
            self.gone.set()
        writer.close()


@asynccontextmanager
async def serving(canned: Canned) -> AsyncGenerator[Target, None]:
    server = await asyncio.start_server(canned.answer, "127.0.0.1", 0)
    async with server:
        yield Target(host="127.0.0.1", port=server.sockets[0].getsockname()[1], model="m", api_key="sk-1", path="/api")


async def answered(*parts: bytes) -> Answer:
    async with serving(Canned(*parts)) as target:
        return await ask(target, {"messages": []})


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED], ids=["until the end", "chunked"])
async def test_answer_is_read_with_both_framings(whole: bytes) -> None:
    answer = await answered(whole)
    assert ("Once ", 2, 7, 3) == (answer.text, answer.choices, answer.tokens, len(answer.arrivals))


async def test_answer_is_read_byte_by_byte() -> None:
    answer = await answered(*(bytes([byte]) for byte in CHUNKED))
    assert ("Once ", 7) == (answer.text, answer.tokens)


async def test_times_of_an_answer_are_in_order() -> None:
    answer = await answered(*(HEAD, b"Connection: close\r\n\r\n", *PIECES))
    assert 0 < answer.first_token <= answer.total
    assert [True] * 2 == [gap >= 0 for gap in answer.gaps]


async def test_usage_has_accepted_prediction_tokens() -> None:
    details = (await answered(PLAIN)).usage.completion_tokens_details
    assert details is not None
    assert 3 == details.accepted_prediction_tokens


async def test_each_piece_of_text_is_a_token_without_usage() -> None:
    answer = await answered(PLAIN.replace(USAGE, b""))
    assert 3 == answer.tokens


async def test_request_is_a_streamed_completion() -> None:
    canned = Canned(PLAIN)
    async with serving(canned) as target:
        await ask(target, {"messages": [{"role": "user", "content": "Hi"}]})
    head, _, body = canned.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/v1/chat/completions HTTP/1.1\r\n")
    assert b"Authorization: Bearer sk-1\r\n" in head
    expected = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    assert {**expected, "stream_options": {"include_usage": True}} == json.loads(body)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno model!", "no model!"),
        (PLAIN.replace(b"data: [DONE]\n\n", b'event: error\ndata: {"error":{}}\n\n'), "error"),
        (HEAD + b"Content-Length: 14\r\n\r\ndata: [DONE]\n\n", "incomplete answer"),
        (b"SSH-2.0\r\n\r\n", "cannot be read"),
        (b"", "no bytes"),
    ],
)
async def test_invalid_answer_is_an_error(response: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        await answered(response)


async def test_invalid_json_is_an_error_when_it_is_decoded() -> None:
    answer = await answered(PLAIN.replace(USAGE, b'data: {"usage":"none"}\n\n'))
    with pytest.raises(LoadError, match="cannot be read"):
        _ = answer.tokens


async def test_closed_port_is_an_error() -> None:
    with pytest.raises(LoadError, match="cannot be reached"):
        await ask(Target(host="127.0.0.1", port=1), {})


async def test_first_only_closes_the_connection_at_the_first_text() -> None:
    canned = Canned(HEAD + b"Connection: close\r\n\r\n" + chunk("Once"), hold=True)
    async with serving(canned) as target:
        answer = await ask(target, {}, FirstOnly())
        await canned.gone.wait()
    assert 1 == len(answer.arrivals)


async def test_watch_is_started_at_the_first_text() -> None:
    watch = Watch()
    async with serving(Canned(PLAIN)) as target:
        await ask(target, {}, watch)
    assert watch.started.is_set()


async def test_answers_of_concurrent_requests_are_in_order() -> None:
    bodies: list[dict[str, Any]] = [{"messages": [], "seed": seed} for seed in range(5)]
    canned = Canned(PLAIN)
    async with serving(canned) as target:
        answers = await ask_all(target, bodies)
    assert [7] * 5 == [answer.tokens for answer in answers]


async def test_first_error_cancels_the_other_coroutines() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        raise LoadError("no")

    with pytest.raises(LoadError, match="no"):
        await run_concurrently([wait(), fail()])
    assert ended.is_set()


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, "", False)),
        ("http://127.0.0.1:8000/v1/", ("127.0.0.1", 8000, "", False)),
        ("https://example.com/llm/v1", ("example.com", 443, "/llm", True)),
        ("http://[::1]:9", ("::1", 9, "", False)),
    ],
)
def test_target_is_parsed_from_an_address(url: str, where: tuple[str, int, str, bool]) -> None:
    target = Target.at(url)
    assert where == (target.host, target.port, target.path, target.tls)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://example.com", "http://"])
def test_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        Target.at(url)
