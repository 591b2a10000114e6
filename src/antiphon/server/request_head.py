"""Refuses ambiguous request heads, which a proxy may read differently from this server.

The parser checks the syntax only. A valid head may still be ambiguous about the host, the end of the body or its
encoding. If proxy and server disagree, one client's bytes can become another client's request.
"""

import re
from email.message import Message
from typing import Final

from starlette.types import Scope

from antiphon.errors import InvalidRequestError

VERSIONS: Final = frozenset({"1.0", "1.1", "2", "3"})
"""HTTP versions as ASGI spells them; the parser reports 0.9 and 2.0 for messages that are neither."""
HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(:\d*)?", re.ASCII)
"""RFC 3986, section 3.2.2: an address in brackets or a name, which may be empty, and an optional port."""
NO_PATH: Final = re.compile(rb"\A(https?://[^/?#]*)(?=\?|\Z)", re.IGNORECASE)
SINGLE: Final = frozenset({b"host", b"content-type", b"authorization", b"idempotency-key"})
"""Headers that a request may have only once."""
CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""Charsets in which the bytes of JSON are UTF-8 (RFC 8259, section 8.1)."""


def check_head(scope: Scope) -> None:
    """Raise ``InvalidRequestError`` for an ambiguous head; its answer closes the connection."""
    version = scope["http_version"]
    names = [name for name, _ in scope["headers"]]
    repeated = next((name for name in SINGLE if names.count(name) > 1), None)
    if version not in VERSIONS:
        raise _refusal(f"HTTP/{version} is not supported. Send HTTP/1.1.")
    if repeated is not None:
        raise _refusal(f"The header {repeated.decode().title()} must be sent once.")
    for name, value in scope["headers"]:
        if name == b"host" and not HOST.fullmatch(value.strip()):
            raise _refusal("The header Host must be a name or an address, with or without a port.")
        if name == b"transfer-encoding" and (version == "1.0" or value.strip().lower() != b"chunked"):
            raise _refusal("The only Transfer-Encoding is 'chunked', in HTTP/1.1.")
    if version == "1.1" and b"host" not in names:
        raise _refusal("HTTP/1.1 needs the header Host.")


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, headers={"connection": "close"})


def with_path(target: bytes) -> bytes:
    """Add the path ``/`` to an absolute target without a path (RFC 9110, section 4.2.3)."""
    return NO_PATH.sub(rb"\1/", target, count=1)


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type is JSON in UTF-8."""
    if content_type == "application/json":
        return True
    message = Message()
    message["content-type"] = content_type
    charsets = [str(value).lower() for name, value in message.get_params(()) if name == "charset"]
    return message.get_content_type() == "application/json" and CHARSETS.issuperset(charsets) and len(charsets) <= 1
