"""A host is resolved once, every address is checked, and a checked address is dialled."""

import socket

import anyio
import httpcore2
import pytest

from antiphon.media import guarded_network
from antiphon.media.guarded_network import MAX_ADDRESSES, AddressError, GuardedNetwork, resolve_host
from tests.media.loopback_server import LOOPBACK, Names, answer, network, served

pytestmark = pytest.mark.anyio


async def connect(guarded: GuardedNetwork, port: int, host: str = "pictures.test") -> None:
    stream = await guarded.connect_tcp(host, port)
    await stream.aclose()


async def test_checked_address_is_dialled_and_the_name_is_resolved_once() -> None:
    names = Names(pictures=[[LOOPBACK], ["10.0.0.1"]])
    async with served({}) as server:
        await connect(network(names), server.port)
    assert [("pictures.test", server.port)] == names.asked


@pytest.mark.parametrize("addresses", [["10.0.0.1"], [LOOPBACK, "10.0.0.1"], ["10.0.0.1", LOOPBACK], []])
async def test_host_with_an_address_that_is_not_public_is_refused(addresses: list[str]) -> None:
    with pytest.raises(AddressError):
        await connect(network(Names(pictures=[addresses])), 443)


LOOPBACKS = "127.0.0.1 127.1 0x7f.1 0x7f000001 2130706433 017700000001 ::1 ::ffff:127.0.0.1 0 localhost"


@pytest.mark.parametrize("host", LOOPBACKS.split())
async def test_loopback_in_every_spelling_is_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises(AddressError):
        await connect(GuardedNetwork(), 443, host)


async def test_name_that_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(AddressError):
        await connect(GuardedNetwork(), 443, f"{'x' * 64}.test")


async def test_failure_of_the_resolver_is_refused_as_a_private_address_is() -> None:
    async def fails(_: str, __: int) -> list[str]:
        raise socket.gaierror

    with pytest.raises(AddressError):
        await connect(GuardedNetwork(fails), 443)


async def test_next_address_is_tried_when_one_refuses() -> None:
    everywhere = GuardedNetwork(Names(pictures=[["127.0.0.2", LOOPBACK]]), lambda _: True)
    async with served({"/": answer()}) as server:
        await connect(everywhere, server.port)


async def test_connection_that_all_addresses_refuse_fails() -> None:
    async with served({}) as server:
        port = server.port
    with pytest.raises(httpcore2.ConnectError):
        await connect(network(), port)


async def test_few_addresses_of_many_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def refuse(_: object, host: str, port: int, **__: object) -> None:
        tried.append(f"{host}:{port}")
        raise httpcore2.ConnectError

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", refuse)
    with pytest.raises(httpcore2.ConnectError):
        await connect(network(Names(pictures=[[LOOPBACK] * 50])), 443)
    assert [f"{LOOPBACK}:443"] * MAX_ADDRESSES == tried


async def test_slow_resolver_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(_: str, __: int) -> list[str]:
        await anyio.sleep(60)
        return []

    monkeypatch.setattr(guarded_network, "CONNECT_SECONDS", 0.05)
    with pytest.raises(httpcore2.ConnectTimeout):
        await connect(GuardedNetwork(slow), 443)


async def test_resolver_of_the_system_gives_each_address_once() -> None:
    assert [LOOPBACK] == await resolve_host(LOOPBACK, 443)
