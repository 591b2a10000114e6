"""Files are fetched from allowed hosts at public addresses; hostile servers and URLs are refused by name."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec.structs import replace

from antiphon.errors import RateLimitError
from antiphon.media import fetching
from antiphon.media.base64_data import MAX_IMAGE_BYTES
from antiphon.media.fetch_cache import FetchCache, Fetched
from antiphon.media.fetching import IMAGE_RULE, MAX_FETCHES, MAX_WAITING_FETCHES, Fetcher
from antiphon.media.media_error import MediaError
from antiphon.media.urls import allowed_hosts
from tests.media.loopback_server import (
    LOOPBACK,
    LoopbackServer,
    Names,
    Script,
    answer,
    network,
    redirect,
    served,
)

pytestmark = pytest.mark.anyio

SMALL = replace(IMAGE_RULE, max_bytes=1000)


class Opened:
    """A fetcher and the server that it reaches under every name."""

    def __init__(self, server: LoopbackServer, names: Names) -> None:
        self.server = server
        self.names = names
        self.fetcher = fetcher(server.port, names)

    def url(self, path: str, host: str = "pictures.test") -> str:
        return f"http://{host}:{self.server.port}{path}"

    async def fetch(self, path: str, host: str = "pictures.test", project: str = "forest") -> Fetched:
        return await self.fetcher.fetch(self.url(path, host), SMALL, project)

    async def refusal(self, path: str, host: str = "pictures.test") -> MediaError:
        with pytest.raises(MediaError) as caught:
            await self.fetch(path, host)
        return caught.value


def fetcher(port: int, names: Names) -> Fetcher:
    hosts = [f"{host}:{port}" for host in ("pictures.test", "other.test", "private.test", LOOPBACK)]
    return Fetcher(allowed_hosts(hosts, ("https", "http")), network(names), FetchCache(lambda: 0.0))


@asynccontextmanager
async def opened(scripts: Mapping[str, Script], **names: list[list[str]]) -> AsyncIterator[Opened]:
    async with served(scripts) as server:
        yield Opened(server, Names(**names))


async def test_file_is_fetched_with_its_type() -> None:
    async with opened({"/maple.png?size=1": answer(b"maple", content_type="Image/PNG; charset=x")}) as at:
        fetched = await at.fetch("/maple.png?size=1#top")
        assert (b"maple", "image/png", at.url("/maple.png?size=1")) == (
            fetched.data,
            fetched.content_type,
            fetched.url,
        )


async def test_request_names_the_host_and_holds_no_credentials() -> None:
    async with opened({"/": answer(b"maple")}) as at:
        await at.fetch("/")
        head = at.server.heads[0].lower()
    assert f"host: pictures.test:{at.server.port}" in head
    assert "accept-encoding: identity" in head
    assert not {"cookie", "authorization", "referer"} & {line.partition(":")[0] for line in head.splitlines()}


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with opened({"/": answer(b"maple")}) as at:
        assert b"maple" == (await at.fetch("/")).data


async def test_redirects_are_followed() -> None:
    scripts = {"/1": redirect("/2", 301), "/2": redirect("3", 307), "/3": redirect("/maple", 308)}
    async with opened({**scripts, "/maple": answer(b"maple")}) as at:
        fetched = await at.fetch("/1")
        assert (b"maple", at.url("/maple")) == (fetched.data, fetched.url)


async def test_fourth_redirect_is_refused() -> None:
    async with opened({"/": redirect("/")}) as at:
        assert "redirected more than 3 times" in (await at.refusal("/")).message
    assert 4 == len(at.server.heads)


async def test_redirect_to_a_host_with_a_private_address_is_refused() -> None:
    async with opened({"/": b""}, private=[["10.0.0.1"]]) as at:
        scripts = {"/": redirect(at.url("/x", "private.test"))}
        async with served(scripts) as first:
            at.fetcher = Fetcher(
                allowed_hosts([f"pictures.test:{first.port}", f"private.test:{at.server.port}"], ("http",)),
                network(at.names),
                FetchCache(lambda: 0.0),
            )
            with pytest.raises(MediaError, match="no public address"):
                await at.fetcher.fetch(f"http://pictures.test:{first.port}/", SMALL, "forest")
    assert [] == at.server.heads


LOCATIONS = """
http://elsewhere.test/ http://pictures.test:22/ file:///etc/hosts ftp://pictures.test/ http://u@other.test/
http://169.254.169.254/latest/ http://[::1]/ data:image/png;base64,bWFwbGU= http://[
"""


@pytest.mark.parametrize("location", LOCATIONS.split())
async def test_redirect_to_a_url_that_is_not_allowed_is_refused(location: str) -> None:
    async with opened({"/": redirect(location)}) as at:
        message = (await at.refusal("/")).message
    assert message.startswith("Invalid URL") or "--fetch-media" in message
    assert [("pictures.test", at.server.port)] == at.names.asked


async def test_name_that_is_rebound_to_a_private_address_is_refused_at_the_redirect() -> None:
    async with opened({"/": redirect("/x"), "/x": answer(b"maple")}, pictures=[[LOOPBACK], ["10.0.0.1"]]) as at:
        assert "no public address" in (await at.refusal("/")).message
    assert 1 == len(at.server.heads)


async def test_name_is_resolved_once_for_a_request() -> None:
    async with opened({"/": answer(b"maple")}, pictures=[[LOOPBACK], ["10.0.0.1"]]) as at:
        assert b"maple" == (await at.fetch("/")).data
    assert [("pictures.test", at.server.port)] == at.names.asked


async def test_host_with_a_private_address_is_refused() -> None:
    async with opened({"/": answer(b"maple")}, private=[["192.168.0.1"]]) as at:
        error = await at.refusal("/", "private.test")
    assert ("invalid_image_url", []) == (error.code, at.server.heads)
    assert "Error while downloading the image: its host has no public address." == error.message


async def test_host_that_is_not_named_is_refused_with_the_option() -> None:
    async with opened({"/": answer(b"maple")}) as at:
        assert "--fetch-media" in (await at.refusal("/", "elsewhere.test")).message
    assert [] == at.names.asked


@pytest.mark.parametrize("status", [199, 204, 206, 304, 400, 401, 404, 500, 503])
async def test_other_status_is_refused(status: int) -> None:
    async with opened({"/": answer(b"" if status in {199, 204, 304} else b"maple", status=status)}) as at:
        assert "invalid_image_url" == (await at.refusal("/")).code


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "", "x", "application/pdf; image/png"])
async def test_wrong_content_type_is_refused(content_type: str) -> None:
    async with opened({"/": answer(b"maple", content_type=content_type)}) as at:
        assert "gives no image" in (await at.refusal("/")).message


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream", "binary/octet-stream"])
async def test_file_of_an_image_or_of_unknown_type_is_accepted(content_type: str) -> None:
    async with opened({"/": answer(b"maple", content_type=content_type)}) as at:
        assert b"maple" == (await at.fetch("/")).data


async def test_compressed_body_is_refused() -> None:
    async with opened({"/": answer(bytes(20), Content_Encoding="gzip")}) as at:
        assert "compressed" in (await at.refusal("/")).message


async def test_body_as_large_as_allowed_is_fetched() -> None:
    async with opened({"/": answer(bytes(1000)), "/more": answer(bytes(1001))}) as at:
        assert 1000 == len((await at.fetch("/")).data)
        assert "image_file_too_large" == (await at.refusal("/more")).code


async def test_length_above_the_limit_is_refused_before_the_body() -> None:
    async with opened({"/": answer(length=10**12)}) as at:
        assert "image_file_too_large" == (await at.refusal("/")).code


async def test_endless_body_is_refused_at_the_limit() -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
            await writer.drain()
            sent += 1024

    async with opened({"/": endless}) as at:
        assert "image_file_too_large" == (await at.refusal("/")).code
    assert sent < MAX_IMAGE_BYTES


async def test_body_until_the_end_of_the_connection_is_fetched() -> None:
    async with opened({"/": b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\nmaple"}) as at:
        assert b"maple" == (await at.fetch("/")).data


async def test_body_shorter_than_its_length_is_refused() -> None:
    async with opened({"/": answer(b"maple", length=900)}) as at:
        assert "connection failed" in (await at.refusal("/")).message


async def test_body_longer_than_its_length_is_cut() -> None:
    async with opened({"/": answer(b"maple tree", length=5)}) as at:
        assert b"maple" == (await at.fetch("/")).data


NO_HTTP = [
    b"",
    b"maple",
    b"220 smtp.test\r\n",
    b"HTTP/9.9 999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + bytes(200_000),
]


@pytest.mark.parametrize("script", NO_HTTP)
async def test_answer_that_is_no_http_is_refused(script: bytes) -> None:
    async with opened({"/": script}) as at:
        assert "invalid_image_url" == (await at.refusal("/")).code


async def test_slow_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(length=900))
        for _sent in range(900):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.3)
    async with opened({"/": slow}) as at:
        assert "Timeout while downloading the image." == (await at.refusal("/")).message


async def test_server_that_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.2)
    async with opened({"/": silent}) as at:
        assert "Timeout" in (await at.refusal("/")).message


async def test_server_that_refuses_the_connection_is_an_error() -> None:
    async with opened({}) as at:
        pass
    assert "connection failed" in (await at.refusal("/")).message


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_other_spellings_of_an_allowed_address_are_not_allowed(host: str) -> None:
    async with opened({"/": answer(b"maple")}) as at:
        assert "--fetch-media" in (await at.refusal("/", host)).message
    assert [] == at.server.heads


async def test_repeated_file_is_fetched_once_for_each_project() -> None:
    async with opened({"/": answer(b"maple")}) as at:
        for project in ("forest", "forest", "garden"):
            assert b"maple" == (await at.fetch("/#x", project=project)).data
        assert 2 == len(at.server.heads)


@pytest.mark.parametrize("control", ["no-store", "private, No-Cache"])
async def test_file_that_must_not_be_kept_is_fetched_again(control: str) -> None:
    async with opened({"/": answer(b"maple", Cache_Control=control)}) as at:
        await at.fetch("/")
        await at.fetch("/")
        assert 2 == len(at.server.heads)


async def test_kept_file_is_checked_by_the_rule_of_each_caller() -> None:
    async with opened({"/": answer(b"maple")}) as at:
        await at.fetch("/")
        with pytest.raises(MediaError, match="gives no page"):
            await at.fetcher.fetch(at.url("/"), replace(SMALL, noun="page", types=("text/",)), "forest")
        with pytest.raises(MediaError) as caught:
            await at.fetcher.fetch(at.url("/"), replace(SMALL, max_bytes=4), "forest")
    assert "image_file_too_large" == caught.value.code


async def test_tls_names_the_host_and_checks_its_certificate() -> None:
    hello = bytearray()

    async def read_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.extend(await reader.read(4096))
        writer.close()

    listening = await asyncio.start_server(read_hello, LOOPBACK, 0)
    port = listening.sockets[0].getsockname()[1]
    opener = fetcher(port, Names())
    with pytest.raises(MediaError, match="connection failed"):
        await opener.fetch(f"https://pictures.test:{port}/", SMALL, "forest")
    listening.close()
    assert b"pictures.test" in hello
    context = opener._ssl_context
    assert (True, ssl.CERT_REQUIRED) == (context.check_hostname, context.verify_mode)


async def test_files_at_once_and_waiting_are_bounded() -> None:
    running, most, leave = 0, 0, asyncio.Event()

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await leave.wait()
        writer.write(answer(b"maple", Cache_Control="no-store"))
        running -= 1

    async with opened({"/": slow}) as at, anyio.create_task_group() as tasks:
        for _ in range(MAX_FETCHES + MAX_WAITING_FETCHES):
            tasks.start_soon(at.fetch, "/")
        for _ in range(200):
            if running == MAX_FETCHES:
                break
            await anyio.sleep(0.02)
        with pytest.raises(RateLimitError):
            await at.fetch("/")
        leave.set()
    assert MAX_FETCHES == most


async def test_cancelled_fetch_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with opened({"/": silent}) as at:
        with anyio.move_on_after(0.2):
            await at.fetch("/")
        with anyio.fail_after(5):
            await closed.wait()
        assert 1 == len(at.server.heads)
