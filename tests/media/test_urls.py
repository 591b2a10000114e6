"""URLs are parsed once; only allowed schemes, hosts and ports pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.media.media_error import MediaError
from antiphon.media.urls import MAX_URL, AllowedHosts, Target, allowed_hosts, parse_url, redirected


def target(host: str = "pictures.test", *, scheme: str = "https", port: int = 443, path: str = "/") -> Target:
    return Target(scheme=scheme, host=host, port=port, path=path)


def permits(allowed: AllowedHosts, url: str) -> bool:
    try:
        allowed.check(parse_url(url))
    except MediaError as error:
        assert "invalid_image_url" == error.code  # noqa: PT017 (either is right)
        return False
    return True


@pytest.mark.parametrize(
    ("expected", "url"),
    [
        (target(path="/a?b=c"), "https://pictures.test/a?b=c#fragment"),
        (target(), "HTTPS://Pictures.TEST"),
        (target(), "https://pictures.test.:443/"),
        (target(port=8443), "https://pictures.test:8443/"),
        (target(scheme="http", port=80), "http://pictures.test/"),
        (target("xn--bcher-kva.test", path="/%C3%A9%20x"), "https://BÜCHER.test/é x"),
        (target("127.0.0.1"), "https://127。0。0。1/"),
        (target("::1", port=8443), "https://[::1]:8443/"),
        (target("0x7f.1"), "https://0x7f.1/"),
        (target("2130706433"), "https://2130706433/"),
    ],
)
def test_url_is_parsed(expected: Target, url: str) -> None:
    assert expected == parse_url(url)


REFUSED = r"""
maple /maple.png //pictures.test/ https:///maple.png https:// https:pictures.test ftp://pictures.test/
file:///etc/hosts data:image/png;base64, gopher://pictures.test/ javascript:x https://user@pictures.test/
https://user:word@pictures.test/ https://:word@pictures.test/ https://pictures.test\@private.test/
https://pictures.test:0/ https://pictures.test:65536/ https://pictures.test:-1/ https://pictures.test:x/
https://pictures.test%00/ https://[::1 https://[fe80::1%25eth0]/ https://①.test/
"""
UNREADABLE = [
    "",
    "https://pic tures.test/",
    "https://pictures.test\r\nHost: x/",
    "https://pictures.test/\r\nX: y",
    "https://\ud800.test/",
    f"https://{'x' * 254}/",
]


@pytest.mark.parametrize("url", [*REFUSED.split(), *UNREADABLE])
def test_other_text_is_refused(url: str) -> None:
    with pytest.raises(MediaError, match="Invalid URL") as caught:
        parse_url(url)
    assert "invalid_image_url" == caught.value.code


def test_long_url_is_refused() -> None:
    url = f"https://pictures.test/{'x' * MAX_URL}"
    assert parse_url(url[:MAX_URL]).path.endswith("x")
    with pytest.raises(MediaError, match="8192 characters"):
        parse_url(url[: MAX_URL + 1])


@given(st.text() | st.text().map("https://{}".format))
def test_any_text_is_a_target_or_refused(url: str) -> None:
    try:
        parsed = parse_url(url)
    except MediaError:
        return
    assert parsed == parse_url(parsed.url)
    assert parsed.url.isascii()
    assert not {*" \r\n\0#"} & {*parsed.url}
    assert "@" not in parsed.authority


@pytest.mark.parametrize(
    ("expected", "parts"),
    [
        ("pictures.test", target()),
        ("pictures.test:8443", target(port=8443)),
        ("pictures.test:443", target(scheme="http")),
        ("[::1]", target("::1")),
        ("[::1]:8443", target("::1", port=8443)),
    ],
)
def test_authority_is_the_value_of_the_header_host(expected: str, parts: Target) -> None:
    assert expected == parts.authority


@pytest.mark.parametrize(
    ("expected", "location"),
    [
        ("https://pictures.test/b", "/b"),
        ("https://pictures.test/a/c?d", "c?d"),
        ("https://other.test/", "//other.test"),
        ("http://other.test/x", "http://other.test/x"),
        ("https://pictures.test/a/b", ""),
    ],
)
def test_redirect_is_relative_to_its_url(expected: str, location: str) -> None:
    assert expected == redirected(target(path="/a/b"), location).url


@pytest.mark.parametrize(
    "location", ["file:///etc/hosts", "https://user@other.test/", "https://[", "\x00", "https://x:0"]
)
def test_redirect_to_another_text_is_refused(location: str) -> None:
    with pytest.raises(MediaError) as caught:
        redirected(target(), location)
    assert "invalid_image_url" == caught.value.code


def test_only_named_hosts_are_allowed() -> None:
    allowed = allowed_hosts(["Pictures.test", "bücher.test", "odd.test:8443"])
    assert permits(allowed, "https://pictures.test/a")
    assert permits(allowed, "https://xn--bcher-kva.test/")
    assert permits(allowed, "https://odd.test:8443/")
    for url in ("https://other.test/", "https://a.pictures.test/", "https://pictures.test:8443/", "https://odd.test/"):
        assert not permits(allowed, url)


def test_star_allows_every_host_at_its_default_port() -> None:
    allowed = allowed_hosts(["*", "odd.test:8443"])
    assert permits(allowed, "https://any.test/")
    assert permits(allowed, "https://odd.test:8443/")
    for url in ("https://any.test:22/", "https://any.test:8443/", "http://any.test/", "http://any.test:443/"):
        assert not permits(allowed, url)


def test_plain_http_is_allowed_where_it_is_named() -> None:
    allowed = allowed_hosts(["*"], ("https", "http"))
    assert permits(allowed, "http://any.test/")
    assert permits(allowed, "https://any.test/")


def test_no_hosts_allow_nothing() -> None:
    assert not permits(allowed_hosts([]), "https://pictures.test/")


@pytest.mark.parametrize(
    "name", ["", " ", "https://pictures.test", "pictures.test/a", "user@pictures.test", "a:0", "*.x y"]
)
def test_value_that_is_no_host_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        allowed_hosts([name])
