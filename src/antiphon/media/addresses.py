"""Decides whether an IP address is public, so that a fetched URL reaches no machine of a private network.

The networks are those of IANA's registries of special-purpose addresses, and a few more; ``ipaddress.is_global`` counts
translated, multicast and former site-local addresses as global.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Final

_IPV4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # the metadata of one cloud, at an otherwise public address
            "169.254.0.0/16",  # link-local, the metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # measurements
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""The only IPv6 addresses of the public internet. Outside lie loopback, private, link-local, site-local (fec0::/10) and
multicast addresses, and IPv4 addresses that are mapped (::ffff:0:0/96) or translated (64:ff9b::/96)."""
_IPV6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, tunnels of Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # tunnels of 6to4, which hold an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)


def is_public(address: str) -> bool:
    """Return whether the text is the address of a machine on the public internet."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _IPV4)
    return not parsed.scope_id and parsed in _GLOBAL_UNICAST and not any(parsed in network for network in _IPV6)
