"""Parses a URL to fetch and checks it against the allowed hosts. The parsed parts are those that are dialled."""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final, Literal

import httpx2
from msgspec import Struct

from antiphon.media.media_error import MediaError

MAX_URL: Final = 8192
"""Characters of a URL."""
ANY_HOST: Final = "*"
MAX_PORT: Final = 65_535
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_NAME: Final = re.compile(r"[a-z0-9_.-]{1,253}", re.ASCII)

Scheme = Literal["https", "http"]


class Target(Struct, frozen=True, kw_only=True):
    """The parts of a URL that a request needs. There is no user information and no fragment."""

    scheme: str
    host: str
    """In lower case, as the domain name system writes it, without a final dot; an IPv6 address without brackets."""
    port: int
    path: str
    """Path and query, escaped."""

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL, in one spelling."""
        return f"{self.scheme}://{self.authority}{self.path}"


class AllowedHosts(Struct, frozen=True, kw_only=True):
    """The hosts that the operator allows, in the spelling of :attr:`Target.authority`.

    A host without a port stands for the default port of each scheme, and so does ``*``, which stands for all hosts.
    """

    authorities: frozenset[str]
    schemes: tuple[Scheme, ...] = ("https",)

    def check(self, target: Target) -> None:
        """Raise :class:`MediaError` unless the scheme and the host are allowed."""
        if target.scheme not in self.schemes:
            raise _invalid(f"its scheme must be {' or '.join(self.schemes)}")
        has_default_port = target.port == DEFAULT_PORTS[target.scheme]
        if target.authority not in self.authorities and not (has_default_port and ANY_HOST in self.authorities):
            message = "This server does not fetch from the URL's host and port; its option --fetch-media names others."
            raise MediaError(message, "invalid_image_url")


def allowed_hosts(names: Iterable[str], schemes: tuple[Scheme, ...] = ("https",)) -> AllowedHosts:
    """Return the hosts of the option's values: ``*``, ``host`` or ``host:port``. Raises ValueError."""
    return AllowedHosts(authorities=frozenset(map(_authority, names)), schemes=schemes)


def parse_url(url: str) -> Target:
    """Return the parts of an absolute URL. Raises :class:`MediaError`."""
    if len(url) > MAX_URL:
        raise _invalid(f"it may have at most {MAX_URL} characters")
    try:
        return _target(httpx2.URL(url))
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise _invalid("it cannot be parsed") from error


def redirected(target: Target, location: str) -> Target:
    """Return the target of a redirect from ``target``. Raises :class:`MediaError`."""
    try:
        return parse_url(str(httpx2.URL(target.url).join(location)))
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise _invalid("it redirects to a URL that cannot be parsed") from error


def _target(url: httpx2.URL) -> Target:
    if url.scheme not in DEFAULT_PORTS:
        raise _invalid("a data URL or the scheme https is expected")
    if url.userinfo:
        raise _invalid("it may hold no user name and no password")
    host = url.raw_host.decode("ascii").lower().removesuffix(".")
    if not (_NAME.fullmatch(host) or _is_ipv6(host)):
        raise _invalid("its host is no domain name and no address")
    port = DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    if not 1 <= port <= MAX_PORT:
        raise _invalid(f"its port must be between 1 and {MAX_PORT}")
    return Target(scheme=url.scheme, host=host, port=port, path=url.raw_path.decode("ascii"))


def _is_ipv6(host: str) -> bool:
    """Return whether the host is an IPv6 address without a zone."""
    try:
        return not IPv6Address(host).scope_id
    except ValueError:
        return False


def _authority(name: str) -> str:
    """Return the normal spelling of one value of the option. Raises ValueError."""
    if name == ANY_HOST:
        return name
    try:
        target = parse_url(f"https://{name}/")
    except MediaError as error:
        raise ValueError(f"{name!r} is no host") from error
    if target.path != "/":
        raise ValueError(f"{name!r} is no host")
    return target.authority


def _invalid(reason: str) -> MediaError:
    return MediaError(f"Invalid URL: {reason}.", "invalid_image_url")
