"""Single heads; tests/server/test_raw_sockets.py and test_raw_framing.py send them to a server."""

import pytest

from antiphon.errors import InvalidRequestError
from antiphon.server.request_head import check_head, is_json, with_path
from tests.server.asgi import scope


def head(*fields: tuple[bytes, bytes], version: str = "1.1") -> dict[str, object]:
    return {**scope(), "http_version": version, "headers": list(fields)}


HOST = (b"host", b"x")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    "lawful",
    [
        head(HOST),
        head(HOST, CHUNKED),
        head(HOST, (b"accept", b"a"), (b"accept", b"b")),
        head(version="1.0"),
        head(version="2"),
        head(version="3"),
    ],
)
def test_unambiguous_head_is_accepted(lawful: dict[str, object]) -> None:
    check_head(lawful)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("HTTP/0.9", head(HOST, version="0.9")),
        ("HTTP/2.0", head(HOST, version="2.0")),
        ("needs the header Host", head()),
        ("header Host must be sent once", head(HOST, HOST, version="2")),
        ("header Host must be a name", head((b"host", b"a/b"))),
        ("Content-Type must be sent once", head(HOST, *[(b"content-type", b"application/json")] * 2)),
        ("Authorization must be sent once", head(HOST, *[(b"authorization", b"Bearer x")] * 2)),
        ("Idempotency-Key must be sent once", head(HOST, *[(b"idempotency-key", b"x")] * 2)),
        ("Transfer-Encoding", head(HOST, (b"transfer-encoding", b"gzip, chunked"))),
        ("Transfer-Encoding", head(HOST, CHUNKED, version="1.0")),
    ],
)
def test_an_ambiguous_head_is_refused_by_name_and_its_connection_closes(said: str, refused: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match=said) as caught:
        check_head(refused)
    assert {"connection": "close"} == caught.value.headers


@pytest.mark.parametrize(
    ("expected", "target"),
    [
        (b"http://a/", b"http://a"),
        (b"HTTPS://a:1/?b=/c", b"HTTPS://a:1?b=/c"),
        (b"http://a/b", b"http://a/b"),
        (b"/http://a", b"/http://a"),
        (b"*", b"*"),
    ],
)
def test_an_address_without_a_path_means_the_root(expected: bytes, target: bytes) -> None:
    assert expected == with_path(target)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON;charset=UTF8", "application/json;a=b"])
def test_json_in_utf_8_is_json(content_type: str) -> None:
    assert is_json(content_type)


@pytest.mark.parametrize("content_type", ["", "json", "application/jsonp", "application/json; charset=utf-32", ";"])
def test_anything_else_is_not(content_type: str) -> None:
    assert not is_json(content_type)
