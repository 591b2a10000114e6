"""Public addresses: none that the standard library knows as special, and none that it overlooks."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.media.addresses import is_public

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)


PUBLIC = """
8.8.8.8 1.1.1.1 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 168.63.129.17 223.255.255.255
2606:4700::1111 2001:4860:4860::8888 2a00:1450::1
"""
SPECIAL = """
0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1
2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
ff0e::1 2606:4700::1%eth0
"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", SPECIAL.split())
def test_special_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "127.1", "2130706433", "8.8.8.8:53", "[::1]", "1.2.3.04"])
def test_text_that_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(IPV4 | IPV6)
def test_special_address_of_the_standard_library_is_not_public(address: IPv4Address | IPv6Address) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if special or address.is_reserved or address.is_unspecified:
        assert not is_public(str(address))


@given(IPV4)
def test_ipv4_address_inside_an_ipv6_address_is_not_public(address: IPv4Address) -> None:
    number = int(address)
    for inside in (0xFFFF << 32 | number, number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert not is_public(str(ip_address(inside) if inside >> 32 else IPv6Address(inside)))
